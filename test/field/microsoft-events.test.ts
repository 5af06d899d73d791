// What Graph says of events, as people who run calendar sync reported it: whatever it sends, busy time is right.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { MINUTE, openProduct, type Case, type Product } from './product.ts'
import { graphTime } from './vendors/events.ts'
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
