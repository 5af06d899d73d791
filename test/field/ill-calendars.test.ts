// One calendar of an account is ill for hours, in the ways that people who run calendar sync
// reported: its siblings are as fresh as ever, it is tried rarely, and it heals by itself.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { HOUR, MINUTE, openProduct, type Case, type Product } from './product.ts'
import { googleError, type Item } from './vendors/google.ts'
import { graphError } from './vendors/microsoft.ts'
import type { Answer, Asked } from './vendors/server.ts'

/** Calls that an ill calendar may cost in any hour after its first. */
const ILL_CALLS_AN_HOUR = 10
/**
 * Forty empty pages may come before the last one, and Graph is seen to send many:
 * once they are waited for.
 */
const FIRST_TRIES_CALLS = 50
/** An ill calendar waits for an hour at most, and then it may be read more than once. */
const HEALED_WITHIN_MINUTES = 75
const LIMIT_MS = 300_000

let product: Product

beforeAll(async () => {
  product = await openProduct('field_ill_calendars')
})

afterAll(async () => {
  await product?.[Symbol.asyncDispose]()
})

/** `items`: what the calendar holds. */
type Illness = (asked: Asked, items: readonly Item[]) => ReturnType<Answer>
type Illnesses = Readonly<Record<string, Illness>>

/**
 * What one calendar answers, for as long as the case wants;
 * undefined is what it answers when it is well.
 */
const OF_GOOGLE: Illnesses = {
  'does not exist although it is listed': () => googleError(404, 'notFound', 'Not Found'),
  'is refused': () => googleError(403, 'forbidden', 'Forbidden'),
  'is refused from its second page on': ({ query }) =>
    query.has('pageToken') ? googleError(403, 'forbidden', 'Forbidden') : undefined,
  'answers 401': () => googleError(401, 'authError', 'Invalid Credentials'),
  'hands out empty pages without end': () => ({
    body: { kind: 'calendar#events', items: [], nextPageToken: `on-${Math.random()}` },
  }),
  'answers 500': () => googleError(500, 'backendError', 'Backend Error'),
  'answers 503 to its second page': ({ query }) =>
    query.has('pageToken') ? { status: 503, body: '<h1>503</h1>' } : undefined,
  'calls its second page expired': ({ query }) =>
    query.has('pageToken')
      ? googleError(410, 'fullSyncRequired', 'Sync token is no longer valid.')
      : undefined,
  'answers with what is no JSON': () => ({ body: '<html>Sorry</html>' }),
  'answers 400 in words that nobody knows': () =>
    googleError(400, 'failedPrecondition', 'Precondition check failed.'),
}

const DENIED = graphError(403, 'ErrorAccessDenied', 'Access is denied. Check credentials and try again.')
const isChanges = ({ path }: Asked) => path.endsWith('/delta')
const isSecond = ({ query }: Asked) => query.has('$skiptoken') || query.has('$skip')

const OF_MICROSOFT: Illnesses = {
  'does not exist although it is listed': () => graphError(404, 'ErrorItemNotFound', 'Not found.'),
  'is refused': () => DENIED,
  'is refused from its second page on': (asked) => (isSecond(asked) ? DENIED : undefined),
  'is refused from the second page of its changes on': (asked) =>
    isChanges(asked) && isSecond(asked) ? DENIED : undefined,
  'refuses its changes and can be listed': (asked) => (isChanges(asked) ? DENIED : undefined),
  'answers 500': () => graphError(500, 'ErrorInternalServerError', 'An internal server error occurred.'),
  'answers 504 to its second page': (asked) => (isSecond(asked) ? { status: 504 } : undefined),
  'calls its second page expired': (asked) =>
    isSecond(asked) ? graphError(410, 'syncStateNotFound', 'Resync required.') : undefined,
  'answers 401': () => graphError(401, 'InvalidAuthenticationToken', 'Lifetime validation failed.'),
  'tells empty changes without end': (asked) => (isChanges(asked) ? withoutEnd(asked, []) : undefined),
  'tells changes without end': (asked, items) => (isChanges(asked) ? withoutEnd(asked, items) : undefined),
}

/**
 * The same events again and again, under ever new links: msgraph-sdk-dotnet issues 3070 and 3082.
 */
function withoutEnd({ here, query }: Asked, value: readonly Item[]): ReturnType<Answer> {
  const page = Number(query.get('$skiptoken') ?? 0) + 1
  return { body: { value, '@odata.nextLink': `${here}?$skiptoken=${page}` } }
}

/** An account with a calendar of its own, one at its side, and one that is ill. */
interface Patient {
  readonly illness: string
  readonly sick: string
  /** The hour at which its events lie. */
  readonly at: number
  readonly connect: () => Promise<string>
  /** Its side calendar gets an event, and rings. */
  readonly news: (day: number) => Promise<void>
  readonly calls: (since: number) => readonly Asked[]
  readonly heal: () => void
}

function patientOfGoogle(story: Case, [illness, answer]: readonly [string, Illness], i: number): Patient {
  const { make } = story
  const at = 1 + i * 2
  const account = product.google.account(`ill-${i}`)
  account.calendar(`ill-${i}@example.com`, { primary: true }).holds(make.google('first', 1, at))
  const side = account.calendar(`side-${i}@group.calendar.google.com`)
  const sick = account.calendar(`sick-${i}@group.calendar.google.com`)
  sick.holds(make.google('a', 20, at), make.google('b', 21, at))
  sick.pageSize = 1
  return {
    illness,
    sick: sick.id,
    at,
    connect: () => story.connect(account),
    news: async (day) => {
      side.changes(make.google(`news-${day}`, day, at))
      await story.ring(side)
    },
    calls: (since) => product.google.calls(account, '/sick-', since),
    heal: story.when(account, (asked) =>
      asked.path.includes('/sick-') ? answer(asked, [...sick.items.values()]) : undefined,
    ),
  }
}

function patientOfMicrosoft(story: Case, [illness, answer]: readonly [string, Illness], i: number): Patient {
  const { make } = story
  const at = 1 + i * 2
  const account = product.microsoft.account(`ill-${i}`)
  account.calendar(`own-${i}`, { isDefaultCalendar: true }).holds(make.graph('first', 1, at))
  const side = account.calendar(`side-${i}`)
  const sick = account.calendar(`sick-${i}`).holds(make.graph('a', 20, at), make.graph('b', 21, at))
  sick.pageSize = 1
  return {
    illness,
    sick: sick.id,
    at,
    connect: () => story.connect(account),
    news: async (day) => {
      side.changes(make.graph(`news-${day}`, day, at))
      await story.ringGraph(account, side)
    },
    calls: (since) => product.microsoft.calls(account, '/sick-', since),
    heal: story.when(account, (asked) =>
      asked.path.includes('/sick-') ? answer(asked, [...sick.items.values()]) : undefined,
    ),
  }
}

/** The most calls within an hour, wherever that begins. */
function mostInAnHour(calls: readonly { readonly at: number }[]): number {
  return Math.max(
    0,
    ...calls.map(({ at: from }) => calls.filter(({ at }) => at >= from && at < from + HOUR).length),
  )
}

test.each([
  ['Google', OF_GOOGLE, patientOfGoogle],
  ['Microsoft', OF_MICROSOFT, patientOfMicrosoft],
] as const)(
  `at %s, with at most ${ILL_CALLS_AN_HOUR} calls an hour after its first tries, and well within ${HEALED_WITHIN_MINUTES} minutes`,
  async (_vendor, illnesses, admit) => {
    await using story = await product.begin()
    const patients = Object.entries(illnesses).map((one, i) => admit(story, one, i))
    const onDay = (day: number) => patients.map(({ at }) => story.make.hour(day, at))
    for (const patient of patients) await patient.connect()
    await story.busyBecomes(onDay(1), 0, 2)
    const connected = product.days.now()
    let tried = connected
    for (let hour = 1; hour <= 4; hour += 1) {
      await product.pass(HOUR)
      if (hour === 1) tried = product.days.now()
      for (const patient of patients) await patient.news(2 + hour)
      // No time passes between the notifications and this.
      await story.busyBecomes(onDay(2 + hour), 2 + hour, 3 + hour)
    }
    const { calendars } = await story.busyAnswer()
    const stale = calendars.filter((one) => one.stale).map(({ name }) => name)
    expect(new Set(stale)).toEqual(new Set(patients.map(({ sick }) => sick)))
    const atFirst = patients.map(({ illness, calls }) => [illness, calls(connected).length] as const)
    const most = patients.map(({ illness, calls }) => [illness, mostInAnHour(calls(tried))] as const)
    expect(most.filter(([, calls]) => calls === 0 || calls > ILL_CALLS_AN_HOUR)).toEqual([])
    const inAll = FIRST_TRIES_CALLS + 4 * ILL_CALLS_AN_HOUR
    expect(atFirst.filter(([, calls]) => calls > inAll)).toEqual([])
    expect((await story.connections()).map(({ status }) => status)).toEqual(patients.map(() => 'active'))
    for (const { heal } of patients) heal()
    await product.pass(HEALED_WITHIN_MINUTES * MINUTE)
    await story.busyBecomes([...onDay(20), ...onDay(21)], 20, 22)
    const late = (await story.busyAnswer()).calendars.filter((one) => one.stale)
    const words = late.map(({ name, stale_because }) => [
      patients.find(({ sick }) => sick === name)?.illness,
      stale_because,
    ])
    expect(words).toEqual([])
  },
  LIMIT_MS,
)
