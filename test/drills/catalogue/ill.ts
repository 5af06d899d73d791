// ILL: one calendar of three is ill for hours, in each of the ways that real vendors were reported
// to be.
import {
  allOf,
  atMost,
  criterion,
  each,
  met,
  noted,
  percentile,
  setUp,
  within,
  type Finding,
} from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import type { FaultSpec } from '../environment/vendor-hand.ts'
import { share } from '../faults/senders.ts'
import { LISTING, vendorFault } from '../faults/vendors.ts'
import { callsOf, mostCallsInAnHour, type CalendarAtVendor, type Span } from '../ledgers/calls.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'
import { freshnessOf, type Fresh } from '../ledgers/freshness.ts'
import { reconcileNow } from './asking.ts'
import { dueIsDone, HOUR_MS, MINUTE_MS, minutes, MOVED, passTime } from './hours.ts'

const ILL_HOURS = 2
const ILL_ACCOUNTS = 50
/** These are well all the time, so that a machine that gets slower is not taken for the illness. */
const WELL_ACCOUNTS = 12
const CALENDARS = 3
const SLOWER = atMost(1.2, 'times')
const CALLS_AN_HOUR = atMost(10)
const PART = 0.95
/** More than any queueing of a load as small as this one. */
const LATENCY_MS = 150
/** Shorter than every pause from the third failure on. */
const STEP_MS = 2 * MINUTE_MS
/** The first pauses are 5 s and 30 s. */
const FIRST_STEPS_MS = 10_000
const LOADS_BEFORE = 3
const LOADS = 6
const LOAD_MS = 4_000
/** Of the accounts with an ill calendar, and of the others. Two cores carry three times as many. */
const CHANGES_PER_SECOND = [16, 6] as const
const SAMPLES_MIN = 50
/** The longest backoff, and what a machine needs to come back. */
const HEALS_WITHIN = within(HOUR_MS + 5 * MINUTE_MS)
const REST_WITHIN_MS = 60_000

/** What the third calendar answers until it is healed. */
const ILLNESSES: Readonly<Record<string, FaultSpec>> = {
  'does not exist': { respond: { status: 404, reason: 'notFound' } },
  'is refused from page 2 on': {
    match: { hasPageToken: true },
    respond: { status: 403, reason: 'forbidden' },
  },
  'answers 500': { respond: { status: 500, reason: 'backendError' } },
  'never ends': { goesOn: 'repeating' },
  'has a dead place': { match: { hasSyncToken: true }, onePlace: true, respond: { status: 503 } },
}
const HEALS_BY_ITSELF = 'has a dead place'

interface Patient extends CalendarAtVendor {
  readonly illness: string
}

const ill: Drill = {
  id: 'ILL',
  title: `One calendar of ${CALENDARS} is ill for ${ILL_HOURS} h, in five ways, in ${ILL_ACCOUNTS} accounts`,
  report: 'vendors',
  criteria: {
    'ILL.1': criterion`${percentile(PART)} of the freshness of its siblings is ${SLOWER} what it was before, or that of ${setUp(WELL_ACCOUNTS)} accounts without an ill calendar at the same moments, whichever is more`,
    'ILL.2': criterion`An ill calendar costs ${CALLS_AN_HOUR} calls in any hour`,
    'ILL.3': criterion`No connection is parked and none has an error of its own; every calendar that is ill is told of as ill`,
    'ILL.4': criterion`Well again, each is read ${HEALS_WITHIN} by itself`,
  },
  faults: ['A21', 'A22', 'A23'],
  profiles: ['ci', 'full'],
  system: () => ({
    connections: ILL_ACCOUNTS + WELL_ACCOUNTS,
    calendars: CALENDARS,
    eventsPerCalendar: 6,
    latencyMs: 10,
    movesClock: true,
  }),
  invariants: [],
  without: MOVED,
  wallMs: 600_000,
  recoverWithinMs: 120_000,
  limits: 'The clock stands while freshness is measured.',
  async run(d) {
    const { clock, vendor } = d.system
    const patients = patientsOf(d)
    await vendor.admin('POST', '/admin/paging', { pageSizeMax: 3 })
    await vendor.admin('POST', '/admin/latency', { ms: LATENCY_MS })
    const wellFrom = clock.now()
    for (let round = 0; round < LOADS_BEFORE; round += 1) await change(d)
    await d.converged(REST_WITHIN_MS)
    const began = clock.now()
    const faults = await fallIll(d, patients)
    await passTime(d, MINUTE_MS, FIRST_STEPS_MS)
    for (let round = 0; round < LOADS; round += 1) {
      await passTime(d, (ILL_HOURS * HOUR_MS) / LOADS, STEP_MS)
      // What is due now runs beside the changes.
      await clock.advance(STEP_MS)
      await change(d)
      await dueIsDone(d)
    }
    const ended = clock.now()
    const state = await stateNow(d)
    await faults.heal()
    const healedAt = clock.now()
    await passTime(d, HEALS_WITHIN.limit - REST_WITHIN_MS)
    const restMs = await d.converged(REST_WITHIN_MS)
    const wellMs = clock.now() - healedAt
    return ({ ledgers, holds }) => {
      const fresh = freshnessOf(ledgers, (at) => clock.machineTime(at))
      const before = siblingsOf(fresh, patients, (at) => at > wellFrom && at < began)
      const during = siblingsOf(fresh, patients, (at) => at > began && at < ended)
      const most = new Map(
        patients.map((one) => [
          one,
          mostCallsInAnHour(ledgers.calls, one, illSpan(ledgers, one, began, ended)),
        ]),
      )
      const staysIll = patients.filter(({ illness }) => illness !== HEALS_BY_ITSELF).length
      return {
        criteria: {
          'ILL.1': slower({ before: before.beside, beside: during.beside, without: during.without }),
          'ILL.2': each(Object.keys(ILLNESSES), (illness) => costs(illness, most)),
          'ILL.3': allOf(
            met(state.unwell === 0, `${state.unwell} connections are parked or have an error`),
            met(state.ill === staysIll, `${state.ill} of ${staysIll} calendars are told of as ill`),
          ),
          'ILL.4': noted(
            allOf(holds('I1'), HEALS_WITHIN.judge(wellMs, `equal after ${minutes(wellMs)} min`)),
            `${Math.round(restMs)} ms after the last step of the clock`,
          ),
        },
        witnesses: [
          { name: 'samples before', need: SAMPLES_MIN, got: before.beside.length },
          { name: 'samples beside an ill calendar', need: SAMPLES_MIN, got: during.beside.length },
          { name: 'samples without one', need: SAMPLES_MIN, got: during.without.length },
          {
            name: 'calendars that were asked while ill',
            need: ILL_ACCOUNTS,
            got: [...most.values()].filter((calls) => calls > 0).length,
          },
        ],
        numbers: {
          p95BeforeMs: p95(before.beside),
          p95BesideMs: p95(during.beside),
          p95WithoutMs: p95(during.without),
          mostCallsAnHour: Math.max(...most.values()),
        },
      }
    }
  },
}

function patientsOf(d: DrillRun): readonly Patient[] {
  const illnesses = Object.keys(ILLNESSES)
  return d.system.accounts.slice(0, ILL_ACCOUNTS).map(({ accountId, calendars }, at) => ({
    accountId,
    calendarId: calendars.at(-1)?.id ?? '',
    illness: illnesses[at % illnesses.length] ?? '',
  }))
}

/**
 * Changes in all accounts, as many in each of the two groups at any time; done when all are held
 * that can be.
 */
async function change(d: DrillRun): Promise<void> {
  const ids = d.system.accounts.map(({ accountId }) => accountId)
  const groups = [ids.slice(0, ILL_ACCOUNTS), ids.slice(ILL_ACCOUNTS)]
  await Promise.all(groups.map((group, at) => d.load(CHANGES_PER_SECOND[at] ?? 0, LOAD_MS, group)))
  await d.delivered(REST_WITHIN_MS)
}

/** Their places are lost first, because a page 2 is asked for in a read from the start only. */
async function fallIll(d: DrillRun, patients: readonly Patient[]) {
  for (const { accountId, calendarId, illness } of patients)
    if (illness !== HEALS_BY_ITSELF)
      await d.system.vendor.admin('POST', '/admin/cursors/expire', { accountId, calendarId })
  const specs = patients.map(({ accountId, calendarId, illness }): FaultSpec => {
    const spec = ILLNESSES[illness] ?? {}
    return { ...spec, match: { path: LISTING, accountId, calendarId, ...spec.match } }
  })
  await reconcileNow(d)
  return vendorFault(
    d,
    {
      fault: 'A23',
      action: 'a calendar is ill',
      target: `${patients.length} accounts`,
      minHits: ILL_ACCOUNTS,
    },
    ...specs,
  )
}

async function stateNow(d: DrillRun): Promise<{ readonly unwell: number; readonly ill: number }> {
  const [row] = await d.system.ask<{ unwell: number; ill: number }>(
    `select (select count(*)::int from external_calendar_connections where status <> 'active' or error_count > 0) as unwell,
            (select count(*)::int from external_calendars where failures > 0 and last_error is not null) as ill`,
  )
  return { unwell: row?.unwell ?? 0, ill: row?.ill ?? 0 }
}

function siblingsOf(
  fresh: readonly Fresh[],
  patients: readonly Patient[],
  isThen: (at: number) => boolean,
): { readonly beside: readonly number[]; readonly without: readonly number[] } {
  const sick = new Map(patients.map(({ accountId, calendarId }) => [accountId, calendarId]))
  const then = fresh.filter(
    ({ accountId, calendarId, at }) => isThen(at) && sick.get(accountId) !== calendarId,
  )
  const ms = (isBeside: boolean) =>
    then.filter(({ accountId }) => sick.has(accountId) === isBeside).map((one) => one.ms)
  return { beside: ms(true), without: ms(false) }
}

/** Until the last answer of its illness. A calendar that healed is asked as often as any. */
function illSpan({ calls }: Pick<Ledgers, 'calls'>, patient: Patient, from: number, ended: number): Span {
  const last = callsOf(calls, patient, { from, to: ended }).findLast(({ faultId }) => faultId !== undefined)
  return { from, to: (last?.start ?? from) + 1 }
}

function slower(seen: Readonly<Record<'before' | 'beside' | 'without', readonly number[]>>): Finding {
  const [before, beside, without] = [p95(seen.before), p95(seen.beside), p95(seen.without)]
  return SLOWER.judge(
    beside / Math.max(before, without),
    `p95 ${beside} ms of ${seen.beside.length} beside an ill calendar; ${before} ms of ${seen.before.length} before, ${without} ms of ${seen.without.length} without`,
  )
}

function p95(samples: readonly number[]): number {
  return Math.round(share(samples, PART))
}

function costs(illness: string, most: ReadonlyMap<Patient, number>): Finding {
  const calls = Math.max(...[...most].filter(([patient]) => patient.illness === illness).map(([, n]) => n))
  return allOf(
    met(calls > 0, `one that ${illness}`),
    CALLS_AN_HOUR.judge(calls, `at most ${calls} in an hour`),
  )
}

export const ILL: readonly Drill[] = [ill]
