// OUT-1 … OUT-3: the seed's outages, each with its recovery test: the vendor, the database, our own endpoint.
import type { Drill } from '../drill.ts'
import { met } from '../drill.ts'
import { recordedFailures, sumOf } from '../checkers/failures.ts'
import { LISTING, vendorFault } from '../faults/vendors.ts'

interface SeedRow {
  readonly id: string
  readonly error_count: number
  readonly last_error: { readonly code?: string; readonly message?: string } | null
  readonly backoff_until: Date | null
  readonly sync_needed: boolean
}

const vendorOutage: Drill = {
  id: 'OUT-1',
  title: 'External calendar API outage: the vendor answers 503',
  report: 'outages',
  criteria: {
    'OUT-1.a': 'Sync fails gracefully: nothing crashes, no error leaves the service',
    'OUT-1.b': '`backoff_until` set to a future time',
    'OUT-1.c': 'Error logged with structured format, `last_error` holds its details',
    'OUT-1.d': '`calendar_sync_failures_total` increments, once per failure',
    'OUT-1.e': 'No data corruption (no partial state)',
    'OUT-1.f': 'Retry scheduled after the backoff, `sync_needed` still true',
    'OUT-1.r1': 'Recovery: sync succeeds after the backoff',
    'OUT-1.r2': 'Recovery: `backoff_until` cleared',
    'OUT-1.r3': 'Recovery: `error_count` reset to 0',
  },
  faults: ['A1', 'A16'],
  profiles: ['smoke', 'ci', 'full'],
  system: (profile) => ({
    connections: { smoke: 6, ci: 40, full: 200 }[profile],
    eventsPerCalendar: 10,
    latencyMs: 20,
  }),
  invariants: ['I10', 'I14', 'I15', 'I16', 'I17', 'I23'],
  wallMs: 300_000,
  recoverWithinMs: 90_000,
  limits: 'Google only; the outage lasts seconds, not hours, so the cap of one hour is not reached.',
  async run(d) {
    const outageMs = { smoke: 9_000, ci: 22_000, full: 120_000 }[d.profile]
    const rate = { smoke: 5, ci: 30, full: 50 }[d.profile]
    const load = d.load(rate, outageMs + 6_000)
    await d.lasting(2_000)
    const outage = await vendorFault(
      d,
      { fault: 'A1', action: 'answers 503', target: 'all connections' },
      { match: { path: LISTING }, respond: { status: 503 } },
    )
    let rows: readonly SeedRow[] = []
    await d.until(
      'every connection that has work backs off',
      async () => {
        rows = await d.system.ask<SeedRow>(
          'select id, error_count, last_error, backoff_until, sync_needed from external_calendar_connections where error_count > 0',
        )
        return rows.length >= d.system.accounts.length * 0.8
      },
      20_000,
    )
    const seen = rows
    const now = Date.now()
    await d.lasting(outageMs)
    await outage.heal()
    const changes = await load
    const recovered = await d.converged(90_000)
    return ({ ledgers, holds }) => {
      const failures = recordedFailures(ledgers.audit)
      const steps = new Map<string, number>()
      for (const { connectionId } of failures)
        steps.set(String(connectionId), (steps.get(String(connectionId)) ?? 0) + 1)
      const threeSteps = [...steps.values()].filter((n) => n >= 3).length
      const met503 = ledgers.calls.filter(({ status }) => status === 503).length
      const deaths = ledgers.processes.filter(({ event }) => event === 'ended').length
      const atEnd = ledgers.connections
      const during = ledgers.changes.filter(
        ({ at }) => at > (outage.entry.activeAt ?? 0) && at < (outage.entry.endedAt ?? 0),
      ).length
      const counted = sumOf(ledgers, 'calendar_sync_failures_total')
      return {
        criteria: {
          'OUT-1.a': met(deaths === 0, `${met503} calls were answered 503, ${deaths} processes ended`),
          'OUT-1.b': met(
            seen.every((row) => row.backoff_until !== null && row.backoff_until.getTime() > now - 2_000),
            `${seen.length} rows of the seed's query have backoff_until; ${holds('I14').evidence}`,
          ),
          'OUT-1.c': met(
            holds('I23').ok && seen.every((row) => row.last_error?.code === 'vendor/unavailable'),
            `last_error.code ${[...new Set(seen.map((row) => row.last_error?.code))].join(', ')}; ${holds('I23').evidence}`,
          ),
          'OUT-1.d': met(
            counted === failures.length && counted > 0,
            `${counted} counted, ${failures.length} recorded by Postgres`,
          ),
          'OUT-1.e': holds('I6', 'I7'),
          'OUT-1.f': met(
            seen.every((row) => row.sync_needed) && holds('I14').ok,
            `sync_needed on ${seen.filter((row) => row.sync_needed).length} of ${seen.length}; ${holds('I14').evidence}`,
          ),
          'OUT-1.r1': met(
            ledgers.marks.convergedAt !== null && holds('I1').ok,
            `equal to the vendor ${Math.round(recovered)} ms after the heal; ${holds('I1').evidence}`,
          ),
          'OUT-1.r2': met(
            atEnd.every(({ backoffUntil }) => backoffUntil === null),
            `${atEnd.length} connections without backoff`,
          ),
          'OUT-1.r3': met(
            atEnd.every(({ errorCount }) => errorCount === 0),
            `${atEnd.length} connections with error_count 0`,
          ),
        },
        witnesses: [
          { name: 'calls answered 503', need: 6, got: met503 },
          { name: 'changes during the outage', need: d.profile === 'smoke' ? 20 : 200, got: during },
          ...(d.profile === 'smoke'
            ? []
            : [{ name: 'connections that backed off three times or more', need: 5, got: threeSteps }]),
        ],
        numbers: { changes, failures: failures.length, recoveryMs: Math.round(recovered) },
      }
    }
  },
}

export const OUTAGES: readonly Drill[] = [vendorOutage]
