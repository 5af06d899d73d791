// Changes each canary once a minute at its vendor, and sees the change come back: stored by a unit,
// published by the relay. Invariant: the vendor alone rings for a change until it was missing
// for a while, so whether the vendor rings is seen each minute.
import { asFailure } from '#shared/domain/failure.ts'
import { CANARY_LEGS, deadLegs, nextCanaryStep } from '#shared/domain/canary.ts'
import { metrics } from '#shared/process/metrics.ts'
import {
  beginBeat,
  type Canary,
  canaryTitle,
  noteArrived,
  noteRefused,
  noteRung,
  noteStored,
  noteTaken,
  pauseCanary,
  readCanaries,
} from '#shared/store/canaries.ts'
import type { Queryable } from '#shared/store/database.ts'
import { boundedEach } from './bounded-each.ts'
import type { JobDeps } from './deps.ts'
import { mayAsk, ring } from './ringing/ring.ts'

/** Ahead, so that the event never leaves the window. */
const AHEAD_MICROS = 86_400_000_000

/** One run. @returns how many steps were taken. Throws Failure `store/*` or `kafka/*`. */
export async function flyCanaries(deps: JobDeps, signal: AbortSignal): Promise<number> {
  const canaries = await readCanaries(deps.db)
  return boundedEach(canaries, { signal }, (canary) => flyOne(deps, canary, signal))
}

async function flyOne(deps: JobDeps, canary: Canary, signal: AbortSignal): Promise<boolean> {
  const { db } = deps
  const { connectionId, now } = canary
  if (canary.status !== 'active' || !mayAsk(deps, canary)) {
    await pauseCanary(db, connectionId)
    return false
  }
  const step = nextCanaryStep(canary, now)
  switch (step) {
    case 'write':
      await write(deps, canary, signal)
      return true
    case 'ring':
      await ring(deps, 'reconcile', [canary])
      await noteRung(db, connectionId)
      return true
    case 'stored':
      await noteStored(db, connectionId)
      return true
    case 'arrived':
      await noteArrived(db, connectionId)
      return true
    case 'wait':
      return false
    default:
      return step satisfies never
  }
}

async function write(deps: JobDeps, canary: Canary, signal: AbortSignal): Promise<void> {
  const { connectionId, vendorCalendarId, vendorEventId, now } = canary
  const beat = await beginBeat(deps.db, connectionId, canary.isNotified)
  const change = { vendorCalendarId, vendorEventId, title: canaryTitle(beat), at: now + AHEAD_MICROS }
  try {
    const event = await deps.mailboxes.of(canary).changeEvent(change, signal)
    await noteTaken(deps.db, connectionId, event)
  } catch (error) {
    signal.throwIfAborted()
    const failure = asFailure(error)
    if (!failure.code.startsWith('vendor/')) throw failure
    await noteRefused(deps.db, connectionId, failure.message)
  }
}

/** Tells how the canaries are, in every scheduler: one without the lease would keep an old word. */
export async function reportCanaries(db: Queryable): Promise<void> {
  for (const canary of await readCanaries(db)) {
    const { vendor, now, lastArrivedBeatAt, createdAt, begunAt } = canary
    // While a gate is closed for it nothing is late.
    const age = begunAt === null ? 0 : (now - (lastArrivedBeatAt ?? createdAt)) / 1e6
    metrics.canaryAgeSeconds.record(Math.max(0, age), { vendor })
    if (lastArrivedBeatAt !== null) metrics.canaryLastSeen.record(lastArrivedBeatAt / 1e6, { vendor })
    const dead = new Set(deadLegs(canary, now).map(({ leg }) => leg))
    for (const leg of CANARY_LEGS) metrics.canaryDead.record(dead.has(leg) ? 1 : 0, { vendor, leg })
  }
}
