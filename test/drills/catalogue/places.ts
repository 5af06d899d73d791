// PLACE and ENDLESS: places that are dead in words that no vendor documents, and lists that never
// end. Each was reported of a real vendor; what is held has to equal what the vendor holds all the
// same.
import { allOf, atMost, criterion, met, setUp, within } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { LISTING, vendorFault } from '../faults/vendors.ts'
import { longestRun, mostCallsInAnHour, type CalendarAtVendor } from '../ledgers/calls.ts'
import { reconcileNow } from './asking.ts'
import { dueIsDone, HOUR_MS, MINUTE_MS, minutes, MOVED, passTime } from './hours.ts'

/** The longest backoff, and what a machine needs to come back. */
const HEALS_WITHIN = within(HOUR_MS + 5 * MINUTE_MS)
const REST_WITHIN_MS = 60_000
const OUTAGE_MS = HOUR_MS
const STEP_MS = 2 * MINUTE_MS
/** The first pauses are 5 s and 30 s. */
const FIRST_STEPS_MS = 10_000
const ONE_BY_ONE_MS = 1_000
/** ADR 11. */
const BREAKER_PAUSE_MAX_MS = 60_000
const CONNECTIONS = 12
const MICROSOFT = 6

const SYSTEM = {
  connections: CONNECTIONS,
  microsoft: MICROSOFT,
  calendars: 2,
  eventsPerCalendar: 15,
  latencyMs: 10,
  movesClock: true,
}

const place: Drill = {
  id: 'PLACE',
  title: 'A place of each calendar is dead and says so with 503, 500 or 403; a fresh start would succeed',
  report: 'vendors',
  criteria: {
    'PLACE.1': criterion`Each calendar is read from its start ${HEALS_WITHIN}, and nothing is lost`,
    'PLACE.2': criterion`An outage of ${setUp(OUTAGE_MS, 'ms')} in which everything fails drops no cursor, and ends for all ${HEALS_WITHIN}`,
  },
  faults: ['A21', 'A1'],
  profiles: ['ci', 'full'],
  system: () => SYSTEM,
  invariants: [],
  without: MOVED,
  wallMs: 600_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const { accounts, clock } = d.system
    // Rung a moment later, so that a unit meets the fault.
    await reconcileNow(d)
    const away = await vendorFault(
      d,
      { fault: 'A1', action: '503 to everything', target: 'all' },
      { match: { path: LISTING }, respond: { status: 503 } },
    )
    await passTime(d, OUTAGE_MS)
    await away.heal()
    const healedAt = clock.now()
    // The breaker uses the machine's time, which no clock moves. It would keep all back for an
    // hour.
    await d.lasting(BREAKER_PAUSE_MAX_MS)
    // One after the other. Calls at one moment all meet the breaker, which the first one closes.
    await passTime(d, HEALS_WITHIN.limit - REST_WITHIN_MS - BREAKER_PAUSE_MAX_MS, ONE_BY_ONE_MS)
    await d.converged(REST_WITHIN_MS)
    const wellMs = clock.now() - healedAt
    const before = await fullReads(d)
    const dead = await deadCursors(d)
    await d.load(5, 4_000)
    const deadAt = clock.now()
    await passTime(d, MINUTE_MS, FIRST_STEPS_MS)
    await passTime(d, HEALS_WITHIN.limit - REST_WITHIN_MS - (clock.now() - deadAt))
    await d.converged(REST_WITHIN_MS)
    const readMs = clock.now() - deadAt
    const after = await fullReads(d)
    await dead.heal()
    return ({ holds }) => ({
      criteria: {
        'PLACE.1': allOf(
          holds('I1'),
          met(after.size === accounts.length, `${after.size} calendars read from the start`),
          HEALS_WITHIN.judge(readMs, `equal after ${minutes(readMs)} min`),
        ),
        'PLACE.2': allOf(
          met(before.size === 0, `${before.size} calendars read from the start after an hour of 503`),
          HEALS_WITHIN.judge(wellMs, `equal ${minutes(wellMs)} min after it`),
        ),
      },
      witnesses: [{ name: 'calendars with a dead place', need: CONNECTIONS, got: accounts.length }],
    })
  },
}

async function deadCursors(d: DrillRun) {
  const { accounts } = d.system
  await reconcileNow(d)
  return vendorFault(
    d,
    {
      fault: 'A21',
      action: 'a dead cursor',
      target: 'the last calendar of each',
      minHits: accounts.length,
    },
    ...sickOf(d).map((one, at) => ({
      match: { path: LISTING, ...one, hasSyncToken: true },
      onePlace: true,
      respond: { status: [503, 500, 403][at % 3] ?? 503 },
    })),
  )
}

/** Of each account the last calendar. */
function sickOf(d: DrillRun): readonly CalendarAtVendor[] {
  return d.system.accounts.map(({ accountId, calendars }) => ({
    accountId,
    calendarId: calendars.at(-1)?.id ?? '',
  }))
}

/** Calendars that were read from the start since their first read. */
async function fullReads(d: DrillRun): Promise<ReadonlySet<string>> {
  const rows = await d.system.ask<{ id: string }>(
    'select id::text as id from external_calendars where generation > 1',
  )
  return new Set(rows.map(({ id }) => id))
}

const PAGES_A_RUN = atMost(50)
const CALLS_AN_HOUR = atMost(10)
const ENDLESS_HOURS = 2
const ROUNDS = 8
/** A run interrupted by every ring of a sibling may take some minutes of the moved clock. */
const FIRST_TRIES_MS = 5 * MINUTE_MS
const FIRST_TRIES_MAX_MS = 30 * MINUTE_MS
/** Two thirds of the time after which a call that hangs is given up. */
const SIBLINGS_WITHIN = within(20_000)

const endless: Drill = {
  id: 'ENDLESS',
  title: 'Lists that never end: the same items or none, behind ever new tokens',
  report: 'vendors',
  criteria: {
    'ENDLESS.1': criterion`A run without end is broken off after ${PAGES_A_RUN} pages`,
    'ENDLESS.2': criterion`After its first tries such a calendar costs ${CALLS_AN_HOUR} calls in any hour`,
    'ENDLESS.3': criterion`It is told of as ill unless a plain listing of it ends, and no connection has an error of its own`,
    'ENDLESS.4': criterion`A change of a sibling is read ${SIBLINGS_WITHIN} all the time, also by a look at the whole account in which the ill calendar hangs`,
    'ENDLESS.5': criterion`Well again, each is read by itself ${HEALS_WITHIN}`,
  },
  faults: ['A22', 'A23', 'A3'],
  profiles: ['ci', 'full'],
  system: () => SYSTEM,
  invariants: [],
  without: MOVED,
  wallMs: 600_000,
  recoverWithinMs: 120_000,
  limits: 'A list that goes on with the same events under new ids is broken off only after 600 000 of them.',
  async run(d) {
    const { vendor, clock } = d.system
    const sick = sickOf(d)
    for (const one of sick) await vendor.admin('POST', '/admin/cursors/expire', one)
    const began = clock.now()
    const lists = await listsWithoutEnd(d, sick)
    await passFirstTries(d, sick)
    const tried = clock.now()
    const readMs: number[] = []
    for (let round = 0; round < ROUNDS; round += 1) {
      await passTime(d, (ENDLESS_HOURS * HOUR_MS) / ROUNDS, STEP_MS)
      readMs.push(await changesAreHeld(d, await changeSiblings(d)))
      await dueIsDone(d)
    }
    const ended = clock.now()
    const told = await toldOf(d, sick)
    await lists.heal()
    const listsWellMs = await wellAgain(d)
    const hungMs = await lookWhileHung(d, sick.slice(0, CONNECTIONS - MICROSOFT))
    const wellMs = Math.max(listsWellMs, await wellAgain(d))
    return ({ ledgers: { calls, audit }, holds }) => {
      // At no time: a well sibling clears the error of its connection a moment later.
      const blamed = audit.filter(
        ({ table, at, new: row }) =>
          table === 'external_calendar_connections' &&
          at > clock.machineTime(began) &&
          at < clock.machineTime(ended) &&
          (row?.['last_error'] ?? null) !== null,
      ).length
      const span = { from: began, to: ended, gapMs: FIRST_STEPS_MS / 10 }
      const longest = Math.max(...sick.map((one) => longestRun(calls, one, span)))
      const later = sick.map((one) => mostCallsInAnHour(calls, one, { from: tried, to: ended }))
      const slowest = Math.round(Math.max(...readMs))
      return {
        criteria: {
          'ENDLESS.1': allOf(
            PAGES_A_RUN.judge(longest, `at most ${longest} calls in a row`),
            met(longest > 1, 'more than one'),
          ),
          'ENDLESS.2': CALLS_AN_HOUR.judge(Math.max(...later), `${later.join(', ')} calls in an hour`),
          'ENDLESS.3': allOf(
            met(told.ill + told.plain === sick.length, `${told.ill} ill, ${told.plain} read plainly`),
            met(told.ill >= CONNECTIONS - MICROSOFT, `of ${sick.length}`),
            met(blamed === 0, `${blamed} rows of connections with an error`),
          ),
          'ENDLESS.4': allOf(
            SIBLINGS_WITHIN.judge(slowest, `all siblings read after ${slowest} ms at most`),
            SIBLINGS_WITHIN.judge(hungMs, `${Math.round(hungMs)} ms beside calls that hang`),
          ),
          'ENDLESS.5': allOf(holds('I1'), HEALS_WITHIN.judge(wellMs, `equal after ${minutes(wellMs)} min`)),
        },
        witnesses: [
          { name: 'calendars without end', need: CONNECTIONS, got: sick.length },
          { name: 'rounds of changes to all siblings', need: ROUNDS, got: readMs.length },
        ],
        numbers: {
          longestRun: longest,
          mostCallsAnHour: Math.max(...later),
          slowestSiblingMs: slowest,
          hungMs: Math.round(hungMs),
        },
      }
    }
  },
}

/** Until each has come to an end once. */
async function passFirstTries(d: DrillRun, sick: readonly CalendarAtVendor[]): Promise<void> {
  const latest = d.system.clock.now() + FIRST_TRIES_MAX_MS
  for (let left = sick.length; left > 0 && d.system.clock.now() < latest;) {
    await passTime(d, FIRST_TRIES_MS, FIRST_STEPS_MS)
    const { ill, plain } = await toldOf(d, sick)
    left = sick.length - ill - plain
  }
}

async function listsWithoutEnd(d: DrillRun, sick: readonly CalendarAtVendor[]) {
  await reconcileNow(d)
  return vendorFault(
    d,
    {
      fault: 'A22',
      action: 'a list without end',
      target: 'the last calendar of each',
      minHits: sick.length,
    },
    ...sick.map((one, at) => ({
      match: { path: LISTING, ...one },
      goesOn: (['repeating', 'empty'] as const)[at % 2] ?? 'repeating',
    })),
  )
}

/**
 * These calendars fail once, with a cursor, and then do not answer at all. Each account is looked
 * at as a whole, as when a person clears what it waits for; siblings have changes of which nothing
 * told. @returns how long it took until all were held, in ms.
 */
async function lookWhileHung(d: DrillRun, ill: readonly CalendarAtVendor[]): Promise<number> {
  const { vendor } = d.system
  const refused = await refuseOnce(d, ill)
  const ids: string[] = []
  let changes: Changes | null = null
  const hung = await d.inject({
    fault: 'A3',
    action: 'no answer at all',
    target: 'the last calendar of each account of Google',
    async inject() {
      for (const one of ill) ids.push(await vendor.fault({ match: { path: LISTING, ...one }, hang: true }))
      await refused.heal()
      await vendor.admin('POST', '/admin/notifications', { drop: 1 })
      changes = await changeSiblings(d)
      // A third try gives way to no sibling, and no ring tells of one: a calendar that is read
      // before its sibling keeps it waiting for a whole call. One statement, so that nothing rings
      // the ill ones alone.
      await d.system.ask(
        `with ill as (
           update external_calendars set backoff_until = null, failures = 2, updated_at = calstream_now()
            where failures > 0 returning connection_id)
         update external_calendar_connections set reconcile_at = calstream_now()
          where id in (select connection_id from ill)`,
      )
    },
    isActive: async () => (await Promise.all(ids.map((id) => vendor.hits(id)))).some((hits) => hits > 0),
    async heal() {
      for (const id of ids) await vendor.admin('DELETE', `/admin/faults/${id}`).catch(() => undefined)
      await vendor.admin('POST', '/admin/notifications', { drop: 0 })
    },
    isHealed: async () =>
      (await vendor.admin<{ faults: unknown[] }>('GET', '/admin/faults')).faults.length === 0,
  })
  const ms = changes === null ? Infinity : await changesAreHeld(d, changes)
  await hung.heal()
  return ms
}

/** @returns how long it took until all was held, in ms of the moved clock. */
async function wellAgain(d: DrillRun): Promise<number> {
  const healedAt = d.system.clock.now()
  await passTime(d, HEALS_WITHIN.limit - REST_WITHIN_MS)
  await d.converged(REST_WITHIN_MS)
  return d.system.clock.now() - healedAt
}

/** Each of these is refused from now on, has a change, and was ill once when this returns. */
async function refuseOnce(d: DrillRun, ill: readonly CalendarAtVendor[]) {
  const refused = await vendorFault(
    d,
    {
      fault: 'A23',
      action: '403',
      target: 'the last calendar of each account of Google',
      rings: () => newEvents(d, ill),
    },
    ...ill.map((one) => ({ match: { path: LISTING, ...one }, respond: { status: 403 } })),
  )
  await d.until('each of them failed', async () => (await toldOf(d, ill)).ill === ill.length, REST_WITHIN_MS)
  return refused
}

interface Changes {
  readonly madeAt: number
  /** Events of first calendars when all are held. */
  readonly wanted: number
}

/** One new event in the first calendar of each account. */
async function changeSiblings(d: DrillRun): Promise<Changes> {
  const { accounts } = d.system
  const wanted = (await heldBeside(d)) + accounts.length
  const madeAt = Date.now()
  await newEvents(
    d,
    accounts.map(({ accountId, calendars }) => ({ accountId, calendarId: calendars[0]?.id ?? '' })),
  )
  return { madeAt, wanted }
}

async function newEvents(d: DrillRun, calendars: readonly CalendarAtVendor[]): Promise<void> {
  const { vendor, clock } = d.system
  const time = (ms: number) => ({ dateTime: new Date(ms).toISOString(), timeZone: 'UTC' })
  // Whole minutes: Microsoft's keep no more.
  const start = Math.ceil(clock.now() / MINUTE_MS) * MINUTE_MS + 24 * HOUR_MS
  for (const { accountId, calendarId } of calendars)
    await vendor.admin(
      'POST',
      `/admin/accounts/${accountId}/calendars/${encodeURIComponent(calendarId)}/events`,
      { start: time(start), end: time(start + HOUR_MS) },
    )
}

/** @returns how long it took until all of them were held, in ms. */
async function changesAreHeld(d: DrillRun, { madeAt, wanted }: Changes): Promise<number> {
  await d.until(
    'a new event of every sibling is held',
    async () => (await heldBeside(d)) >= wanted,
    2 * SIBLINGS_WITHIN.limit,
  )
  return Date.now() - madeAt
}

/** Events of first calendars. */
async function heldBeside(d: DrillRun): Promise<number> {
  const [row] = await d.system.ask<{ n: number }>(
    `select count(*)::int as n from external_calendar_events event
       join external_calendars calendar on calendar.id = event.calendar_id
      where calendar.vendor_calendar_id = any($1)`,
    [d.system.accounts.map(({ calendars }) => calendars[0]?.id ?? '')],
  )
  return row?.n ?? 0
}

async function toldOf(d: DrillRun, sick: readonly CalendarAtVendor[]) {
  const [row] = await d.system.ask<{ ill: number; plain: number }>(
    `select count(*) filter (where failures > 0 and last_error is not null)::int as ill,
            count(*) filter (where failures = 0 and reading = 'plain')::int as plain
       from external_calendars where vendor_calendar_id = any($1)`,
    [sick.map(({ calendarId }) => calendarId)],
  )
  return { ill: row?.ill ?? 0, plain: row?.plain ?? 0 }
}

export const PLACES: readonly Drill[] = [place, endless]
