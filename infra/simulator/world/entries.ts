// What the world is made of besides calendars, and the entries of its journal: one for every kind
// of change that there is.
import type { ClockState } from '../clock/clock.ts'
import type { Calendar, CalendarInfo, CalendarState, Ghost, Write } from './calendar.ts'

/** Whose account it is: the two vendors share the world's calendars, not their people. */
export type VendorName = 'google' | 'microsoft'

export interface Account {
  readonly id: string
  readonly vendor: VendorName
  readonly email: string
  /** The grant that was given last. */
  refreshToken: string
  scope: string
  /** No grant is live: every token of this account is refused until somebody consents again. */
  revoked: boolean
  /** Whether a person ever went through the consent page since the last revocation. */
  consented: boolean
  /** Raised by a revocation: access tokens carry the era of their issue. */
  era: number
  nextNo: number
  /** Former ids of calendars that still answer, with the ids of now. */
  aliases?: Readonly<Record<string, string>>
  /** Refresh tokens, oldest first. */
  readonly grants: Set<string>
  readonly calendars: Map<string, Calendar>
}

/** What one refresh token stands for. */
export interface Grant {
  readonly token: string
  readonly accountId: string
  /** Counts the account's grants. */
  readonly no: number
  readonly scope: string
  /** ms epoch. */
  readonly issuedAt: number
  /** ms epoch. */
  usedAt: number
  live: boolean
}

/** An account as the journal keeps it: calendars and grants have entries of their own. */
export type PlainAccount = Omit<Account, 'calendars' | 'grants'>

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
  /**
   * When a stop takes effect, ms epoch;
   * absent until somebody asked for one that does not take effect at once.
   */
  readonly stopsAt?: number
}

/** A standing order of a Graph client to be told of changes. */
export interface Subscription {
  readonly id: string
  readonly accountId: string
  readonly calendarId: string
  /** As the client wrote it. */
  readonly resource: string
  readonly changeTypes: readonly string[]
  readonly notificationUrl: string
  readonly lifecycleUrl: string | null
  readonly clientState: string | null
  readonly immutableIds: boolean
  /** ms epoch. */
  readonly expiresAt: number
  /** Until it is reauthorized or renewed. */
  readonly paused: boolean
}

/** How far a scenario came. */
export interface KeptScenario {
  readonly text: string
  /** ms epoch, simulated. */
  readonly startedAt: number
  readonly ran: number
  readonly names: readonly (readonly [string, unknown])[]
}

export type Entry =
  | { readonly k: 'meta'; readonly seq: number; readonly accounts: number }
  | { readonly k: 'clock'; readonly state: ClockState }
  | { readonly k: 'scenario'; readonly scenario: KeptScenario | null }
  | { readonly k: 'scenario-step'; readonly ran: number; readonly name: readonly [string, unknown] | null }
  | { readonly k: 'account'; readonly account: PlainAccount }
  | { readonly k: 'calendar'; readonly info: CalendarInfo; readonly seq: number; readonly at: number }
  | {
      readonly k: 'calendar-id'
      readonly a: string
      readonly c: string
      readonly id: string
      readonly alias: boolean
    }
  | { readonly k: 'calendar-state'; readonly a: string; readonly c: string; readonly state: CalendarState }
  | {
      readonly k: 'write'
      readonly a: string
      readonly c: string
      readonly doc: Write['doc']
      readonly ghosts: readonly Ghost[]
      readonly dropped: readonly string[]
    }
  | { readonly k: 'grant'; readonly grant: Grant }
  | { readonly k: 'grant-used'; readonly token: string; readonly at: number }
  | { readonly k: 'consent'; readonly a: string; readonly scope: string }
  | { readonly k: 'email'; readonly a: string; readonly email: string }
  | { readonly k: 'revoked'; readonly a: string }
  | { readonly k: 'subscription'; readonly subscription: Subscription }
  | { readonly k: 'subscription-removed'; readonly id: string }
  | { readonly k: 'channel'; readonly channel: ChannelInfo }
  | { readonly k: 'channel-stopped'; readonly id: string }

/** The one OAuth client that the simulated project has at a vendor. */
export interface Identity {
  readonly clientId: string
  readonly clientSecret: string
}
