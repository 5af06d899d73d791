// Subscriptions and channels that a vendor refuses, forgets or keeps silent, as people
// who run calendar sync reported it: changes arrive within minutes, and few calls are
// spent on what is not to be had.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { DAY, HOUR, MINUTE, openProduct, type Product } from './product.ts'
import { graphError } from './vendors/microsoft.ts'
import type { Told } from './vendors/server.ts'

/** Reads that find changes of which nothing told: so many make a channel a silent one. */
const SILENT_FINDS = 3

let product: Product

beforeAll(async () => {
  product = await openProduct('field_subscriptions')
})

afterAll(async () => {
  await product?.[Symbol.asyncDispose]()
})

test.each<[string, Told]>([
  [
    '404 in words of another system',
    graphError(
      404,
      'ExtensionError',
      'Operation: Create; Exception: [Status Code: NotFound; Reason: REST API is not yet supported for this mailbox.]',
    ),
  ],
  [
    '403 in words of another system',
    graphError(
      403,
      'ExtensionError',
      'Operation: Create; Exception: [Status Code: Forbidden; Reason: Forbidden]',
    ),
  ],
  [
    'a limit of subscriptions',
    graphError(
      403,
      'ExtensionError',
      'Operation: Create; Exception: [Status Code: Forbidden; Reason: Subscription limit reached: maximum number 1000 of subscriptions]',
    ),
  ],
])('no subscription is to be had (%s): the calendar is polled, and few are asked for', async (what, told) => {
  await using story = await product.begin()
  const name = `no-push-${what.length}`
  const account = product.microsoft.account(name)
  const own = account.calendar(`own-${name}`, { isDefaultCalendar: true })
  story.when(account, ({ path, method }) =>
    path === '/v1.0/subscriptions' && method === 'POST' ? told : undefined,
  )
  const began = product.days.now()
  await story.connected(account)
  await product.pass(10 * MINUTE)
  own.changes(story.make.graph('new', 1, 9))
  await product.pass(4 * MINUTE, { stepMs: MINUTE })
  await story.busyBecomes(['+1 09:00-10:00'])
  await product.pass(6 * HOUR, { stepMs: HOUR / 2 })
  expect(product.microsoft.calls(account, '/subscriptions', began).length).toBeLessThanOrEqual(12)
})

test.each<[string, Told]>([
  [
    '401',
    graphError(
      401,
      'ExtensionError',
      "Operation: Update; Exception: [Status Code: Unauthorized; Reason: p#S256 doesn't match.]",
    ),
  ],
  ['400', graphError(400, 'ErrorInvalidParameter', 'The parameter is invalid.')],
])(
  'no subscription can be renewed (%s): the calendar goes on ringing, and few renewals are asked for',
  async (what, told) => {
    await using story = await product.begin()
    const account = product.microsoft.account(`no-renewal-${what}`)
    const own = account
      .calendar(`own-no-renewal-${what}`, { isDefaultCalendar: true })
      .holds(story.make.graph('old', 1, 9))
    const id = await story.connected(account)
    story.when(account, ({ method }) => (method === 'PATCH' ? told : undefined))
    const began = product.days.now()
    await product.pass(2 * DAY, { stepMs: 2 * HOUR })
    own.changes(story.make.graph('new', 5, 9))
    await story.ringGraph(account, own)
    await story.busyBecomes(['+1 09:00-10:00', '+5 09:00-10:00'])
    expect((await story.connection(id)).status).toBe('active')
    const patches = product.microsoft
      .calls(account, '/subscriptions', began)
      .filter(({ method }) => method === 'PATCH')
    expect(patches.length).toBeLessThanOrEqual(12)
  },
)

test.each([
  ['no clientState', { clientState: null }],
  ['a clientState that is left out', { clientState: undefined }],
])('a subscription that rang as it should rings with %s too', async (_what, more) => {
  await using story = await product.begin()
  const { make } = story
  const name = `state-${String(more.clientState)}`
  const account = product.microsoft.account(name)
  const own = account.calendar(`own-${name}`, { isDefaultCalendar: true })
  await story.connected(account)
  own.changes(make.graph('first', 1, 9))
  await story.ringGraph(account, own)
  await story.busyBecomes(['+1 09:00-10:00'])
  own.changes(make.graph('second', 2, 9))
  await story.ringGraph(account, own, more)
  await story.busyBecomes(['+1 09:00-10:00', '+2 09:00-10:00'])
})

test.each([
  ['no clientState', { clientState: null }],
  ['a clientState that is left out', { clientState: undefined }],
  ['a clientState that is cut', { clientState: 'v2.' }],
])(
  'a subscription that only ever rings with %s: its calendar is read within minutes',
  async (_what, more) => {
    await using story = await product.begin()
    const { make } = story
    const name = `never-${String(more.clientState)}`.replace('.', '')
    const account = product.microsoft.account(name)
    const own = account.calendar(`own-${name}`, { isDefaultCalendar: true })
    const connection = await story.connected(account)
    const change = async (id: string, day: number) => {
      own.changes(make.graph(id, day, 9))
      await product.microsoft.ring(account, own, more)
      // The ingress notes what it refused some seconds of the machine's later: until then no time
      // passes.
      await story.until('what was refused is noted', () => isNoted(connection))
      await story.until(`${id} is read`, async () => {
        await product.pass(MINUTE / 2, { stepMs: MINUTE / 2 })
        return (await story.busy(day, day + 1)).length > 0
      })
    }
    await change('first', 1)
    const began = product.days.now()
    await change('second', 2)
    expect(product.days.now() - began).toBeLessThanOrEqual(4 * MINUTE)
  },
)

/** A notice waits for the scheduler, or it has counted the channel as silent already. */
async function isNoted(connection: string): Promise<boolean> {
  const rows = await product.days.query(
    `select 1 from external_calendars calendar
      where calendar.connection_id = $1
        and (calendar.unrung_finds >= ${SILENT_FINDS}
             or exists (select 1 from channel_notices notice where notice.connection_id = $1 and notice.kind = 'refused'))`,
    [connection],
  )
  return rows.length > 0
}
