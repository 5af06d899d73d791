// STORM: a vendor is away for everybody at once, under load. Judged is the way there and back:
// growing, jittered delays, silence inside each of them, and a return that the vendor would not
// notice.
import { backoffWindows, recordedFailures, type Backoff } from '../checkers/failures.ts'
import { allOf, atMost, criterion, met, moreThan, noted } from '../criterion.ts'
import type { Drill } from '../drill.ts'
import { LISTING, vendorFault } from '../faults/vendors.ts'
import { inParallel, share } from '../faults/senders.ts'
import { mostWithin } from '../ledgers/calls.ts'
import type { ApiCall, Ledgers } from '../ledgers/ledgers.ts'
import { askForSync } from './asking.ts'

/**
 * Peak calls per second on recovery, as a multiple of the peak before the fault under equal load.
 */
const PEAK = atMost(2, 'times')
/** Of the longest first delay: so far lie the shortest and the longest apart. */
const JITTERED = moreThan(0.3, 'share')
const SECOND_MS = 1_000
/** What a unit does beside listing ends within this; the load has then its usual effect. */
const WARM_UP_MS = 3_000

const storm: Drill = {
  id: 'STORM',
  title: 'The vendor answers 503 to everybody, then returns: the way into the backoff, and the way out of it',
  report: 'vendors',
  criteria: {
    'STORM.1': criterion`Every connection backs off, with delays that grow and are jittered, the first ones by ${JITTERED}`,
    'STORM.2': criterion`No call inside a backoff window`,
    'STORM.3': criterion`All are healed after the recovery, without a person and without a restart`,
    'STORM.4': criterion`The peak call rate on recovery is ${PEAK} the peak before the fault`,
  },
  faults: ['A1', 'A16'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 80 : 200,
    microsoft: profile === 'ci' ? 0 : 40,
    eventsPerCalendar: 10,
    latencyMs: 50,
  }),
  invariants: ['I10', 'I14', 'I15', 'I23'],
  wallMs: 400_000,
  recoverWithinMs: 120_000,
  limits: 'One process of sync; each process has a breaker of its own.',
  async run(d) {
    const spans = { steady: 30_000, outage: 60_000, after: 60_000, rate: 12 }
    if (d.profile !== 'full') Object.assign(spans, { steady: 6_000, outage: 7_000, after: 6_000, rate: 6 })
    const load = d.load(spans.rate, WARM_UP_MS + spans.steady + spans.outage + spans.after)
    await d.lasting(WARM_UP_MS)
    const steadyFrom = Date.now()
    await d.lasting(spans.steady)
    const steadyTo = Date.now()
    const outage = await vendorFault(
      d,
      { fault: 'A1', action: 'answers 503', target: 'every call of everybody' },
      { match: { path: LISTING }, respond: { status: 503 } },
    )
    // Not left to the load: every connection is asked for at the beginning of the outage.
    await inParallel(8, d.system.accounts.length, (index) =>
      askForSync(d, d.system.accounts[index]!.providerId, 'sync API during the outage'),
    )
    await d.lasting(spans.outage - (Date.now() - (outage.entry.activeAt ?? 0)))
    await outage.heal()
    await load
    const recovered = await d.converged(120_000)
    const people = d.system.processEvents.filter(({ event }) => event !== 'ready').length
    return ({ ledgers, holds }) => {
      const [from, to] = [outage.entry.activeAt ?? 0, outage.entry.endedAt ?? 0]
      const delays = delaysOf(ledgers, from, to)
      const steadyPeak = peakRate(ledgers.calls, steadyFrom, steadyTo)
      const peak = peakRate(ledgers.calls, to, Infinity)
      const notHealed = ledgers.connections.filter(
        ({ status, syncNeeded, errorCount, backoffUntil }) =>
          status !== 'active' || syncNeeded || errorCount > 0 || backoffUntil !== null,
      ).length
      return {
        criteria: {
          'STORM.1': allOf(
            met(
              delays.backedOff === d.system.accounts.length,
              `${delays.backedOff} of ${d.system.accounts.length} connections backed off, ${delays.steps} times in all, ${delays.repeated} of them more than once`,
            ),
            // I14 holds that each is at least half of its attempt's step. A breaker's floor may
            // lengthen one.
            met(
              delays.medians.every((median, index) => median > (delays.medians[index - 1] ?? 0)),
              `median delay by attempt in ms: ${delays.medians.join(', ')}`,
            ),
            holds('I14'),
            JITTERED.judge(delays.spread, `the first delays lie between ${delays.low} and ${delays.high} ms`),
          ),
          'STORM.2': holds('I14'),
          'STORM.3': allOf(
            noted(
              met(
                notHealed === 0 && people === 0,
                `${notHealed} of ${ledgers.connections.length} not healed, ${people} processes ended`,
              ),
              `rest ${Math.round(recovered)} ms after the load`,
            ),
            holds('I1'),
          ),
          'STORM.4': PEAK.judge(
            peak / steadyPeak,
            `at most ${peak} calls in one second on recovery, ${steadyPeak} before the fault: ${(peak / steadyPeak).toFixed(2)} times`,
          ),
        },
        witnesses: [
          { name: 'calls answered 503', need: 10, got: statusCount(ledgers, 503) },
          { name: 'connections that backed off twice or more', need: 5, got: delays.repeated },
          { name: 'calls in the busiest second before the fault', need: 5, got: steadyPeak },
          { name: 'length of the outage in ms', need: spans.outage - 100, got: to - from },
        ],
        numbers: {
          steadyPeakPerSecond: steadyPeak,
          recoveryPeakPerSecond: peak,
          healedMs: healedMs(ledgers, to),
          recoveryMs: Math.round(recovered),
        },
      }
    }
  },
}

/** The most calls that began within a second, however that second begins. */
function peakRate(calls: readonly ApiCall[], from: number, to: number): number {
  const starts = calls.map(({ start }) => start).filter((start) => start >= from && start < to)
  return mostWithin(starts, SECOND_MS)
}

/** What the connections were told to wait, as Postgres recorded it at each failure. */
function delaysOf({ audit }: Ledgers, from: number, to: number) {
  const scheduled = recordedFailures(audit).filter(({ at }) => at >= from && at <= to)
  const byConnection = Map.groupBy(scheduled, ({ connectionId }) => connectionId)
  const byAttempt = new Map<number, number[]>()
  for (const { at, new: row } of scheduled) {
    const delay = Date.parse(String(row?.['backoff_until'])) - at
    const attempt = Number((row?.['last_error'] as { attempt?: number } | null)?.attempt)
    byAttempt.set(attempt, [...(byAttempt.get(attempt) ?? []), delay])
  }
  const medians = [...byAttempt].toSorted(([a], [b]) => a - b).map(([, all]) => Math.round(share(all, 0.5)))
  const first = byAttempt.get(1) ?? []
  const [low, high] = [share(first, 0.05), share(first, 0.95)]
  return {
    backedOff: byConnection.size,
    repeated: [...byConnection.values()].filter((rows) => rows.length > 1).length,
    steps: scheduled.length,
    medians,
    low: Math.round(low),
    high: Math.round(high),
    spread: high > 0 ? (high - low) / high : 0,
  }
}

/** From the end of the outage until the last connection cleared its error. */
function healedMs({ audit }: Ledgers, to: number): number {
  const ends = backoffWindows(audit).map(({ until }: Backoff) => until)
  return Math.round(Math.max(0, ...ends.map((end) => end - to)))
}

function statusCount({ calls }: Ledgers, status: number): number {
  return calls.filter((call) => call.status === status).length
}

export const RECOVERY: readonly Drill[] = [storm]
