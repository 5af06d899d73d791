// What Google answers when something is wrong with an account or Google itself, as people who
// run calendar sync reported it: nobody has to consent again but who took the grant back, and
// what passes heals by itself.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { HOUR, MINUTE, openProduct, type Case, type Product } from './product.ts'
import { googleError } from './vendors/google.ts'
import type { Told } from './vendors/server.ts'

let product: Product

beforeAll(async () => {
  product = await openProduct('field_google_troubles')
})

afterAll(async () => {
  await product?.[Symbol.asyncDispose]()
})

/**
 * Ana with one calendar and one event, connected and read;
 * then a second event of which Google rings.
 */
async function ana(story: Case, name: string) {
  const account = product.google.account(name)
  const own = account.calendar(`${name}@example.com`, { primary: true }).holds(story.make.google('old', 1, 9))
  const id = await story.connected(account)
  return { account, own, id }
}

async function statusOf(story: Case, id: string): Promise<string> {
  return (await story.connection(id)).status
}

const UNAUTHORIZED: Told = {
  status: 401,
  body: {
    error: {
      code: 401,
      message: 'Invalid Credentials',
      errors: [
        {
          message: 'Invalid Credentials',
          domain: 'global',
          reason: 'authError',
          location: 'Authorization',
          locationType: 'header',
        },
      ],
      status: 'UNAUTHENTICATED',
    },
  },
}

test('Google answers 401 to good tokens for some minutes: nobody has to consent again', async () => {
  await using story = await product.begin()
  const { account, own, id } = await ana(story, 'wave')
  const heal = story.when(account, ({ path }) => (path.startsWith('/calendar/') ? UNAUTHORIZED : undefined))
  own.changes(story.make.google('new', 2, 9))
  await story.ring(own)
  await product.pass(10 * MINUTE, { stepMs: MINUTE })
  expect(await statusOf(story, id)).toBe('active')
  heal()
  await product.pass(75 * MINUTE)
  await story.busyBecomes(['+1 09:00-10:00', '+2 09:00-10:00'])
  expect(await statusOf(story, id)).toBe('active')
})

test('one calendar answers 401 while the others answer: the grant is good', async () => {
  await using story = await product.begin()
  const { account, own, id } = await ana(story, 'one-401')
  account.calendar('odd@group.calendar.google.com')
  const heal = story.when(account, ({ path }) => (path.includes('/odd@') ? UNAUTHORIZED : undefined))
  await product.pass(3 * HOUR, { stepMs: 10 * MINUTE })
  own.changes(story.make.google('new', 2, 9))
  await story.ring(own)
  await story.busyBecomes(['+1 09:00-10:00', '+2 09:00-10:00'])
  expect(await statusOf(story, id)).toBe('active')
  heal()
})

test('a grant that the person took back waits for the person at once', async () => {
  await using story = await product.begin()
  const { account, own, id } = await ana(story, 'revoked')
  const gone = { error: 'invalid_grant', error_description: 'Token has been expired or revoked.' }
  story.when(account, ({ path }) => (path === '/token' ? { status: 400, body: gone } : UNAUTHORIZED))
  await story.ring(own)
  await story.until('it waits for the person', async () => (await statusOf(story, id)) === 'needs_reauth')
})

test.each([
  [
    'the user was suspended',
    googleError(403, 'notACalendarUser', 'The user must be signed up for Google Calendar.', 'calendar'),
  ],
  [
    'the API is switched off',
    googleError(403, 'accessNotConfigured', 'The API is switched off.', 'usageLimits'),
  ],
  ['a word that nobody knows', googleError(403, 'somethingNew', 'No.')],
])('every call is refused for an hour (%s): it is found again by itself within a day', async (what, told) => {
  await using story = await product.begin()
  const { account, own } = await ana(story, `refused-${what.replaceAll(/\W/g, '')}`)
  const heal = story.when(account, ({ path }) => (path.startsWith('/calendar/') ? told : undefined))
  own.changes(story.make.google('new', 2, 9))
  await story.ring(own)
  await product.pass(HOUR, { stepMs: 10 * MINUTE })
  heal()
  await product.pass(25 * HOUR, { stepMs: 100 * MINUTE })
  await story.busyBecomes(['+1 09:00-10:00', '+2 09:00-10:00'])
})

test.each<[string, Told]>([
  [
    'as HTML',
    { status: 403, body: '<!DOCTYPE html><html><title>403</title><p>Too many requests for this token.' },
  ],
  ['as JSON', { status: 403, body: { error: 'rate_limit_exceeded', error_description: 'too fast' } }],
])(
  'the token endpoint refuses for its rate limit with 403 %s: throttled, no attempt counted',
  async (form, told) => {
    await using story = await product.begin()
    const { account, own, id } = await ana(story, `token-403-${form.replaceAll(/\W/g, '')}`)
    const heal = story.when(account, ({ path }) => (path === '/token' ? told : undefined))
    // The access token ends.
    await product.pass(61 * MINUTE, { stepMs: 61 * MINUTE })
    own.changes(story.make.google('new', 2, 9))
    await story.ring(own)
    await story.until(
      'it is told that Google throttles',
      async () => (await story.connection(id)).last_error !== null,
    )
    expect(await story.connection(id)).toMatchObject({
      status: 'active',
      last_error: { code: 'vendor/throttled', failures: 0 },
    })
    heal()
    await product.pass(75 * MINUTE)
    await story.busyBecomes(['+1 09:00-10:00', '+2 09:00-10:00'])
  },
)

/** What a dead place says instead of the documented 410. */
const DEATHS: Readonly<Record<string, Told>> = {
  '503': { status: 503, body: '<h1>503</h1>' },
  '500': googleError(500, 'backendError'),
  '403': googleError(403, 'forbidden'),
  '400 in words that nobody knows': googleError(400, 'badRequest', 'Bad Request'),
  '404': googleError(404, 'notFound'),
  'no JSON': { body: '<html>Sorry</html>' },
}

test.each([
  ['sync token of a calendar that was read', 'syncToken'],
  ['page token of a first read', 'pageToken'],
])(
  'the %s is dead in whatever words: the calendar is read from its start within hours',
  async (_what, kind) => {
    await using story = await product.begin()
    const { make } = story
    const patients = Object.entries(DEATHS).map(([words, told], i) => {
      const name = `${kind.toLowerCase()}-${i}`
      const account = product.google.account(name)
      const own = account.calendar(`${name}@example.com`, { primary: true })
      own.holds(make.google('old', 1, 1 + i * 2))
      return { words, told, account, own, name, at: 1 + i * 2 }
    })
    /** Account → the token that is dead. */
    const dead = new Map<string, string>()
    if (kind === 'syncToken') for (const { account } of patients) await story.connected(account)
    for (const { own, account, told, at, name } of patients) {
      if (kind === 'syncToken') dead.set(name, String(own.log.length))
      else own.pageSize = 1
      own.changes(make.google('new', 2, at))
      story.when(account, ({ path, query }) => {
        const token = query.get(kind)
        if (!path.endsWith('/events') || token === null) return undefined
        // Of page tokens the first one ever given dies; those of a later read live.
        if (!dead.has(name)) dead.set(name, token)
        return dead.get(name) === token ? told : undefined
      })
      if (kind === 'pageToken') await story.connect(account)
    }
    await product.pass(2 * HOUR, { stepMs: 10 * MINUTE })
    const expected = [1, 2].flatMap((day) => patients.map(({ at }) => make.hour(day, at)))
    await story.busyBecomes(expected)
    expect((await story.busyAnswer()).stale).toBe(false)
  },
)
