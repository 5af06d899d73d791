// What is known of a connection and its calendars before it is put into words. Types and bounds
// alone. Invariant: every time is by the database clock, in whole microseconds.
import type { Micros } from './ids.ts'
import type { IllCalendar } from './ill-words.ts'

export const CONNECTION_STATUSES = ['active', 'needs_reauth', 'disabled', 'disconnected'] as const
export type ConnectionStatus = (typeof CONNECTION_STATUSES)[number]

export const CONNECTION_STATES = [
  'in_sync',
  'first_sync',
  'catching_up',
  'late',
  'partly_in_sync',
  'retrying',
  'paused',
  'unknown',
  'needs_reauth',
  'disabled',
  'disconnected',
] as const

export type StateName = (typeof CONNECTION_STATES)[number]

/** What the words need to know of a connection. */
export interface ConnectionFacts {
  readonly status: ConnectionStatus
  readonly syncNeeded: boolean
  /** When the person last connected the account. */
  readonly connectedAt: Micros
  readonly lastSyncedAt: Micros | null
  readonly lastError: { readonly message: string; readonly code?: string } | null
  readonly backoffUntil: Micros | null
  /**
   * While it waits for a person: when it is asked next whether it is let in again;
   * null or absent: never.
   */
  readonly probeAt?: Micros | null
  /** When the grant ends whatever is done; null or absent: the vendor named no end. */
  readonly grantEndsAt?: Micros | null
  /** A request met a closed gate and is kept; it is rung for when the gate opens. */
  readonly isHeld: boolean
  /** Since when; null or absent: not known. */
  readonly heldSince?: Micros | null
  /** Since when units of it fail; null or absent: the last one did not. */
  readonly failingSince?: Micros | null
  /** Since when it waits for a person; null or absent: it does not. */
  readonly parkedAt?: Micros | null
  readonly disconnectedAt?: Micros | null
  /** Since when an operator's pause lasts, and who asked for it; null or absent: there is none. */
  readonly pausedAt?: Micros | null
  readonly pausedBy?: string | null
  /** Calendars that are synced and cannot be read, the first few by name, and how many they are. */
  readonly illCalendars: readonly IllCalendar[]
  readonly illCount: number
  /** Database clock. */
  readonly now: Micros
}

/** What the words need to know of a calendar. */
export interface CalendarFacts {
  readonly selected: boolean
  /** Code of what took it out of sync; null when a person did. */
  readonly removalReason: string | null
  /** What the vendor had then is stored. */
  readonly lastReadAt: Micros | null
  /** Start of the last full read: what is stored lies around it. */
  readonly lastFullReadAt: Micros | null
  /** No full read before this. */
  readonly coolDownUntil: Micros | null
  /** When a list of the vendor first lacked it; null when the last one had it. */
  readonly missingSince: Micros | null
  /** It owes a read of its own. */
  readonly readNeeded: boolean
  /** Why it cannot be read; null while it can. */
  readonly ill: Omit<IllCalendar, 'id' | 'name'> | null
  /**
   * Set while it is read by plain listing, because asking for changes led nowhere; from when on the
   * usual way is tried again.
   */
  readonly plain?: { readonly usualFrom: Micros | null } | null
  /** A full read lacked so many events that another one decides about them. */
  readonly isDeleteHeld?: boolean
  /** How its changes are told: null or absent where nothing is wrong with that. */
  readonly push?:
    | { readonly kind: 'failing'; readonly attempts: number; readonly retryAt: Micros | null }
    | { readonly kind: 'silent'; readonly finds: number }
    | { readonly kind: 'none' }
    | null
}

/**
 * Every calendar is read at least once in 18 minutes (the reconcile: 15 ± 20 %), so half an hour
 * without, twice its interval, means that something is wrong.
 */
export const STALE_AFTER_MS = 30 * 60_000

/**
 * A grant that ends is warned of from here on:
 * one of a Google project in testing, which lasts 7 days, from the start.
 */
export const GRANT_WARN_MS = 7 * 86_400_000
