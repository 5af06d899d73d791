// Connecting an account from a grant: one transaction holds the connection, its sealed credentials, its calendars, the
// first sync request and the news that it is connected, so a connection that exists is a connection that will be synced.
import { shardOf, type ConnectionId, type ProviderId } from '#shared/domain/ids.ts'
import { sealSecret, type Keyring } from '#shared/platform/crypto.ts'
import type { Codec } from '#shared/platform/codec.ts'
import { eventHeaders } from '#shared/platform/envelope.ts'
import type { Database } from '#shared/platform/postgres.ts'
import { currentTraceparent } from '#shared/platform/telemetry.ts'
import {
  putCalendars,
  putCredentials,
  upsertConnection,
  type ConnectedAccount,
} from '#shared/store/connect.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import type { Vendor, VendorCalendar } from '#shared/vendors/vendor.ts'
import { REQUESTED_TOPIC, TOPICS } from '#schemas/topics.ts'

interface Deps {
  readonly database: Database
  readonly codec: Codec
  readonly keyring: Keyring
  readonly vendor: Vendor
}

export interface Connected {
  readonly connectionId: ConnectionId
  readonly vendorAccountId: string
  readonly calendars: number
  readonly isNew: boolean
}

/**
 * Connects the account behind a refresh token for a provider: gets an access token, reads the calendar list (the primary
 * calendar's id names the account) and commits everything together. Throws Failure (`vendor/…` when the token is refused,
 * `store/…` when nothing was saved); it may simply be called again.
 */
export async function connectAccount(
  deps: Deps,
  account: { providerId: ProviderId; refreshToken: string },
  signal: AbortSignal,
): Promise<Connected> {
  const grant = await deps.vendor.refresh(account.refreshToken, signal)
  const calendars = await deps.vendor.listCalendars(grant.accessToken, signal)
  const vendorAccountId = accountIdOf(calendars)
  const connected = await deps.database.transaction(async (tx) => {
    const row = await upsertConnection(tx, {
      providerId: account.providerId,
      vendor: deps.vendor.name,
      vendorAccountId,
      label: vendorAccountId,
    })
    const seal = (field: string, text: string) =>
      sealSecret(deps.keyring, text, { connectionId: row.connectionId, field })
    await putCredentials(tx, {
      connectionId: row.connectionId,
      sealedRefreshToken: seal('refresh_token', grant.refreshToken ?? account.refreshToken),
      sealedAccessToken: seal('access_token', grant.accessToken),
      accessExpiresAt: grant.accessExpiresAt,
      scope: grant.scope,
    })
    await putCalendars(tx, row.connectionId, calendars)
    await insertOutbox(tx, messagesOf(deps, account.providerId, row))
    return row
  })
  return {
    connectionId: connected.connectionId,
    vendorAccountId,
    calendars: calendars.length,
    isNew: connected.previousStatus === null,
  }
}

function accountIdOf(calendars: readonly VendorCalendar[]): string {
  const primary = calendars.find((calendar) => calendar.primary) ?? calendars[0]
  if (!primary)
    throw new Error('The account has no calendar that it can read, so there is nothing to connect.')
  return primary.vendorCalendarId
}

function messagesOf(deps: Deps, provider: ProviderId, row: ConnectedAccount) {
  const traceparent = currentTraceparent()
  const common = { connectionId: row.connectionId, providerId: provider, vendor: deps.vendor.name }
  const headers = (type: string) =>
    eventHeaders({
      type,
      source: '/calstream/connect',
      key: row.connectionId,
      at: row.at,
      ...(traceparent ? { traceparent } : {}),
    })
  const requested = REQUESTED_TOPIC[deps.vendor.name]
  const request = {
    ...common,
    reason: 'connected' as const,
    calendarId: null,
    deliveryKey: null,
    asOf: null,
    requestedAt: row.at,
  }
  const change = {
    ...common,
    status: 'active' as const,
    previousStatus: row.previousStatus,
    code: null,
    at: row.at,
  }
  const place = { shard: shardOf(row.connectionId), key: row.connectionId }
  return [
    {
      ...place,
      topic: TOPICS.connectionChanged,
      value: deps.codec.encode(TOPICS.connectionChanged, change),
      headers: headers('calendar.connection.changed.v1'),
    },
    {
      ...place,
      topic: requested,
      value: deps.codec.encode(requested, request),
      headers: headers('calendar.sync.requested.v1'),
    },
  ]
}
