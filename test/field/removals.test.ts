// What looks like a removal and is none, as people who run calendar sync reported it: nothing is
// removed on one look, and until it is clear what happened, busy times are right or say that
// they may be out of date.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { wordsOn } from '../../infra/demo/browser.ts'
import { HOUR, MINUTE, openProduct, type Case, type Product } from './product.ts'
import type { GoogleAccount } from './vendors/google.ts'

let product: Product

beforeAll(async () => {
  product = await openProduct('field_removals')
})

afterAll(async () => {
  await product?.[Symbol.asyncDispose]()
})

/** Lets hours pass and collects answers in which meetings are missing without a word. */
async function lostWithin(story: Case, ms: number, expected: readonly string[]): Promise<readonly string[]> {
  const lost: string[] = []
  await product.pass(ms, {
    stepMs: 10 * MINUTE,
    after: async () => {
      const { busy, stale } = await story.busyAnswer()
      const seen = busy.map((span) => story.make.told(span))
      if (!stale && expected.some((one) => !seen.includes(one))) lost.push(JSON.stringify(seen))
    },
  })
  return lost
}

/** Ana, her own calendar and a side calendar, connected and read. */
async function withSide(story: Case, name: string): Promise<{ account: GoogleAccount; id: string }> {
  const account = product.google.account(name)
  account.calendar(`${name}@example.com`, { primary: true }).holds(story.make.google('mine', 1, 9))
  account.calendar(`${name}-side@group.calendar.google.com`).holds(story.make.google('side', 2, 13))
  return { account, id: await story.connected(account) }
}

const BOTH = ['+1 09:00-10:00', '+2 13:00-14:00']

test('a person hides a calendar of their own in the list: its meetings still block', async () => {
  await using story = await product.begin()
  const { account } = await withSide(story, 'hides')
  Object.assign(account.calendars[1]!.entry, { hidden: true, selected: false })
  expect(await lostWithin(story, 4 * HOUR, BOTH)).toEqual([])
  await story.busyBecomes(BOTH)
})

test('one listing leaves a calendar out, and the calendar answers 404 meanwhile: nothing is removed', async () => {
  await using story = await product.begin()
  const { account } = await withSide(story, 'left-out')
  const [side] = account.calendars.splice(1, 1)
  const lists = product.google.calls(account, '/users/me/calendarList').length
  story.when(account, ({ path }) => {
    // The list that lacks it was the last request of its kind before this one.
    const isBack = product.google.calls(account, '/users/me/calendarList').length > lists + 1
    if (isBack && account.calendars.length === 1 && path.endsWith('/calendarList'))
      account.calendars.push(side!)
    return undefined
  })
  expect(await lostWithin(story, 4 * HOUR, BOTH)).toEqual([])
  expect(account.calendars).toHaveLength(2)
  await story.busyBecomes(BOTH)
})

test('a calendar that is deleted for good is gone within hours', async () => {
  await using story = await product.begin()
  const { account } = await withSide(story, 'deletes')
  account.calendars.splice(1, 1)
  await product.pass(5 * HOUR, { stepMs: 10 * MINUTE })
  await story.busyBecomes(BOTH.slice(0, 1))
})

test.each([
  ['the old address stays an alias', true],
  ['the old address is unknown', false],
])('a person changes their address (%s): one connection, the same events', async (_what, isAlias) => {
  await using story = await product.begin()
  const name = isAlias ? 'renamed' : 'renamed-hard'
  const account = product.google.account(name)
  const own = account
    .calendar(`old.${name}@example.com`, { primary: true })
    .holds(story.make.google('m1', 1, 9), story.make.google('m2', 2, 9))
  const id = await story.connected(account)
  const ids = () =>
    product.days.query('select event_id from external_calendar_events where connection_id = $1 order by 1', [
      id,
    ])
  const before = await ids()
  expect(before).toHaveLength(2)
  if (isAlias) own.aliases.add(own.id)
  Object.assign(own.entry, { id: `new.${name}@example.com`, summary: `new.${name}@example.com` })
  expect(await lostWithin(story, 4 * HOUR, ['+1 09:00-10:00', '+2 09:00-10:00'])).toEqual([])
  expect(await ids()).toEqual(before)
  // Later the person connects again.
  const page = await story.consent(account, { reconnects: id })
  expect(page.status, wordsOn(page)).toBe(200)
  expect(await story.connections()).toHaveLength(1)
  own.changes(story.make.google('m3', 3, 9))
  await product.work()
  await product.pass(20 * MINUTE)
  await story.busyBecomes(['+1 09:00-10:00', '+2 09:00-10:00', '+3 09:00-10:00'])
  expect(await ids()).toEqual(expect.arrayContaining(before))
})

test('the id of the default calendar changes: its events stay where they are', async () => {
  await using story = await product.begin()
  const { make } = story
  const account = product.microsoft.account('new-id')
  const own = account.calendar('AAMkOWN-1=', { isDefaultCalendar: true }).holds(make.graph('board', 1, 9))
  account.calendar('AAMkKIDS=').holds(make.graph('school', 1, 12))
  const connection = await story.connected(account)
  const ids = () =>
    product.days.query('select event_id from external_calendar_events where connection_id = $1 order by 1', [
      connection,
    ])
  const before = await ids()
  expect(before).toHaveLength(2)
  own.entry['id'] = 'AAMkOWN-2='
  const lost: string[] = []
  await product.pass(3 * HOUR, {
    stepMs: 10 * MINUTE,
    after: async () => {
      const { busy, stale } = await story.busyAnswer()
      if (busy.length < 2 && !stale) lost.push(JSON.stringify(busy))
    },
  })
  expect(lost).toEqual([])
  own.changes(make.graph('new', 2, 9))
  await story.ringGraph(account, own)
  // No time passes: it is the calendar under its new id that rings.
  await story.busyBecomes(['+1 09:00-10:00', '+1 12:00-13:00', '+2 09:00-10:00'])
  expect(await ids()).toEqual(expect.arrayContaining(before))
})

/** Waits until the product knows that a meeting left its calendar, then lets hours pass. */
async function lostAfterMove(story: Case, connection: string, id: string): Promise<readonly string[]> {
  const lost: string[] = []
  await story.until('the move is known', async () => {
    const { busy, stale } = await story.busyAnswer()
    if (busy.length < 1 && !stale) lost.push('at once')
    const rows = await product.days.query<{ calendar: string }>(
      `select k.vendor_calendar_id as calendar from external_calendar_events e
         join external_calendars k on k.id = e.calendar_id where e.connection_id = $1 and e.vendor_event_id = $2`,
      [connection, id],
    )
    return rows.every(({ calendar }) => !calendar.includes('-own'))
  })
  return [...lost, ...(await lostWithin(story, 3 * HOUR, ['+1 09:00-10:00']))]
}

test('a meeting is moved to another calendar, whose notification is lost: its time is not told as free', async () => {
  await using story = await product.begin()
  const account = product.google.account('moves')
  const meeting = story.make.google('meeting', 1, 9)
  const own = account.calendar('moves-own@example.com', { primary: true }).holds(meeting)
  const side = account.calendar('moves-side@group.calendar.google.com')
  const id = await story.connected(account)
  own.loses('meeting').tells({ ...meeting, status: 'cancelled' })
  side.changes(meeting)
  await story.ring(own)
  expect(await lostAfterMove(story, id, 'meeting')).toEqual([])
})

test.each([
  ['tells of it when it is asked', true, 'meeting'],
  ['tells of it when it is asked, under a new id', true, 'meeting-2'],
  ['tells nothing of it', false, 'meeting'],
])('the same at Graph, where the other calendar %s', async (what, isTold, newId) => {
  await using story = await product.begin()
  const name = `moves-${what.length}`
  const account = product.microsoft.account(name)
  const own = account.calendar(`${name}-own`, { isDefaultCalendar: true })
  own.holds(story.make.graph('meeting', 1, 9))
  const side = account.calendar(`${name}-side`)
  const id = await story.connected(account)
  own.loses('meeting').tells({ id: 'meeting', '@removed': { reason: 'deleted' } })
  side.holds(story.make.graph(newId, 1, 9))
  if (isTold) side.tells(story.make.graph(newId, 1, 9))
  await story.ringGraph(account, own)
  expect(await lostAfterMove(story, id, 'meeting')).toEqual([])
})
