// The world: accounts, their calendars and every change of them. Each mutation goes through here:
// it is journalled first, then told to the listeners (truth ledger, push) in the same turn.
import {
  applyWrite,
  type Calendar,
  type CalendarInfo,
  type CalendarState,
  createCalendar,
  stateOf,
} from './calendar.ts'
import type { ClockState } from '../clock/clock.ts'
import { type Change, describeWrite, type Draft, prepareWrite } from './commit.ts'
import type {
  Account,
  ChannelInfo,
  Entry,
  Grant,
  Identity,
  PlainAccount,
  Subscription,
  VendorName,
  KeptScenario,
} from './entries.ts'
import { digest } from '../random.ts'
import { applyRename } from './rename.ts'

export const FULL_SCOPE = 'https://www.googleapis.com/auth/calendar'
const MICROSOFT_SCOPE = 'offline_access User.Read Calendars.ReadWrite'

/** Live refresh tokens per account: beyond it the oldest dies silently. Microsoft names no cap. */
const GRANTS_MAX = { google: 100, microsoft: 2000 } as const

export class World {
  readonly accounts = new Map<string, Account>()
  /** By refresh token, oldest first. Dead ones stay known, so that their calls are known. */
  readonly grants = new Map<string, Grant>()
  readonly channels = new Map<string, ChannelInfo>()
  readonly subscriptions = new Map<string, Subscription>()
  /** Ids are never free again, not even after a stop. */
  readonly usedChannelIds = new Set<string>()
  readonly listeners = new Set<(change: Change) => void>()
  readonly identities: Readonly<Record<VendorName, Identity>>
  seq = 0
  accountCount = 0
  /** Where the clock stood or was going to stand; null until it was moved. */
  clockState: ClockState | null = null
  /** The scenario that runs or ran last, and how far it came. */
  scenario: KeptScenario | null = null
  /** Set once the journal is open. */
  record: (entry: Entry) => void = () => {}
  /** Channel ids by `account/calendar`. */
  readonly #watchers = new Map<string, Set<string>>()
  readonly #seed: string
  readonly #now: () => number

  constructor(options: {
    readonly seed: string
    readonly identities: Readonly<Record<VendorName, Identity>>
    readonly now: () => number
  }) {
    this.#seed = options.seed
    this.#now = options.now
    this.identities = options.identities
  }

  now(): number {
    return this.#now()
  }

  /** Remembers that the clock was moved, so that a world never comes back younger. */
  keepClock(state: ClockState): void {
    this.#commit({ k: 'clock', state })
  }

  readonly keepScenario = (scenario: KeptScenario | null): void => this.#commit({ k: 'scenario', scenario })

  /** One more step was made; `name` is the answer that it keeps. */
  keepScenarioStep(ran: number, name: readonly [string, unknown] | null): void {
    this.#commit({ k: 'scenario-step', ran, name })
  }

  addAccount(input: {
    readonly vendor?: VendorName
    readonly email?: string
    readonly scope?: string
  }): Account {
    this.accountCount += 1
    const id = `c${this.accountCount}`
    const account: PlainAccount = {
      id,
      vendor: input.vendor ?? 'google',
      email: input.email ?? `person${this.accountCount}@example.com`,
      refreshToken: '',
      scope: input.scope ?? (input.vendor === 'microsoft' ? MICROSOFT_SCOPE : FULL_SCOPE),
      revoked: false,
      consented: false,
      era: 0,
      nextNo: 1,
    }
    this.#commit({ k: 'account', account })
    const added = this.accounts.get(id)
    if (!added) throw new Error(`The account ${id} was not added.`)
    this.addGrant(added, account.scope)
    return added
  }

  addCalendar(info: CalendarInfo): Calendar {
    this.#commit({ k: 'calendar', info, seq: this.seq + 1, at: this.now() })
    const calendar = this.calendar(info.accountId, info.id)
    if (!calendar) throw new Error(`The calendar ${info.id} was not added: its account does not exist.`)
    return calendar
  }

  /** The calendar, by id or by the alias `primary`; undefined when it is gone. */
  calendar(accountId: string, calendarId: string): Calendar | undefined {
    const account = this.accounts.get(accountId)
    const calendars = account?.calendars
    const found =
      calendarId === 'primary'
        ? [...(calendars?.values() ?? [])].find((calendar) => calendar.primary)
        : (calendars?.get(calendarId) ?? calendars?.get(account?.aliases?.[calendarId] ?? ''))
    return found?.gone ? undefined : found
  }

  removeCalendar(calendar: Calendar): void {
    this.#setState(calendar, { gone: true, listSeq: this.seq + 1 })
    for (const channel of this.channelsOf(calendar.accountId, calendar.id)) this.stopChannel(channel.id)
    for (const { id } of this.subscriptionsOf(calendar.accountId, calendar.id)) this.removeSubscription(id)
  }

  /** Another id, as when an address changes; `alias`: the old one answers on. Channels watch it. */
  renameCalendar(calendar: Calendar, id: string, alias: boolean): void {
    if (this.accounts.get(calendar.accountId)?.calendars.has(id))
      throw new RangeError('The account has a calendar of that id.')
    this.#commit({ k: 'calendar-id', a: calendar.accountId, c: calendar.id, id, alias })
    this.#setState(calendar, { listSeq: this.seq + 1 })
  }

  /** The channels that watch a calendar, the expired ones included. */
  channelsOf(accountId: string, calendarId: string): readonly ChannelInfo[] {
    const ids = this.#watchers.get(`${accountId}/${calendarId}`) ?? []
    return [...ids].map((id) => this.channels.get(id)).filter((channel) => channel !== undefined)
  }

  /** Whether messages are still sent on the channel. */
  isOpen(channel: ChannelInfo): boolean {
    const now = this.now()
    return now < channel.expiresAt && now < (channel.stopsAt ?? Infinity)
  }

  /** Changes a calendar besides its events. Who may see it decides what sync tokens are worth. */
  changeCalendar(
    calendar: Calendar,
    change: Partial<
      Pick<CalendarState, 'name' | 'accessRole' | 'pushSupported' | 'hidden' | 'unlisted' | 'acl'>
    >,
  ): void {
    const access = change.accessRole !== undefined || change.acl !== undefined
    // The list reports only what the user may change there: not a calendar's name or access.
    const listed = change.hidden !== undefined && change.hidden !== calendar.hidden
    this.#setState(calendar, {
      ...change,
      ...(access ? { cursorEpoch: calendar.cursorEpoch + 1 } : {}),
      ...(listed ? { listSeq: this.seq + 1 } : {}),
    })
  }

  /** Sync tokens issued so far answer 410 from now on. */
  expireCursors(calendar: Calendar): void {
    this.#setState(calendar, { cursorEpoch: calendar.cursorEpoch + 1 })
  }

  /** A person agreed: the account answers again, with this scope. */
  consent(account: Account, scope: string): void {
    this.#commit({ k: 'consent', a: account.id, scope })
  }

  /** Another address of the same person. */
  readonly changeEmail = (account: Account, email: string): void =>
    this.#commit({ k: 'email', a: account.id, email })

  /** A new refresh token for what was consented to; earlier ones stay live, up to Google's cap. */
  addGrant(account: Account, scope: string): Grant {
    const no = Math.max(0, ...this.#grantsOf(account).map((grant) => grant.no)) + 1
    const prefix = account.vendor === 'microsoft' ? '0.AX' : '1//'
    const token = `${prefix}${digest(`${this.#seed}/${account.id}/refresh/${no}`, 40)}`
    const at = this.now()
    const grant: Grant = { token, accountId: account.id, no, scope, issuedAt: at, usedAt: at, live: true }
    this.#commit({ k: 'grant', grant })
    return this.grants.get(token) ?? grant
  }

  useGrant(grant: Grant): void {
    this.#commit({ k: 'grant-used', token: grant.token, at: this.now() })
  }

  /** The account that a refresh token, live or not, belongs to. */
  accountOfGrant(token: string): Account | undefined {
    return this.accounts.get(this.grants.get(token)?.accountId ?? '')
  }

  /** Ends every grant of the account: its refresh and access tokens are refused from now on. */
  revoke(account: Account): void {
    this.#commit({ k: 'revoked', a: account.id })
  }

  addChannel(channel: ChannelInfo): void {
    this.#commit({ k: 'channel', channel })
  }

  /** Ends a channel, at once or after a delay in simulated milliseconds. */
  stopChannel(id: string, delayMs = 0): void {
    const channel = this.channels.get(id)
    if (!channel || delayMs === 0) return this.#commit({ k: 'channel-stopped', id })
    const stopsAt = channel.stopsAt ?? this.now() + delayMs
    this.#commit({ k: 'channel', channel: { ...channel, stopsAt } })
  }

  putSubscription(subscription: Subscription): void {
    this.#commit({ k: 'subscription', subscription })
  }

  removeSubscription(id: string): void {
    this.#commit({ k: 'subscription-removed', id })
  }

  *subscriptionsOf(accountId: string, calendarId: string): Generator<Subscription> {
    for (const subscription of this.subscriptions.values()) {
      if (subscription.accountId === accountId && subscription.calendarId === calendarId) yield subscription
    }
  }

  /** Commits one change of one event. Its times are readable: the caller has checked that. */
  write(calendar: Calendar, draft: Draft): Change {
    const write = prepareWrite(calendar, draft, this.seq + 1, this.now())
    const change = describeWrite(calendar, write)
    this.#commit({ k: 'write', a: calendar.accountId, c: calendar.id, ...write })
    for (const listener of this.listeners) listener(change)
    return change
  }

  /** Applies one journalled entry: the only code that changes the world's state. */
  apply(entry: Entry): void {
    switch (entry.k) {
      case 'meta':
        this.seq = Math.max(this.seq, entry.seq)
        this.accountCount = Math.max(this.accountCount, entry.accounts)
        return
      case 'clock':
        this.clockState = entry.state
        return
      case 'scenario':
        this.scenario = entry.scenario
        return
      case 'scenario-step':
        if (!this.scenario) return
        this.scenario = {
          ...this.scenario,
          ran: entry.ran,
          names: entry.name ? [...this.scenario.names, entry.name] : this.scenario.names,
        }
        return
      case 'calendar':
        this.seq = Math.max(this.seq, entry.seq)
        this.accounts
          .get(entry.info.accountId)
          ?.calendars.set(entry.info.id, createCalendar(entry.info, entry.seq, entry.at))
        return
      case 'calendar-id':
        applyRename(this.accounts.get(entry.a), entry)
        return
      case 'calendar-state':
        this.seq = Math.max(this.seq, entry.state.listSeq, entry.state.purgedSeq)
        Object.assign(this.accounts.get(entry.a)?.calendars.get(entry.c) ?? {}, entry.state)
        return
      case 'write':
        this.#applyWrite(entry)
        return
      case 'subscription':
        this.subscriptions.set(entry.subscription.id, entry.subscription)
        return
      case 'subscription-removed':
        this.subscriptions.delete(entry.id)
        return
      case 'channel':
        this.#applyChannel(entry.channel)
        return
      case 'channel-stopped': {
        const { accountId, calendarId } = this.channels.get(entry.id) ?? {}
        this.#watchers.get(`${accountId}/${calendarId}`)?.delete(entry.id)
        this.usedChannelIds.add(entry.id)
        this.channels.delete(entry.id)
        return
      }
      case 'account':
      case 'grant':
      case 'grant-used':
      case 'consent':
      case 'revoked':
        this.#applyPeople(entry)
        return
      case 'email':
        Object.assign(this.accounts.get(entry.a) ?? {}, { email: entry.email })
    }
  }

  reset(): void {
    this.scenario = null
    for (const held of [
      this.accounts,
      this.grants,
      this.channels,
      this.subscriptions,
      this.usedChannelIds,
      this.#watchers,
    ])
      held.clear()
  }

  #applyPeople(
    entry: Extract<Entry, { k: 'account' | 'grant' | 'grant-used' | 'consent' | 'revoked' }>,
  ): void {
    switch (entry.k) {
      case 'account': {
        const account: Account = {
          ...entry.account,
          vendor: entry.account.vendor ?? 'google',
          calendars: new Map(),
          grants: new Set(),
        }
        this.accounts.set(account.id, account)
        this.accountCount = Math.max(this.accountCount, Number(account.id.slice(1)))
        return
      }
      case 'grant':
        this.#applyGrant(entry.grant)
        return
      case 'grant-used':
        Object.assign(this.grants.get(entry.token) ?? {}, { usedAt: entry.at })
        return
      case 'consent':
        Object.assign(this.accounts.get(entry.a) ?? {}, {
          revoked: false,
          consented: true,
          scope: entry.scope,
        })
        return
      case 'revoked': {
        const account = this.accounts.get(entry.a)
        if (!account) return
        Object.assign(account, { revoked: true, consented: false, era: account.era + 1 })
        for (const grant of this.#grantsOf(account)) grant.live = false
        return
      }
    }
  }

  #applyChannel(channel: ChannelInfo): void {
    const key = `${channel.accountId}/${channel.calendarId}`
    this.channels.set(channel.id, channel)
    this.usedChannelIds.add(channel.id)
    this.#watchers.set(key, (this.#watchers.get(key) ?? new Set()).add(channel.id))
  }

  #applyGrant(grant: Grant): void {
    const account = this.accounts.get(grant.accountId)
    if (!account) return
    this.grants.set(grant.token, { ...grant })
    account.grants.add(grant.token)
    account.refreshToken = grant.token
    for (const oldest of account.grants) {
      if (account.grants.size <= GRANTS_MAX[account.vendor]) return
      account.grants.delete(oldest)
      this.grants.delete(oldest)
    }
  }

  #grantsOf(account: Account): readonly Grant[] {
    return [...account.grants].map((token) => this.grants.get(token)).filter((grant) => grant !== undefined)
  }

  #applyWrite(entry: Extract<Entry, { k: 'write' }>): void {
    const account = this.accounts.get(entry.a)
    const calendar = account?.calendars.get(entry.c)
    if (!account || !calendar) return
    this.seq = Math.max(this.seq, entry.doc.seq)
    account.nextNo = Math.max(account.nextNo, entry.doc.no + 1)
    applyWrite(calendar, entry)
  }

  #setState(calendar: Calendar, change: Partial<CalendarState>): void {
    const state = { ...stateOf(calendar), ...change }
    this.#commit({ k: 'calendar-state', a: calendar.accountId, c: calendar.id, state })
  }

  #commit(entry: Entry): void {
    this.record(entry)
    this.apply(entry)
  }
}
