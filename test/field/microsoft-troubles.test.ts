// What Graph and its sign-in server answer when something is wrong with an account, a tenant or
// Graph itself, as people who run calendar sync reported it: what passes heals by itself, and who
// is asked for help is who can help.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { HOUR, MINUTE, openProduct, type Case, type Product } from './product.ts'
import { entraError, graphError } from './vendors/microsoft.ts'
import type { Told } from './vendors/server.ts'

let product: Product

beforeAll(async () => {
  product = await openProduct('field_microsoft_troubles')
})

afterAll(async () => {
  await product?.[Symbol.asyncDispose]()
})

const DENIED = graphError(403, 'ErrorAccessDenied', 'Access is denied. Check credentials and try again.')
const BROKEN = graphError(
  500,
  'ErrorInternalServerError',
  'An internal server error occurred. The operation failed.',
)

/** Bo with one calendar and one event, connected and read. */
async function bo(story: Case, name: string) {
  const account = product.microsoft.account(name)
  const own = account
    .calendar(`own-${name}`, { isDefaultCalendar: true })
    .holds(story.make.graph('old', 1, 9))
  return { account, own, id: await story.connected(account) }
}

async function statusOf(story: Case, id: string): Promise<string> {
  return (await story.connection(id)).status
}

test('every call answers 401 for two hours although the tokens are good: it heals by itself', async () => {
  await using story = await product.begin()
  const { account, own, id } = await bo(story, 'wave')
  const heal = story.when(account, ({ path }) =>
    path.startsWith('/v1.0/')
      ? graphError(401, 'InvalidAuthenticationToken', 'Signing key is invalid.')
      : undefined,
  )
  own.changes(story.make.graph('new', 2, 9))
  await story.ringGraph(account, own)
  await product.pass(20 * MINUTE)
  expect(await statusOf(story, id)).toBe('active')
  await product.pass(100 * MINUTE, { stepMs: 10 * MINUTE })
  heal()
  await product.pass(25 * HOUR, { stepMs: 100 * MINUTE })
  expect(await statusOf(story, id)).toBe('active')
  await story.busyBecomes(['+1 09:00-10:00', '+2 09:00-10:00'])
})

/** What a dead link says instead of the documented 410. */
const DEATHS: Readonly<Record<string, Told>> = {
  '503 without words': { status: 503, body: { error: { code: 'UnknownError', message: '' } } },
  '504 without words': { status: 504, body: { error: { code: 'UnknownError', message: '' } } },
  '500': BROKEN,
  '403': DENIED,
  '400 in words that nobody knows': graphError(400, 'BadRequest', 'Bad request.'),
  '410 without a body': { status: 410 },
  'an inner word of 400': graphError(400, 'BadRequest', 'No.', { code: 'resyncRequired' }),
}

test.each([
  ['link in the middle of a first read', '$skiptoken'],
  ['link of a calendar that was read', '$deltatoken'],
])(
  'a %s is dead in whatever words: the calendar is read from its start within hours',
  async (_what, kind) => {
    await using story = await product.begin()
    const { make } = story
    const patients = Object.entries(DEATHS).map(([words, told], i) => {
      const name = `dead-${kind.slice(1)}-${i}`
      const account = product.microsoft.account(name)
      const at = 1 + i * 2
      const own = account.calendar(`own-${name}`, { isDefaultCalendar: true })
      own.holds(...Array.from({ length: 201 }, (_, n) => make.graph(`old-${n}`, 1, at)))
      return { words, told, account, own, name, at }
    })
    /** Account → the link's token that is dead. */
    const dead = new Map<string, string>()
    if (kind === '$deltatoken') for (const { account } of patients) await story.connected(account)
    for (const { own, account, told, at, name } of patients) {
      if (kind === '$deltatoken') dead.set(name, String(own.log.length))
      own.changes(make.graph('new', 2, at))
      story.when(account, ({ query }) => {
        const token = query.get(kind)
        if (token === null) return undefined
        if (!dead.has(name)) dead.set(name, token)
        return dead.get(name) === token ? told : undefined
      })
      if (kind === '$skiptoken') await story.connect(account)
    }
    await product.pass(2 * HOUR, { stepMs: 10 * MINUTE })
    await story.busyBecomes([1, 2].flatMap((day) => patients.map(({ at }) => make.hour(day, at))))
    expect((await story.busyAnswer()).stale).toBe(false)
  },
)

test.each<[string, number, Told, RegExp]>([
  [
    'the tenant removed the app',
    700016,
    entraError(
      'unauthorized_client',
      700_016,
      "Application with identifier 'x' was not found in the directory 'Contoso'.",
    ),
    /administrator/i,
  ],
  [
    'the person is not assigned to the app',
    50105,
    entraError('invalid_grant', 50_105, 'The signed in user is not assigned to a role for the application.'),
    /administrator/i,
  ],
  [
    'a policy of the tenant',
    53003,
    entraError('invalid_grant', 53_003, 'Access has been blocked by Conditional Access policies.', {
      suberror: 'message_only',
    }),
    /polic|administrator|condition/i,
  ],
  [
    'a second factor is wanted',
    50076,
    entraError('interaction_required', 50_076, 'you must use multi-factor authentication', {
      suberror: 'basic_action',
    }),
    /./,
  ],
  [
    'the grant ended',
    70000,
    entraError('invalid_grant', 70_000, 'The user could not be authenticated as the grant is expired.'),
    /./,
  ],
])(
  'the sign-in server refuses because %s: a person is asked for, in words that fit, with its number',
  async (_what, number, told, words) => {
    await using story = await product.begin()
    const { account, own, id } = await bo(story, `entra-${number}`)
    const heal = story.when(account, ({ path }) => (path.endsWith('/token') ? told : undefined))
    await product.pass(61 * MINUTE, { stepMs: 61 * MINUTE })
    await story.ringGraph(account, own)
    await story.until('it waits for somebody', async () => (await statusOf(story, id)) === 'needs_reauth')
    const answer = await story.connection(id)
    expect(JSON.stringify(answer)).toMatch(words)
    expect(JSON.stringify(answer.last_error)).toContain(String(number))
    heal()
  },
)

test.each<[string, Told]>([
  [
    'it has a passing error',
    {
      ...entraError('temporarily_unavailable', 90_033, 'A transient error has occurred. Please try again.'),
      status: 503,
    },
  ],
  [
    'our own secret has expired',
    {
      ...entraError('invalid_client', 7_000_222, 'The provided client secret keys for app are expired.'),
      status: 401,
    },
  ],
])(
  'the sign-in server refuses because %s: no person is asked, and it heals by itself',
  async (what, told) => {
    await using story = await product.begin()
    const { account, own, id } = await bo(story, `ours-${what.length}`)
    const heal = story.when(account, ({ path }) => (path.endsWith('/token') ? told : undefined))
    await product.pass(61 * MINUTE, { stepMs: 61 * MINUTE })
    own.changes(story.make.graph('new', 2, 9))
    await story.ringGraph(account, own)
    await product.pass(3 * HOUR, { stepMs: 10 * MINUTE })
    expect(await statusOf(story, id)).toBe('active')
    heal()
    await product.pass(75 * MINUTE)
    await story.busyBecomes(['+1 09:00-10:00', '+2 09:00-10:00'])
  },
)
