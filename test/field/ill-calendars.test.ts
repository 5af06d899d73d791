// One calendar of an account is ill for hours, in the ways that people who run calendar sync reported: its siblings are
// as fresh as ever, it is tried rarely, and it heals by itself.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { HOUR, MINUTE, openProduct, type Product } from './product.ts'
import { googleError } from './vendors/google.ts'
import type { Answer } from './vendors/server.ts'

/** Calls that an ill calendar may cost in any hour. */
const ILL_CALLS_AN_HOUR = 10
const LIMIT_MS = 300_000

let product: Product

beforeAll(async () => {
  product = await openProduct('field_ill_calendars')
})

afterAll(async () => {
  await product?.[Symbol.asyncDispose]()
})

/** What one calendar answers, for as long as the case wants; undefined is what it answers when it is well. */
const OF_GOOGLE: Readonly<Record<string, Answer>> = {
  'does not exist although it is listed': () => googleError(404, 'notFound', 'Not Found'),
  'is refused': () => googleError(403, 'forbidden', 'Forbidden'),
  'is refused from its second page on': ({ query }) =>
    query.has('pageToken') ? googleError(403, 'forbidden', 'Forbidden') : undefined,
  'answers 500': () => googleError(500, 'backendError', 'Backend Error'),
  'answers 503 to its second page': ({ query }) =>
    query.has('pageToken') ? { status: 503, body: '<h1>503</h1>' } : undefined,
  'answers with what is no JSON': () => ({ body: '<html>Sorry</html>' }),
  'answers 400 in words that nobody knows': () =>
    googleError(400, 'failedPrecondition', 'Precondition check failed.'),
}

/** The most calls within an hour, wherever that begins. */
function mostInAnHour(calls: readonly { readonly at: number }[]): number {
  return Math.max(
    0,
    ...calls.map(({ at: from }) => calls.filter(({ at }) => at >= from && at < from + HOUR).length),
  )
}

test(
  `at Google, with at most ${ILL_CALLS_AN_HOUR} calls an hour`,
  async () => {
    await using story = await product.begin()
    const { make } = story
    const patients = Object.entries(OF_GOOGLE).map(([illness, answer], i) => {
      const account = product.google.account(`ill-${i}`)
      const at = 1 + i * 2
      const own = account
        .calendar(`ill-${i}@example.com`, { primary: true })
        .holds(make.google('first', 1, at))
      const side = account.calendar(`side-${i}@group.calendar.google.com`)
      const sick = account.calendar(`sick-${i}@group.calendar.google.com`)
      sick.holds(make.google('a', 20, at), make.google('b', 21, at))
      sick.pageSize = 1
      const heal = story.when(account, (asked) => (asked.path.includes('/sick-') ? answer(asked) : undefined))
      return { illness, account, own, side, sick, heal, at }
    })
    const onDay = (day: number) => patients.map(({ at }) => make.hour(day, at))
    for (const { account } of patients) await story.connect(account)
    await story.busyBecomes(onDay(1), 0, 2)
    const began = product.days.now()
    for (let hour = 1; hour <= 3; hour += 1) {
      await product.pass(HOUR)
      for (const { side, at } of patients) {
        side.changes(make.google(`news-${hour}`, 2 + hour, at))
        await story.ring(side)
      }
      // No time passes between the notifications and this.
      await story.busyBecomes(onDay(2 + hour), 2 + hour, 3 + hour)
    }
    const { calendars } = await story.busyAnswer()
    const stale = calendars.filter((one) => one.stale).map(({ name }) => name)
    expect(new Set(stale)).toEqual(new Set(patients.map(({ sick }) => sick.id)))
    for (const { illness, account } of patients) {
      const calls = product.google.calls(account, '/sick-', began)
      const most = mostInAnHour(calls)
      expect(calls.length, `calls to a calendar that ${illness}`).toBeGreaterThan(0)
      expect(most, `calls in an hour to a calendar that ${illness}`).toBeLessThanOrEqual(ILL_CALLS_AN_HOUR)
    }
    expect((await story.connections()).map(({ status }) => status)).toEqual(patients.map(() => 'active'))
    for (const { heal } of patients) heal()
    await product.pass(75 * MINUTE)
    await story.busyBecomes([...onDay(20), ...onDay(21)], 20, 22)
    const late = (await story.busyAnswer()).calendars.filter((one) => one.stale)
    expect(late.map(({ name, stale_because }) => [name, stale_because])).toEqual([])
  },
  LIMIT_MS,
)
