// SERIES: Google tells changes of a series in part, as people reported it. Rows must equal what
// Google holds all the same, at once and for few calls.
import { allOf, atMost, criterion, within } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'

const HOUR_MS = 3_600_000
const AT_REST_WITHIN = within(30_000)
const CALLS_A_SERIES = atMost(6)

const series: Drill = {
  id: 'SERIES',
  title: 'Series of Google that are deleted or changed and told only in part',
  report: 'vendors',
  criteria: {
    'SERIES.1': criterion`What is held equals what Google holds ${AT_REST_WITHIN}, without a weekly read`,
    'SERIES.2': criterion`A touched series costs ${CALLS_A_SERIES} calls`,
  },
  faults: ['A17'],
  profiles: ['ci', 'full'],
  system: () => ({ connections: 12, eventsPerCalendar: 5, latencyMs: 10 }),
  invariants: [],
  wallMs: 300_000,
  recoverWithinMs: 60_000,
  async run(d) {
    const { accounts, vendor } = d.system
    const made: string[] = []
    for (const [at, { accountId, calendars }] of accounts.entries()) {
      const calendar = `/admin/accounts/${accountId}/calendars/${encodeURIComponent(calendars[0]?.id ?? '')}/events`
      const start = Date.now() + 86_400_000 + at * HOUR_MS
      const time = (ms: number) => ({ dateTime: new Date(ms).toISOString(), timeZone: 'UTC' })
      const { id } = await vendor.admin<{ id: string }>('POST', calendar, {
        start: time(start),
        end: time(start + HOUR_MS),
        recurrence: ['RRULE:FREQ=WEEKLY;COUNT=40'],
      })
      made.push(`${calendar}/${id}`)
    }
    await d.converged(60_000)
    const held = await occurrences(d)
    const began = Date.now()
    await d.strike({ fault: 'A17', action: 'half told', target: `${made.length} series` }, async () => {
      for (const [at, event] of made.entries()) {
        const tombstones = (['whole', 'sparse', 'series'] as const)[at % 3]
        await vendor.admin('POST', '/admin/series', { toldShare: 0.4, tombstones })
        if (at % 2 === 0) await vendor.admin('DELETE', event)
        else await vendor.admin('PATCH', event, { recurrence: ['RRULE:FREQ=WEEKLY;COUNT=10'] })
      }
    })
    const restMs = await d.converged(2 * AT_REST_WITHIN.limit)
    const ended = Date.now()
    const left = await occurrences(d)
    return ({ ledgers, holds }) => {
      const perAccount = Map.groupBy(
        ledgers.calls.filter(
          ({ start, calendarId }) => calendarId !== null && start > began && start < ended,
        ),
        ({ accountId }) => accountId,
      )
      const most = Math.max(...[...perAccount.values()].map((calls) => calls.length))
      return {
        criteria: {
          'SERIES.1': allOf(
            holds('I1'),
            AT_REST_WITHIN.judge(restMs, `equal after ${Math.round(restMs)} ms`),
          ),
          'SERIES.2': CALLS_A_SERIES.judge(most, `at most ${most} calls of an account`),
        },
        witnesses: [{ name: 'occurrences that ended', need: 200, got: held - left }],
        numbers: { restMs: Math.round(restMs), mostCalls: most },
      }
    }
  },
}

async function occurrences(d: DrillRun): Promise<number> {
  const [row] = await d.system.ask<{ n: number }>(
    'select count(*)::int as n from external_calendar_events where series_id is not null',
  )
  return row?.n ?? 0
}

export const SERIES: readonly Drill[] = [series]
