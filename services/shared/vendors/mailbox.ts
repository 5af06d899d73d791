// The calls of one connection, bound to its token and its limits. Invariants: a call whose token
// the vendor rejects is made once more, with a fresh one; whose call it is follows from the
// connection, never from the token; every call passes the guard of its vendor.
import { Failure } from '#shared/domain/failure.ts'
import type { ConnectionId, VendorName } from '#shared/domain/ids.ts'
import type { OpenBreaker } from '#shared/domain/service-instances.ts'
import type { Caller, Quota, Priority } from './limits/budget.ts'
import { createGuard, type Guard, type GuardDeps } from './limits/guard.ts'
import type { Vendors } from './index.ts'
import type { quotaEnv } from './settings.ts'
import { openTokens, type Tokens, type TokensDeps } from './tokens.ts'
import type {
  ChannelRequest,
  EachCall,
  EventChange,
  LookUpRequest,
  PageRequest,
  SeriesRequest,
  Vendor,
} from './vendor.ts'

/**
 * Stands around every try of a call, once there is a token for it: the call, and the same again
 * with a fresh token. It may answer something of its own instead of sending.
 */
export type Attempt<S> = <T>(send: () => Promise<T>) => Promise<T | S>

export interface Mailboxes {
  /** Those that the service is configured for. */
  readonly vendors: ReadonlySet<VendorName>
  /** Vendors that this process leaves alone at the moment. */
  openBreakers(): readonly OpenBreaker[]
  /** Throws Failure `internal/defect` for a vendor that is not configured. */
  of<S = never>(
    connection: { readonly connectionId: ConnectionId; readonly vendor: VendorName },
    attempt?: Attempt<S>,
  ): Mailbox<S>
}

/**
 * What a consent asks of a vendor: there is no connection yet, so the vendor's limits alone count.
 */
export type ConsentVendor = Pick<
  Vendor,
  'name' | 'approvalUrl' | 'consentUrl' | 'exchangeCode' | 'account' | 'listCalendars'
>

type QuotaConfig = { readonly [name in keyof typeof quotaEnv]: number }
export type MailboxesDeps = Omit<TokensDeps, 'refresh'> & LimitsDeps
type LimitsDeps = Omit<GuardDeps, 'quota'> & { readonly quotas: QuotaConfig }

/** What the mailboxes of one vendor are made of. */
export interface MailboxParts {
  readonly vendor: Vendor
  readonly guard: Guard
  readonly tokens: Tokens
}

const NO_MAILBOX = { mailbox: null, endpoint: 'api', priority: 'live' } as const
const LOGIN = { mailbox: null, endpoint: 'login', priority: 'live' } as const

/** The mailboxes at these vendors. Once per process: limits per mailbox are counted here. */
export function openMailboxes(vendors: Vendors, deps: MailboxesDeps): Mailboxes {
  return createMailboxes(
    [...vendors.values()].map((vendor) => {
      const guard = guardOf(vendor, deps)
      const refresh: TokensDeps['refresh'] = (token, signal, mailbox) =>
        guard.run({ ...LOGIN, mailbox }, signal, (each) => each(() => vendor.refresh(token, signal)))
      return { vendor, guard, tokens: openTokens({ ...deps, refresh }) }
    }),
  )
}

/** Mailboxes of these parts, one for each vendor. */
export function createMailboxes(parts: readonly MailboxParts[]): Mailboxes {
  const byName = new Map(parts.map((part) => [part.vendor.name, part]))
  return {
    vendors: new Set(byName.keys()),
    openBreakers: () => parts.flatMap(({ guard }) => guard.openBreakers()),
    of({ vendor, connectionId }, attempt = (send) => send()) {
      const part = byName.get(vendor)
      if (part) return new Mailbox(part, connectionId, attempt)
      throw new Failure('internal/defect', `This service is not configured for ${vendor}.`)
    },
  }
}

/** These vendors for consents, behind the same guard. Once per process. */
export function openConsents(vendors: Vendors, deps: LimitsDeps): ReadonlyMap<VendorName, ConsentVendor> {
  return new Map([...vendors].map(([name, vendor]) => [name, consentVendor(vendor, guardOf(vendor, deps))]))
}

function consentVendor(vendor: Vendor, guard: Guard): ConsentVendor {
  return {
    name: vendor.name,
    approvalUrl: vendor.approvalUrl ?? null,
    consentUrl: (request) => vendor.consentUrl(request),
    exchangeCode: (code, signal) =>
      guard.run(LOGIN, signal, (each) => each(() => vendor.exchangeCode(code, signal))),
    account: (token, signal) =>
      guard.run(NO_MAILBOX, signal, (each) => each(() => vendor.account(token, signal))),
    listCalendars: (token, signal) =>
      guard.run(NO_MAILBOX, signal, (each) => vendor.listCalendars(token, signal, each)),
  }
}

/**
 * What a vendor does for one connection; its methods are those of `Vendor`. `S` is what the attempt
 * answers when it does not send. Each throws Failure: what the vendor refused, what the guard kept
 * back, or why there is no token. A fresh token that is rejected as well is `vendor/call-refused`:
 * it says nothing of the person.
 */
export class Mailbox<S = never> {
  readonly #parts: MailboxParts
  readonly #id: ConnectionId
  readonly #attempt: Attempt<S>

  constructor(parts: MailboxParts, id: ConnectionId, attempt: Attempt<S>) {
    this.#parts = parts
    this.#id = id
    this.#attempt = attempt
  }

  account(signal: AbortSignal) {
    return this.#call(signal, (vendor, token, each) => each(() => vendor.account(token, signal)))
  }

  listCalendars(signal: AbortSignal) {
    return this.#call(signal, (vendor, token, each) => vendor.listCalendars(token, signal, each))
  }

  fetchPage(request: PageRequest, signal: AbortSignal) {
    // A read without a cursor reads a whole calendar: first sync or resync.
    const priority = request.cursor === null ? 'backfill' : 'live'
    return this.#call(
      signal,
      (vendor, token, each) => vendor.fetchPage(token, request, signal, each),
      priority,
    )
  }

  fetchSeries(request: SeriesRequest, signal: AbortSignal) {
    return this.#call(signal, async (vendor, token, each) => {
      if (vendor.fetchSeries) return vendor.fetchSeries(token, request, signal, each)
      throw new Failure('internal/defect', 'A vendor whose series cannot be read names one.')
    })
  }

  lookUp(request: LookUpRequest, signal: AbortSignal) {
    const priority = 'backfill'
    return this.#call(signal, (vendor, token, each) => vendor.lookUp(token, request, signal, each), priority)
  }

  changeEvent(change: EventChange, signal: AbortSignal) {
    return this.#call(signal, async (vendor, token, each) => {
      if (vendor.changeEvent) return vendor.changeEvent(token, change, signal, each)
      throw new Failure('internal/defect', 'A vendor whose canary is to be changed can change an event.')
    })
  }

  openChannel(request: ChannelRequest, signal: AbortSignal) {
    return this.#call(signal, (vendor, token, each) => each(() => vendor.openChannel(token, request, signal)))
  }

  renewChannel(channel: Parameters<Vendor['renewChannel']>[1], signal: AbortSignal) {
    return this.#call(signal, (vendor, token, each) =>
      each(() => vendor.renewChannel(token, channel, signal)),
    )
  }

  stopChannel(channel: Parameters<Vendor['stopChannel']>[1], signal: AbortSignal) {
    return this.#call(signal, (vendor, token, each) => each(() => vendor.stopChannel(token, channel, signal)))
  }

  /**
   * Asks for the account once, without an attempt around it. The token is fetched for this question
   * unless `isFresh` says that the last one was. A rejected one stays `vendor/token-rejected`.
   */
  async probeAccount(isFresh: boolean, signal: AbortSignal) {
    const { vendor, guard, tokens } = this.#parts
    const used = await tokens.of(this.#id, signal)
    if (!isFresh) tokens.invalidate(this.#id, used)
    const token = isFresh ? used : await tokens.of(this.#id, signal)
    // No cool-down of the mailbox keeps back the question whether it is let in.
    const caller = { ...NO_MAILBOX, about: this.#id }
    return guard.run(caller, signal, (each) => each(() => vendor.account(token, signal)))
  }

  /** Gives this grant back, without a token. */
  revoke(refreshToken: string, signal: AbortSignal) {
    const { vendor, guard } = this.#parts
    return guard.run(LOGIN, signal, (each) => each(() => vendor.revoke(refreshToken, signal)))
  }

  async #call<T>(
    signal: AbortSignal,
    method: (vendor: Vendor, token: string, each: EachCall) => Promise<T>,
    priority: Priority = 'live',
  ): Promise<T | S> {
    const { vendor, guard, tokens } = this.#parts
    const caller: Caller = { mailbox: this.#id, endpoint: 'api', priority }
    for (let isFresh = false; ; isFresh = true) {
      const token = await tokens.of(this.#id, signal)
      try {
        return await this.#attempt(() => guard.run(caller, signal, (each) => method(vendor, token, each)))
      } catch (error) {
        if (!(error instanceof Failure) || error.code !== 'vendor/token-rejected') throw error
        if (isFresh) throw new Failure('vendor/call-refused', 'The vendor rejects even a fresh access token.')
        tokens.invalidate(this.#id, token)
      }
    }
  }
}

function guardOf({ name }: Vendor, { quotas, ...deps }: LimitsDeps): Guard {
  return createGuard(name, { ...deps, quota: quotaOf(name, quotas) })
}

function quotaOf(name: VendorName, quotas: QuotaConfig): Quota {
  return name === 'google'
    ? { perMinute: quotas.GOOGLE_CALLS_PER_MINUTE, mailboxPerMinute: quotas.GOOGLE_MAILBOX_CALLS_PER_MINUTE }
    : {
        perMinute: quotas.MICROSOFT_CALLS_PER_MINUTE,
        mailboxPerMinute: quotas.MICROSOFT_MAILBOX_CALLS_PER_MINUTE,
      }
}
