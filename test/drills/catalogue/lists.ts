// LISTS: calendars that seem to be gone, as people reported it, and some that are. Nothing is
// removed after one look.
import { allOf, criterion, met, within } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { HOUR_MS, MINUTE_MS, minutes, MOVED, passTime } from './hours.ts'

const GONE_WITHIN = within(4 * HOUR_MS)
const REST_WITHIN_MS = 90_000
/** ADR 18. */
const BETWEEN_LOOKS_MS = 10 * MINUTE_MS
const LOOK_WITHIN_MS = 30_000

const lists: Drill = {
  id: 'LISTS',
  title: 'Calendars that are hidden, left out of a list, or get another id; and some that are really deleted',
  report: 'vendors',
  criteria: {
    'LISTS.1': criterion`No event of a calendar that exists is removed`,
    'LISTS.2': criterion`An account whose calendar gets another id keeps its rows: no event gets a new id`,
    'LISTS.3': criterion`A calendar that is deleted is gone ${GONE_WITHIN}`,
  },
  faults: ['A20', 'A8'],
  profiles: ['ci', 'full'],
  system: () => ({
    connections: 16,
    microsoft: 8,
    calendars: 2,
    eventsPerCalendar: 10,
    latencyMs: 10,
    movesClock: true,
  }),
  invariants: [],
  without: MOVED,
  wallMs: 400_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const { accounts, clock, vendor } = d.system
    const side = (at: number) => encodeURIComponent(accounts[at]?.calendars.at(-1)?.id ?? '')
    const first = (at: number) => encodeURIComponent(accounts[at]?.calendars[0]?.id ?? '')
    const route = (at: number, calendar: string) =>
      `/admin/accounts/${accounts[at]?.accountId}/calendars/${calendar}`
    const kinds = ['hidden', 'left-out', 'renamed', 'deleted'] as const
    const before = await eventIds(d)
    await d.strike(
      { fault: 'A20', action: 'lists change', target: `${accounts.length} accounts` },
      async () => {
        for (const at of accounts.keys()) {
          const kind = kinds[at % kinds.length]
          // Microsoft hides no calendars.
          if (kind === 'hidden' && accounts[at]?.vendor === 'google')
            await vendor.admin('PATCH', route(at, side(at)), { hidden: true })
          if (kind === 'left-out') await vendor.admin('PATCH', route(at, side(at)), { unlisted: true })
          // The oracle knows accounts of Google by the id of their primary calendar.
          if (kind === 'renamed' && accounts[at]?.vendor === 'microsoft')
            await vendor.admin('POST', `${route(at, first(at))}/rename`, {
              id: `renamed-${at}@example.com`,
              alias: false,
            })
          if (kind === 'deleted') await vendor.admin('DELETE', route(at, side(at)))
        }
      },
    )
    const changedAt = clock.now()
    const left = accounts.flatMap((_one, at) => (kinds[at % kinds.length] === 'left-out' ? [at] : []))
    // One look at the list lacks it, and the next has it again.
    const lacked = await lookAtLists(
      d,
      left.map((at) => accounts[at]?.calendars.at(-1)?.id ?? ''),
    )
    await passTime(d, BETWEEN_LOOKS_MS / 2)
    for (const at of left) await vendor.admin('PATCH', route(at, side(at)), { unlisted: false })
    await passTime(d, GONE_WITHIN.limit - REST_WITHIN_MS - (clock.now() - changedAt))
    await d.converged(REST_WITHIN_MS)
    const goneMs = clock.now() - changedAt
    const after = await eventIds(d)
    return () => {
      const of = (...names: (typeof kinds)[number][]) =>
        accounts
          .filter((_one, at) => names.includes(kinds[at % kinds.length]!))
          .map(({ connectionId }) => connectionId)
      const lost = (connections: readonly string[]) =>
        connections.flatMap((id) =>
          (before.get(id) ?? []).filter((event) => !(after.get(id) ?? []).includes(event)),
        )
      const lostOfKept = lost(of('hidden', 'left-out')).length
      const lostOfRenamed = lost(of('renamed')).length
      const deleted = of('deleted')
      const stillThere = deleted.filter(
        (id) => (after.get(id)?.length ?? 0) >= (before.get(id)?.length ?? 0),
      ).length
      return {
        criteria: {
          'LISTS.1': met(
            lostOfKept === 0,
            `${lostOfKept} events of calendars that are hidden or were left out`,
          ),
          'LISTS.2': met(lostOfRenamed === 0, `${lostOfRenamed} events have another id or none`),
          'LISTS.3': allOf(
            met(stillThere === 0, `${stillThere} of ${deleted.length} deleted calendars are still held`),
            GONE_WITHIN.judge(goneMs, `${minutes(goneMs)} min after they were deleted`),
          ),
        },
        witnesses: [
          { name: 'events held before', need: 100, got: [...before.values()].flat().length },
          { name: 'calendars that one look lacked', need: left.length, got: lacked },
        ],
      }
    }
  },
}

/** All lists are looked at now. @returns how many of these calendars the look lacked. */
async function lookAtLists(d: DrillRun, calendars: readonly string[]): Promise<number> {
  const count = async () => {
    const [row] = await d.system.ask<{ n: number }>(
      `select count(*)::int as n from external_calendars
        where vendor_calendar_id = any($1) and (missing_since is not null or removal_reason is not null)`,
      [calendars],
    )
    return row?.n ?? 0
  }
  await d.system.ask(
    `update external_calendar_connections set list_calendars_at = calstream_now() where status = 'active'`,
  )
  await d.until('a look lacks them', async () => (await count()) >= calendars.length, LOOK_WITHIN_MS)
  return count()
}

/** Connection → ids of the events that are held. */
async function eventIds(d: DrillRun): Promise<ReadonlyMap<string, readonly string[]>> {
  const rows = await d.system.ask<{ connection: string; id: string }>(
    'select connection_id as connection, event_id as id from external_calendar_events',
  )
  const groups = Map.groupBy(rows, ({ connection }) => connection)
  return new Map([...groups].map(([connection, all]) => [connection, all.map(({ id }) => id)]))
}

export const LISTS: readonly Drill[] = [lists]
