// What Graph says of events, as people who run calendar sync reported it:
// whatever it sends, busy time is right.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { MINUTE, openProduct, type Case, type Product } from './product.ts'
import { graphTime } from './vendors/events.ts'
import { graphError } from './vendors/microsoft.ts'
import type { Item } from './vendors/google.ts'

let product: Product

beforeAll(async () => {
  product = await openProduct('field_microsoft_events')
})

afterAll(async () => {
  await product?.[Symbol.asyncDispose]()
})

/** Bo, the default calendar with these events, connected and read. */
async function bo(story: Case, name: string, ...items: readonly Item[]) {
  const account = product.microsoft.account(name)
  const own = account.calendar(`own-${name}`, { isDefaultCalendar: true }).holds(...items)
  const connection = await story.connected(account)
  return { account, own, connection }
}

test('what blocks is what the mailbox shows as busy, and a time that nobody can mean costs nobody else their page', async () => {
  await using story = await product.begin()
  const { make } = story
  const nowhere = graphTime(Date.UTC(1601, 0, 1))
  await bo(
    story,
    'shapes',
    make.graph('busy', 1, 9),
    make.graph('tentative', 2, 9, { showAs: 'tentative' }),
    make.graph('away', 3, 9, { showAs: 'oof' }),
    make.graph('free', 4, 9, { showAs: 'free' }),
    make.graph('declined', 5, 9, { showAs: 'free', responseStatus: { response: 'declined' } }),
    make.graph('cancelled', 6, 9, { showAs: 'free', isCancelled: true, subject: 'Canceled: x' }),
    make.graph('deleted-in-2016', 7, 9, { start: nowhere, end: nowhere }),
    make.graph('private', 8, 9, { sensitivity: 'private' }),
    make.graph('for-ever', 50, 9, { end: graphTime(Date.UTC(4501, 0, 1)) }),
  )
  const busy = await story.busy(0, 49)
  expect(busy).toEqual(['+1 09:00-10:00', '+2 09:00-10:00', '+3 09:00-10:00', '+8 09:00-10:00'])
  const { stale } = await story.busyAnswer(0, 49)
  expect(stale).toBe(false)
})

test('an event that is moved away and back is told as removed and stands there: it stays, and nobody waits for it', async () => {
  await using story = await product.begin()
  const { make } = story
  const account = product.microsoft.account('there-and-back')
  const own = account.calendar('own-back', { isDefaultCalendar: true }).holds(make.graph('lunch', 1, 12))
  const side = account.calendar('side-back')
  await story.connected(account)
  own.tells({ id: 'lunch', '@removed': { reason: 'deleted' } })
  await story.ringGraph(account, own)
  side.changes(make.graph('meanwhile', 2, 9))
  await story.ringGraph(account, side)
  await product.pass(6 * MINUTE, { stepMs: MINUTE / 2 })
  await story.busyBecomes(['+1 12:00-13:00', '+2 09:00-10:00'])
  const { stale } = await story.busyAnswer()
  expect(stale).toBe(false)
})

test('an event that is told as removed and is nowhere is gone', async () => {
  await using story = await product.begin()
  const { make } = story
  const { account, own } = await bo(story, 'gone', make.graph('lunch', 1, 12), make.graph('dinner', 1, 19))
  own.loses('lunch').tells({ id: 'lunch', '@removed': { reason: 'deleted' } })
  await story.ringGraph(account, own)
  await story.busyBecomes(['+1 19:00-20:00'])
})

test('while a removal is doubted, other calendars of the account do not wait', async () => {
  await using story = await product.begin()
  const { make } = story
  const account = product.microsoft.account('doubted')
  const own = account.calendar('own-doubted', { isDefaultCalendar: true }).holds(make.graph('lunch', 1, 12))
  const side = account.calendar('side-doubted')
  await story.connected(account)
  own.tells({ id: 'lunch', '@removed': { reason: 'deleted' } })
  await story.ringGraph(account, own)
  await product.work()
  side.changes(make.graph('meanwhile', 2, 9))
  await story.ringGraph(account, side)
  // No time has passed.
  await story.busyBecomes(['+1 12:00-13:00', '+2 09:00-10:00'])
})

test('a whole day lies in the zone of the mailbox, whatever zone it is told with', async () => {
  await using story = await product.begin()
  const { make } = story
  // Phoenix has no summer time: its midnight is 07:00 in UTC all the year.
  const told: Record<string, Item> = {
    plain: make.graphDay('plain', 3, 'US Mountain Standard Time'),
    utc: make.graphDay('utc', 5, 'UTC', { originalStart: new Date(make.at(5, 7)).toISOString() }),
    custom: make.graphDay('custom', 7, 'tzone://Microsoft/Custom'),
    customized: make.graphDay('customized', 9, 'Customized Time Zone'),
    display: make.graphDay('display', 11, 'Coordinated Universal Time'),
    unmapped: make.graphDay('unmapped', 13, 'Mid-Atlantic Standard Time'),
  }
  const account = product.microsoft.account('phoenix')
  account.mailboxSettings = { timeZone: 'US Mountain Standard Time' }
  account.calendar('own-phoenix', { isDefaultCalendar: true }).holds(...Object.values(told))
  await story.connected(account)
  expect(await story.busy()).toEqual([3, 5, 7, 9, 11, 13].map((day) => `+${day} 07:00-07:00`))
  expect((await story.busyAnswer()).stale).toBe(false)
})

test('where the settings of a mailbox are not to be had, the offset of an occurrence says where its day begins', async () => {
  await using story = await product.begin()
  const { make } = story
  const account = product.microsoft.account('no-settings')
  const occurrence = {
    type: 'occurrence',
    seriesMasterId: 'm',
    originalStart: new Date(make.at(3, 10)).toISOString(),
  }
  const day = make.graphDay('offsite', 3, 'UTC', occurrence)
  // A midnight that was moved to UTC, in a zone without a name:
  // 22:00 of the day before is the midnight of UTC+2.
  const moved = make.graphDay('moved', 9, 'tzone://Microsoft/Custom', {
    start: graphTime(make.at(8, 22)),
    end: graphTime(make.at(9, 22)),
  })
  account.calendar('own-no-settings', { isDefaultCalendar: true }).holds(day, moved)
  story.when(account, ({ path }) =>
    path.includes('mailboxSettings') ? graphError(403, 'ErrorAccessDenied') : undefined,
  )
  await story.connected(account)
  expect(await story.busy()).toEqual(['+3 10:00-10:00', '+8 22:00-22:00'])
  expect((await story.busyAnswer()).stale).toBe(false)
})
