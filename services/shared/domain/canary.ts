// A canary: a calendar that we change ourselves once a minute, to see whether the change comes back
// through all of the product. Pure. Invariant: a leg is called dead only when the one before it is
// known to have done its part.
//
// A beat is one change. It is
// - due, until the vendor has taken it
// - under way: the vendor has to ring (push), a unit has to store it (sync), the relay has to
//   publish it (relay)
// - arrived, once it is published
// Whether the vendor rang for it is judged when the next one begins: a notification is recorded at
// the end of the unit that stores the change.
//
// At first the vendor alone rings for a beat. When nothing of it is stored after RING_AFTER_MS, a
// sync is asked for: from then on a beat that is still not stored speaks of sync, not of push.
import type { Micros } from './ids.ts'

/** From one beat to the next. */
const BEAT_EVERY_MS = 60_000
/** A notification is worked within seconds, so after this long there was none, or none was read. */
const RING_AFTER_MS = 45_000
/** After a sync was asked for; a unit takes seconds, a backfill before it some more. */
const SYNC_MAX_MS = 45_000
/** One refusal is a hiccup, two in a row are not. */
const VENDOR_MAX_MS = 60_000
/** After the row was stored. */
const RELAY_MAX_MS = 45_000

export const CANARY_LEGS = ['vendor', 'push', 'sync', 'relay'] as const
/** vendor: it does not take the change. */
export type CanaryLeg = (typeof CANARY_LEGS)[number]

/** A canary's row, and what the database has of its beat. Times by the database clock. */
export interface CanaryFacts {
  /** When this beat was begun; null before the first. */
  readonly begunAt: Micros | null
  /** When the vendor had taken it. */
  readonly takenAt: Micros | null
  /** When a sync was last asked for, because nothing of it was stored. */
  readonly rungAt: Micros | null
  /** When it was seen stored, and published. */
  readonly storedAt: Micros | null
  readonly arrivedAt: Micros | null
  /** The row of the event shows this beat. */
  readonly isStored: boolean
  /** Changes of the connection wait in the outbox. */
  readonly isWaiting: boolean
  /** A notification of the connection was worked since the beat began. */
  readonly isNotified: boolean
  /** Since when beats arrived without a notification; null while the vendor rings. */
  readonly silentSince: Micros | null
  /** Since when the vendor does not take changes. */
  readonly refusedSince: Micros | null
}

export type CanaryStep =
  /** Change the event: a new beat, or the same again that the vendor did not take. */
  | 'write'
  /** Ask for a sync. */
  | 'ring'
  /** Note that it is stored, that it arrived. */
  | 'stored'
  | 'arrived'
  | 'wait'

/** What is to be done for a canary now. */
export function nextCanaryStep(facts: CanaryFacts, now: Micros): CanaryStep {
  const { begunAt, takenAt, rungAt, storedAt, arrivedAt } = facts
  const isDue = begunAt === null || sinceMs(begunAt, now) >= BEAT_EVERY_MS
  if (takenAt === null || begunAt === null) return isDue ? 'write' : 'wait'
  if (arrivedAt !== null) return isDue ? 'write' : 'wait'
  if (storedAt !== null) return facts.isWaiting ? 'wait' : 'arrived'
  if (facts.isStored) return 'stored'
  const quiet = sinceMs(Math.max(takenAt, rungAt ?? 0), now)
  return quiet >= RING_AFTER_MS ? 'ring' : 'wait'
}

/** The legs that are dead, with the moment from which on they are. */
export function deadLegs(
  facts: CanaryFacts,
  now: Micros,
): readonly { readonly leg: CanaryLeg; readonly since: Micros }[] {
  const { takenAt, rungAt, storedAt, arrivedAt, silentSince, refusedSince } = facts
  if (refusedSince !== null && sinceMs(refusedSince, now) >= VENDOR_MAX_MS)
    return [{ leg: 'vendor', since: refusedSince }]
  const dead: { leg: CanaryLeg; since: Micros }[] = []
  // Without a unit that works it is not known whether the vendor rings.
  const isSyncDead =
    takenAt !== null &&
    rungAt !== null &&
    storedAt === null &&
    sinceMs(takenAt, now) >= RING_AFTER_MS + SYNC_MAX_MS
  if (isSyncDead) return [{ leg: 'sync', since: takenAt }]
  if (silentSince !== null) dead.push({ leg: 'push', since: silentSince })
  if (storedAt !== null && arrivedAt === null && sinceMs(storedAt, now) >= RELAY_MAX_MS)
    dead.push({ leg: 'relay', since: storedAt })
  return dead
}

function sinceMs(at: Micros, now: Micros): number {
  return (now - at) / 1000
}
