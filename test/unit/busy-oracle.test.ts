// Busy equals what the vendors answer themselves, over every claim that an event can make on a
// person's time, in zones whose clocks change. `npm run oracle` compares 100 000 events; this run a
// part of them, from another seed each time.
import { randomInt } from 'node:crypto'
import { expect, test } from 'vitest'
import type { BusySpan } from '#shared/store/busy.ts'
import { oracleCalendar, ORACLE_ZONES, ourBusy, theirBusy } from '../support/busy-oracle.ts'

const EVENTS = Number(process.env['ORACLE_EVENTS'] ?? 6000)
const SEED = process.env['TEST_SEED'] ?? String(randomInt(2 ** 31))
/** Sparse enough that one wrong event shows: most of its hours are nobody else's. */
const PER_CALENDAR = 25
/** 100 000 events on a machine that is busy with other things. */
const TIMEOUT_MS = 600_000

const told = (spans: readonly BusySpan[]) =>
  spans.map(({ start, end }) => [start, end].map((at) => new Date(at / 1000).toISOString()).join(' '))

test(
  'busy is what freeBusy and getSchedule answer, for every answer, kind, show-as, zone and role',
  { timeout: TIMEOUT_MS },
  async () => {
    const seen = new Map<string, number>()
    let [compared, calendars, objections] = [0, 0, 0]
    const differences: object[] = []
    while (compared < EVENTS) {
      const played = oracleCalendar(SEED, calendars, PER_CALENDAR)
      const theirs = told(theirBusy(played))
      const { busy, events } = await ourBusy(played)
      calendars += 1
      compared += events.length
      const { vendor, tellsZone, calendar } = played
      if (JSON.stringify(told(busy)) !== JSON.stringify(theirs))
        differences.push({
          index: calendars - 1,
          vendor,
          tellsZone,
          zone: calendar.timeZone,
          ours: told(busy),
          theirs,
        })
      for (const { response, kind, showAs, allDay } of events)
        for (const one of [
          `${vendor} ${response}`,
          `${vendor} ${kind}`,
          `${vendor} ${showAs}`,
          `${vendor} ${allDay}`,
        ])
          seen.set(one, (seen.get(one) ?? 0) + 1)
      for (const one of [calendar.timeZone, `${vendor} ${calendar.accessRole}`, `tells ${tellsZone}`])
        seen.set(one, (seen.get(one) ?? 0) + 1)
      // The control: one event more or less is an objection, unless others cover it.
      const [first] = played.calendar.docs.values()
      const without = { ...played, calendar: { ...played.calendar, docs: new Map(played.calendar.docs) } }
      without.calendar.docs.delete(first!.id)
      const ids = played.calendar.alive.ids.filter((id) => id !== first!.id)
      without.calendar = { ...without.calendar, alive: { ...played.calendar.alive, ids } }
      if (JSON.stringify(told((await ourBusy(without)).busy)) !== JSON.stringify(theirs)) objections += 1
    }
    process.stderr.write(
      `busy oracle: seed ${SEED}, ${compared} events in ${calendars} calendars, ${differences.length} differences, ${objections} objections to a missing event\n`,
    )
    expect(differences.slice(0, 3)).toEqual([])
    expect(objections).toBeGreaterThan(calendars / 20)
    for (const zone of ORACLE_ZONES) expect(seen.get(zone), zone).toBeGreaterThan(0)
    for (const response of ['none', 'organizer', 'accepted', 'tentative', 'declined', 'needs_action'])
      for (const vendor of ['google', 'microsoft'])
        expect(seen.get(`${vendor} ${response}`), response).toBeGreaterThan(0)
    for (const kind of [
      'default',
      'out_of_office',
      'focus_time',
      'working_location',
      'birthday',
      'from_gmail',
    ])
      expect(seen.get(`google ${kind}`), kind).toBeGreaterThan(0)
    for (const showAs of ['free', 'tentative', 'busy', 'out_of_office', 'working_elsewhere', 'unknown'])
      expect(seen.get(`microsoft ${showAs}`), showAs).toBeGreaterThan(0)
  },
)
