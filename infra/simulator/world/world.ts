// The world: accounts, their calendars and the sequence of everything that ever changed in them. Every mutation goes through
// here: it is journalled before anybody hears of it, then told to the listeners (truth ledger, push) in the same turn.
import {
  applyWrite,
  type Calendar,
  type CalendarInfo,
  createCalendar,
  type Ghost,
  type Write,
} from './calendar.ts'
import type { ClockState } from '../clock/clock.ts'
import { type Change, describeWrite, type Draft, prepareWrite } from './commit.ts'
import { digest } from '../random.ts'

export interface Account {
  readonly id: string
  readonly email: string
  readonly refreshToken: string
  readonly scope: string
  revoked: boolean
  nextNo: number
  readonly calendars: Map<string, Calendar>
}

export interface ChannelInfo {
  readonly id: string
  readonly accountId: string
  readonly calendarId: string
  readonly resourceId: string
  readonly resourceUri: string
  readonly address: string
  readonly token: string | null
  /** ms epoch. */
  readonly expiresAt: number
}

export type Entry =
  | { readonly k: 'meta'; readonly seq: number; readonly accounts: number }
  | { readonly k: 'clock'; readonly state: ClockState }
  | { readonly k: 'account'; readonly account: Omit<Account, 'calendars'> }
  | { readonly k: 'calendar'; readonly info: CalendarInfo; readonly seq: number; readonly at: number }
  | { readonly k: 'calendar-state'; readonly a: string; readonly c: string; readonly state: CalendarState }
  | {
      readonly k: 'write'
      readonly a: string
      readonly c: string
      readonly doc: Write['doc']
      readonly ghosts: readonly Ghost[]
      readonly dropped: readonly string[]
    }
  | { readonly k: 'revoked'; readonly a: string }
  | { readonly k: 'channel'; readonly channel: ChannelInfo }
  | { readonly k: 'channel-stopped'; readonly id: string }

export type CalendarState = Pick<Calendar, 'listSeq' | 'gone' | 'cursorEpoch' | 'purgedSeq' | 'nextOrd'>

/** The one OAuth client that the simulated project has. */
export interface Identity {
  readonly clientId: string
  readonly clientSecret: string
}

export const FULL_SCOPE = 'https://www.googleapis.com/auth/calendar'

export class World {
  readonly accounts = new Map<string, Account>()
  readonly byRefreshToken = new Map<string, Account>()
  readonly channels = new Map<string, ChannelInfo>()
  /** Ids are never free again, not even after a stop. */
  readonly usedChannelIds = new Set<string>()
  readonly listeners = new Set<(change: Change) => void>()
  readonly identity: Identity
  seq = 0
  accountCount = 0
  /** Where the clock stood or was going to stand; null until it was moved. */
  clockState: ClockState | null = null
  /** Set once the journal is open. */
  record: (entry: Entry) => void = () => {}
  readonly #seed: string
  readonly #now: () => number

  constructor(options: { readonly seed: string; readonly identity: Identity; readonly now: () => number }) {
    this.#seed = options.seed
    this.#now = options.now
    this.identity = options.identity
  }

  now(): number {
    return this.#now()
  }

  /** Remembers that the clock was moved, so that a world that comes back does not come back younger. */
  keepClock(state: ClockState): void {
    this.#commit({ k: 'clock', state })
  }

  addAccount(input: { readonly email?: string; readonly scope?: string }): Account {
    this.accountCount += 1
    const id = `c${this.accountCount}`
    const account: Account = {
      id,
      email: input.email ?? `person${this.accountCount}@example.com`,
      refreshToken: `1//${digest(`${this.#seed}/${id}/refresh`, 40)}`,
      scope: input.scope ?? FULL_SCOPE,
      revoked: false,
      nextNo: 1,
      calendars: new Map(),
    }
    const { calendars: _calendars, ...plain } = account
    this.#commit({ k: 'account', account: plain })
    return this.accounts.get(id) ?? account
  }

  addCalendar(info: CalendarInfo): Calendar {
    this.#commit({ k: 'calendar', info, seq: this.seq + 1, at: this.now() })
    const calendar = this.calendar(info.accountId, info.id)
    if (!calendar) throw new Error(`The calendar ${info.id} was not added: its account does not exist.`)
    return calendar
  }

  /** The calendar, by id or by the alias `primary`; undefined when it is gone. */
  calendar(accountId: string, calendarId: string): Calendar | undefined {
    const calendars = this.accounts.get(accountId)?.calendars
    const found =
      calendarId === 'primary'
        ? [...(calendars?.values() ?? [])].find((calendar) => calendar.primary)
        : calendars?.get(calendarId)
    return found?.gone ? undefined : found
  }

  removeCalendar(calendar: Calendar): void {
    this.#setState(calendar, { gone: true, listSeq: this.seq + 1 })
    for (const channel of this.channels.values()) {
      if (channel.accountId === calendar.accountId && channel.calendarId === calendar.id)
        this.stopChannel(channel.id)
    }
  }

  /** Sync tokens issued so far answer 410 from now on. */
  expireCursors(calendar: Calendar): void {
    this.#setState(calendar, { cursorEpoch: calendar.cursorEpoch + 1 })
  }

  revoke(account: Account): void {
    this.#commit({ k: 'revoked', a: account.id })
  }

  addChannel(channel: ChannelInfo): void {
    this.#commit({ k: 'channel', channel })
  }

  stopChannel(id: string): void {
    this.#commit({ k: 'channel-stopped', id })
  }

  /** Commits one change of one event. The caller has checked that the fields have readable times. */
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
      case 'account': {
        const account: Account = { ...entry.account, calendars: new Map() }
        this.accounts.set(account.id, account)
        this.byRefreshToken.set(account.refreshToken, account)
        this.accountCount = Math.max(this.accountCount, Number(account.id.slice(1)))
        return
      }
      case 'calendar':
        this.seq = Math.max(this.seq, entry.seq)
        this.accounts
          .get(entry.info.accountId)
          ?.calendars.set(entry.info.id, createCalendar(entry.info, entry.seq, entry.at))
        return
      case 'calendar-state':
        this.seq = Math.max(this.seq, entry.state.listSeq, entry.state.purgedSeq)
        Object.assign(this.accounts.get(entry.a)?.calendars.get(entry.c) ?? {}, entry.state)
        return
      case 'write':
        this.#applyWrite(entry)
        return
      case 'revoked': {
        const account = this.accounts.get(entry.a)
        if (account) account.revoked = true
        return
      }
      case 'channel':
        this.channels.set(entry.channel.id, entry.channel)
        this.usedChannelIds.add(entry.channel.id)
        return
      case 'channel-stopped':
        this.usedChannelIds.add(entry.id)
        this.channels.delete(entry.id)
    }
  }

  reset(): void {
    for (const held of [this.accounts, this.byRefreshToken, this.channels, this.usedChannelIds]) held.clear()
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
    const { listSeq, gone, cursorEpoch, purgedSeq, nextOrd } = calendar
    const state = { listSeq, gone, cursorEpoch, purgedSeq, nextOrd, ...change }
    this.#commit({ k: 'calendar-state', a: calendar.accountId, c: calendar.id, state })
  }

  #commit(entry: Entry): void {
    this.record(entry)
    this.apply(entry)
  }
}
