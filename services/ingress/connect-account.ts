// Connecting an account from a grant: one transaction holds the connection, its sealed credentials,
// its calendars, the first sync request and the news that it is connected, so a connection that
// exists is a connection that will be synced.
import type { ConnectionId, ProviderId } from '#shared/domain/ids.ts'
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import { connectionChanged } from '#shared/messages/connection-changed.ts'
import { sentBy } from '#shared/messages/message.ts'
import { syncRequested } from '#shared/messages/sync-requested.ts'
import { sealSecret, type Keyring } from '#shared/process/keyring.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import type { Database, Queryable } from '#shared/store/database.ts'
import {
  putCalendars,
  putCredentials,
  upsertConnection,
  type ConnectedAccount,
} from '#shared/store/connect.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import type { Grant, Vendor, VendorAccount } from '#shared/vendors/vendor.ts'

interface SaveDeps {
  readonly database: Database
  readonly codec: Pick<Codec, 'encode'>
  readonly keyring: Keyring
}

interface ConnectDeps extends SaveDeps {
  readonly vendor: Pick<Vendor, 'name' | 'refresh' | 'account' | 'listCalendars'>
}

export interface Connected {
  readonly connectionId: ConnectionId
  /** As people know it. */
  readonly account: string
  readonly calendars: number
  readonly isNew: boolean
}

/** What a vendor gave and what it says about the account behind it. */
export interface GrantedAccount {
  readonly providerId: ProviderId
  readonly vendor: Vendor['name']
  readonly grant: Grant & { readonly refreshToken: string }
  readonly account: VendorAccount
  readonly calendars: readonly VendorCalendar[]
}

/**
 * Connects the account behind a refresh token for a provider. Throws Failure (`vendor/…` when the
 * token is refused, `store/…` when nothing was saved); it may simply be called again.
 */
export async function connectAccount(
  deps: ConnectDeps,
  { providerId, refreshToken }: { providerId: ProviderId; refreshToken: string },
  signal: AbortSignal,
): Promise<Connected> {
  const { vendor } = deps
  const grant = await vendor.refresh(refreshToken, signal)
  const account = await vendor.account(grant.accessToken, signal)
  const calendars = await vendor.listCalendars(grant.accessToken, signal)
  if (calendars.length === 0)
    throw new Error('The account has no calendar that it can read, so there is nothing to connect.')
  return saveAccount(deps, {
    providerId,
    vendor: vendor.name,
    grant: { ...grant, refreshToken: grant.refreshToken ?? refreshToken },
    account,
    calendars,
  })
}

/**
 * Commits a granted account: a new connection, or the one that the account had, healed. `also`
 * writes in the same transaction. Throws Failure `store/…` when nothing was saved.
 */
export async function saveAccount(
  deps: SaveDeps,
  granted: GrantedAccount,
  also: (tx: Queryable, connection: ConnectionId) => Promise<void> = async () => undefined,
): Promise<Connected> {
  const { account, calendars, grant } = granted
  const connected = await deps.database.transaction(async (tx) => {
    const row = await upsertConnection(tx, {
      providerId: granted.providerId,
      vendor: granted.vendor,
      vendorAccountId: identityOf(granted),
      address: account.isAddress === true ? account.id : null,
      label: account.label,
    })
    const seal = (field: string, text: string) =>
      sealSecret(deps.keyring, text, { connectionId: row.connectionId, field })
    await putCredentials(tx, {
      connectionId: row.connectionId,
      sealedRefreshToken: seal('refresh_token', grant.refreshToken),
      sealedAccessToken: seal('access_token', grant.accessToken),
      accessExpiresAt: grant.accessExpiresAt,
      scope: grant.scope,
      endsAt: grant.endsAt ?? null,
    })
    await putCalendars(tx, row.connectionId, calendars)
    await insertOutbox(tx, messagesOf(deps, granted, row))
    await also(tx, row.connectionId)
    return row
  })
  return {
    connectionId: connected.connectionId,
    account: account.label ?? account.id,
    calendars: calendars.length,
    isNew: connected.previousStatus === null,
  }
}

/** What stays of an account when its address changes. */
function identityOf({ account, grant }: GrantedAccount): string {
  return account.isAddress === true ? (grant.subject ?? account.id) : account.id
}

function messagesOf(
  { codec }: Pick<SaveDeps, 'codec'>,
  { providerId, vendor }: GrantedAccount,
  { connectionId, previousStatus, status, at }: ConnectedAccount,
) {
  const connection = { connectionId, providerId, vendor }
  const origin = sentBy('connect', codec)
  return [
    connectionChanged(connection, { status, previousStatus, at }, origin),
    syncRequested(connection, { reason: 'connected', at }, origin),
  ]
}
