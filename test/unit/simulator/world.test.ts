// The world: canaries that mark every version, increments that say everything that changed, a
// journal that brings it all back.
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createAccount } from '../../../infra/simulator/control/accounts.ts'
import { createLedger } from '../../../infra/simulator/control/ledger.ts'
import { listAll, listChanges } from '../../../infra/simulator/google/list-items.ts'
import { createRandom } from '../../../infra/simulator/random.ts'
import type { Calendar } from '../../../infra/simulator/world/calendar.ts'
import { contentHash, parseCanary } from '../../../infra/simulator/world/canary.ts'
import { deleteEvent, findEvent, insertEvent, replaceEvent } from '../../../infra/simulator/world/edit.ts'
import { changeSomething } from '../../../infra/simulator/world/generate.ts'
import { openJournal, snapshot } from '../../../infra/simulator/world/journal.ts'
import { World } from '../../../infra/simulator/world/world.ts'

const IDENTITY = { clientId: 'id', clientSecret: 'secret' }
const SINGLE = { singleEvents: true, showDeleted: false, timeMin: null, timeMax: null }
const TIMES = { start: { dateTime: '2026-12-01T10:00:00Z' }, end: { dateTime: '2026-12-01T11:00:00Z' } }

function newWorld(): World {
  return new World({
    seed: 'unit',
    identities: { google: IDENTITY, microsoft: IDENTITY },
    now: () => Date.UTC(2026, 10, 21),
  })
}

function oneCalendar(events = 0): { world: World; calendar: Calendar } {
  const world = newWorld()
  const account = createAccount(world, 'unit', {
    eventsPerCalendar: events,
    calendars: [{ timeZone: 'UTC' }],
  })
  return { world, calendar: [...account.calendars.values()][0] as Calendar }
}

function live(calendar: Calendar): Map<string, string> {
  return new Map(listAll(calendar, SINGLE).map((item) => [item.id, JSON.stringify(item.render())]))
}

/** What a reader holds who applies increments to what it held. */
function fold(held: Map<string, string>, calendar: Calendar, since: number): void {
  for (const item of listChanges(calendar, SINGLE, { since })) {
    const event = item.render()
    if (event['status'] === 'cancelled') held.delete(item.id)
    else held.set(item.id, JSON.stringify(event))
  }
}

describe('canaries', () => {
  it('name account, event, version and the hash of the content', () => {
    const { world, calendar } = oneCalendar()
    const change = insertEvent(world, calendar, TIMES)
    const fields = calendar.docs.get(change.eventId)?.fields ?? {}
    expect(parseCanary(fields['summary'])).toEqual({
      accountId: 'c1',
      eventNo: 1,
      version: 1,
      hash: contentHash(fields),
    })
  })

  it('change with every version, and with the content only', () => {
    const { world, calendar } = oneCalendar()
    const { eventId } = insertEvent(world, calendar, TIMES)
    const target = findEvent(calendar, eventId)
    if (!target) throw new Error('the event is missing')
    const before = calendar.docs.get(eventId)?.fields ?? {}
    replaceEvent(world, calendar, target, { ...before, location: 'elsewhere' })
    const after = calendar.docs.get(eventId)?.fields ?? {}
    expect(parseCanary(after['summary'])).toMatchObject({ version: 2, hash: contentHash(after) })
    expect(contentHash(after)).not.toBe(contentHash(before))
    expect(contentHash({ ...after, summary: 'x' })).toBe(contentHash(after))
  })

  it('leave a summary alone that somebody wrote', () => {
    const { world, calendar } = oneCalendar()
    const { eventId } = insertEvent(world, calendar, { ...TIMES, summary: 'Lunch' })
    expect(calendar.docs.get(eventId)?.fields['summary']).toBe('Lunch')
  })
})

describe('increments', () => {
  it.each(['a', 'b', 'c', 'd'])('fold to the full listing after random changes (seed %s)', (seed) => {
    const { world, calendar } = oneCalendar(60)
    const random = createRandom(seed)
    const held = live(calendar)
    for (let round = 0; round < 40; round += 1) {
      const since = world.seq
      for (let change = 0; change < 1 + random.below(12); change += 1) {
        changeSomething(world, calendar, random, { create: 1, update: 3, delete: 1 })
      }
      fold(held, calendar, since)
      expect(held).toEqual(live(calendar))
    }
  })

  it('contain nothing when nothing changed', () => {
    const { world, calendar } = oneCalendar(10)
    expect(listChanges(calendar, SINGLE, { since: world.seq })).toEqual([])
  })

  it('end the occurrences of a series that was moved, and show the new ones', () => {
    const { world, calendar } = oneCalendar()
    const { eventId } = insertEvent(world, calendar, { ...TIMES, recurrence: ['RRULE:FREQ=DAILY;COUNT=2'] })
    const held = live(calendar)
    expect([...held.keys()]).toEqual([`${eventId}_20261201T100000Z`, `${eventId}_20261202T100000Z`])
    const since = world.seq
    const target = findEvent(calendar, eventId)
    if (!target) throw new Error('the series is missing')
    const later = { start: { dateTime: '2026-12-01T12:00:00Z' }, end: { dateTime: '2026-12-01T13:00:00Z' } }
    replaceEvent(world, calendar, target, { ...later, recurrence: ['RRULE:FREQ=DAILY;COUNT=2'] })
    fold(held, calendar, since)
    expect([...held.keys()]).toEqual([`${eventId}_20261201T120000Z`, `${eventId}_20261202T120000Z`])
  })

  it('end the exceptions of a series that was moved', () => {
    const { world, calendar } = oneCalendar()
    const series = { ...TIMES, recurrence: ['RRULE:FREQ=DAILY;COUNT=2'] }
    const { eventId } = insertEvent(world, calendar, series)
    const exception = findEvent(calendar, `${eventId}_20261202T100000Z`)
    const master = findEvent(calendar, eventId)
    if (!exception || !master) throw new Error('the series is missing')
    replaceEvent(world, calendar, exception, { ...TIMES, location: 'elsewhere' })
    const held = live(calendar)
    expect(held.get(`${eventId}_20261202T100000Z`)).toContain('elsewhere')
    const since = world.seq
    const later = { start: { dateTime: '2026-12-01T12:00:00Z' }, end: { dateTime: '2026-12-01T13:00:00Z' } }
    replaceEvent(world, calendar, master, { ...series, ...later })
    fold(held, calendar, since)
    expect([...held.keys()]).toEqual([`${eventId}_20261201T120000Z`, `${eventId}_20261202T120000Z`])
    expect(held).toEqual(live(calendar))
  })

  it('say nothing of the bare id when a single event becomes a series, as Google does not', () => {
    const { world, calendar } = oneCalendar()
    const { eventId } = insertEvent(world, calendar, TIMES)
    const since = world.seq
    const target = findEvent(calendar, eventId)
    if (!target) throw new Error('the event is missing')
    replaceEvent(world, calendar, target, { ...TIMES, recurrence: ['RRULE:FREQ=DAILY;COUNT=2'] })
    const ids = listChanges(calendar, SINGLE, { since }).map((item) => item.id)
    expect(ids).toEqual([`${eventId}_20261201T100000Z`, `${eventId}_20261202T100000Z`])
  })

  it('give a cancelled occurrence as a tombstone that names its series', () => {
    const { world, calendar } = oneCalendar()
    const { eventId } = insertEvent(world, calendar, { ...TIMES, recurrence: ['RRULE:FREQ=DAILY;COUNT=3'] })
    const since = world.seq
    const target = findEvent(calendar, `${eventId}_20261202T100000Z`)
    if (!target) throw new Error('the occurrence is missing')
    const change = deleteEvent(world, calendar, target)
    expect(change).toMatchObject({
      kind: 'delete',
      version: 2,
      removedEventIds: [`${eventId}_20261202T100000Z`],
    })
    expect(listChanges(calendar, SINGLE, { since }).map((item) => item.render())).toMatchObject([
      {
        status: 'cancelled',
        recurringEventId: eventId,
        originalStartTime: { dateTime: '2026-12-02T10:00:00Z' },
      },
    ])
    expect(live(calendar).size).toBe(2)
  })
})

describe('the journal', () => {
  function folder(): string {
    const made = mkdtempSync(path.join(tmpdir(), 'calstream-journal-'))
    onTestFinished(() => rmSync(made, { recursive: true, force: true }))
    return made
  }

  it('brings back the same world, twice in a row', () => {
    const dir = folder()
    const first = newWorld()
    const journal = openJournal(dir, first)
    const account = createAccount(first, 'unit', { eventsPerCalendar: 40, calendars: 2 })
    const random = createRandom('journal')
    const [calendar, second] = [...account.calendars.values()] as [Calendar, Calendar]
    for (let change = 0; change < 200; change += 1) {
      changeSomething(first, calendar, random, { create: 1, update: 2, delete: 2 })
    }
    first.expireCursors(calendar)
    first.removeCalendar(second)
    for (const id of ['open', 'stopped']) {
      const resource = {
        resourceId: 'r',
        resourceUri: 'http://r',
        address: 'http://127.0.0.1:1',
        token: null,
      }
      first.addChannel({ id, accountId: 'c1', calendarId: calendar.id, ...resource, expiresAt: 1 })
    }
    first.stopChannel('stopped')
    journal[Symbol.dispose]()
    for (let start = 0; start < 2; start += 1) {
      const again = newWorld()
      openJournal(dir, again)[Symbol.dispose]()
      expect(again.seq).toBe(first.seq)
      expect([...again.channels.keys()]).toEqual(['open'])
      expect([...again.usedChannelIds].toSorted()).toEqual(['open', 'stopped'])
      const restored = again.calendar('c1', calendar.id) as Calendar
      expect(live(restored)).toEqual(live(calendar))
      expect([...snapshot(again)].map((entry) => JSON.stringify(entry)).toSorted()).toEqual(
        [...snapshot(first)].map((entry) => JSON.stringify(entry)).toSorted(),
      )
    }
  })

  it('drops a torn last line, and refuses a broken one in the middle', () => {
    const dir = folder()
    const file = path.join(dir, 'simulator-world.ndjson')
    const first = newWorld()
    const journal = openJournal(dir, first)
    createAccount(first, 'unit', { eventsPerCalendar: 3 })
    journal[Symbol.dispose]()
    appendFileSync(file, '{"k":"write","a":"c1"')
    const again = newWorld()
    openJournal(dir, again)[Symbol.dispose]()
    expect(again.seq).toBe(first.seq)
    appendFileSync(file, 'rubbish\n{"k":"meta","seq":1,"accounts":1}\n')
    expect(() => openJournal(dir, newWorld())).toThrow(/cannot be read/)
  })
})

describe('a ledger', () => {
  it('drops the oldest beyond its cap and counts them', () => {
    const ledger = createLedger<{ seq: number }>(3)
    for (let seq = 1; seq <= 5000; seq += 1) ledger.append({ seq })
    expect(ledger.after(0).map(({ seq }) => seq)).toEqual([4998, 4999, 5000])
    expect(ledger.dropped).toBe(4997)
    expect(ledger.after(4999)).toHaveLength(1)
  })

  it('weighs entries when told to', () => {
    const ledger = createLedger<{ seq: number; size: number }>(10, ({ size }) => size)
    for (const [index, size] of [4, 4, 4].entries()) ledger.append({ seq: index + 1, size })
    expect(ledger.after(0).map(({ seq }) => seq)).toEqual([2, 3])
  })
})
