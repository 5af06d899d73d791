// WAVE: a vendor answers 401 to good tokens, and another refuses our whole project, for minutes; then a person really takes a
// grant back. Only that person may have to consent again.
import type { Drill, DrillRun } from '../drill.ts'
import { allOf, met } from '../drill.ts'
import { vendorFault } from '../faults/vendors.ts'
import { reconcileNow } from './asking.ts'

const MINUTE_MS = 60_000
const WAVE_MS = 10 * MINUTE_MS
const CONNECTIONS = 200
const MICROSOFT = 100
const LATENCY_MS = 200
/** Connecting 200 accounts at the latency of the wave would take a minute. */
const LATENCY_BEFORE_MS = 10
const WELL_WITHIN_MS = 60_000
const PARKED_WITHIN_MS = 60_000
/** Each minute of the wave is so many ms of the machine's. */
const PAUSE_MS = 1_200
const STEP_MS = MINUTE_MS / 2
const CHANGES_PER_SECOND = 20
const ANSWERS_MIN = 10
/** Everything but the sign-in. */
const API_OF_GOOGLE = '^/calendar/'
const API_OF_MICROSOFT = '^/v1.0/'

const wave: Drill = {
  id: 'WAVE',
  title: `${WAVE_MS / MINUTE_MS} min of 401 at Microsoft and of a refused project at Google over ${CONNECTIONS} connections, then a grant that is really revoked`,
  report: 'vendors',
  criteria: {
    'WAVE.1': `Nobody is parked by the wave, of ${CONNECTIONS} connections`,
    'WAVE.2': `All are well within ${WELL_WITHIN_MS / 1000} s of its end, at ${LATENCY_MS} ms a call`,
    'WAVE.3': `A revoked grant waits for the person within ${PARKED_WITHIN_MS / 1000} s`,
  },
  faults: ['A18', 'A19', 'A5'],
  profiles: ['ci', 'full'],
  system: () => ({
    connections: CONNECTIONS,
    microsoft: MICROSOFT,
    eventsPerCalendar: 5,
    latencyMs: LATENCY_BEFORE_MS,
    movesClock: true,
  }),
  invariants: [],
  without: { I9: 'calls are noted by the clock of the vendors, which this drill moves on' },
  wallMs: 600_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const { clock, vendor } = d.system
    await vendor.admin('POST', '/admin/latency', { ms: LATENCY_MS })
    const load = d.load(CHANGES_PER_SECOND, (WAVE_MS / STEP_MS) * PAUSE_MS)
    const [unauthorized, refused] = [await unauthorizedWave(d), await refusedProject(d)]
    const ends = clock.now() + WAVE_MS
    while (clock.now() < ends) {
      await clock.advance(STEP_MS)
      await reconcileNow(d)
      await d.lasting(PAUSE_MS)
    }
    await load
    await unauthorized.heal()
    await refused.heal()
    const parked = await parkedNow(d)
    const wellMs = await d.converged(2 * WELL_WITHIN_MS)
    const parkedAfter = await parkedNow(d)
    const revoked = d.system.accounts.find(({ vendor: name }) => name === 'google')!
    await d.strike({ fault: 'A5', action: 'revoked', target: revoked.connectionId }, async () => {
      await vendor.admin('POST', `/admin/accounts/${revoked.accountId}/revoke`)
      await reconcileNow(d, [revoked])
    })
    const parkedMs = await d.until(
      'the revoked connection waits for the person',
      async () => (await parkedNow(d)).includes(revoked.connectionId),
      2 * PARKED_WITHIN_MS,
    )
    const parkedLast = await parkedNow(d)
    return ({ ledgers }) => {
      const answered = (status: number) => ledgers.calls.filter((call) => call.status === status).length
      const ever = ledgers.audit.filter(
        ({ table, new: row, connectionId }) =>
          table === 'external_calendar_connections' &&
          row?.['status'] === 'needs_reauth' &&
          connectionId !== revoked.connectionId,
      ).length
      return {
        criteria: {
          'WAVE.1': met(
            parked.length + parkedAfter.length + ever === 0,
            `${parked.length} parked at its end, ${parkedAfter.length} a minute later, ${ever} rows of the audit`,
          ),
          'WAVE.2': met(wellMs <= WELL_WITHIN_MS, `well ${(wellMs / 1000).toFixed(1)} s after its end`),
          'WAVE.3': allOf(
            met(parkedMs <= PARKED_WITHIN_MS, `parked after ${(parkedMs / 1000).toFixed(1)} s`),
            met(parkedLast.length === 1, `${parkedLast.length} connections wait for a person`),
          ),
        },
        witnesses: [
          // Once a wave is known as one, few of its connections ask: they wait together.
          { name: 'answers of 401', need: ANSWERS_MIN, got: answered(401) },
          { name: 'answers of 403', need: ANSWERS_MIN, got: answered(403) },
        ],
        numbers: { wellMs: Math.round(wellMs), parkedMs: Math.round(parkedMs) },
      }
    }
  },
}

function unauthorizedWave(d: DrillRun) {
  return vendorFault(
    d,
    { fault: 'A18', action: '401 to good tokens', target: 'all of Microsoft' },
    { match: { vendor: 'microsoft', path: API_OF_MICROSOFT }, respond: { status: 401 } },
  )
}

function refusedProject(d: DrillRun) {
  return vendorFault(
    d,
    { fault: 'A19', action: '403 accessNotConfigured', target: 'all of Google' },
    {
      match: { vendor: 'google', path: API_OF_GOOGLE },
      respond: { status: 403, reason: 'accessNotConfigured' },
    },
  )
}

async function parkedNow(d: DrillRun): Promise<readonly string[]> {
  const rows = await d.system.ask<{ id: string }>(
    "select id from external_calendar_connections where status = 'needs_reauth'",
  )
  return rows.map(({ id }) => id)
}

export const WAVES: readonly Drill[] = [wave]
