// schemas/openapi.yaml says what the API and the OAuth routes answer: every answer in it is
// provoked on a real ingress with Postgres.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { holdCalendar, holdEvent } from '../../support/held-rows.ts'
import { Person, type IngressWorld } from '../../support/ingress-world.ts'
import { NOT_ALLOWED, signedBearer } from '../../support/literal-ingress.ts'
import { OAuthWorld, RETURN_ORIGIN, type VendorName } from '../../support/oauth-world.ts'
import {
  documentedBody,
  documentedOperations,
  documentedQuery,
  isProvokedOnLiterals,
  openApi,
  wrongAnswer,
} from '../../support/openapi.ts'
import { rawDialogue, rawExchange, rawRequest } from '../../support/raw-http.ts'

const MB10 = 10 * 1024 * 1024
const SPAN = 'from=2026-05-04T00:00:00Z&to=2026-05-05T00:00:00Z'

let oauth: OAuthWorld
let world: IngressWorld
/** An instance whose Postgres is away. */
let alone: string

beforeAll(async () => {
  oauth = await OAuthWorld.open('ingress_openapi')
  world = oauth.world
  alone = await world.another({ POSTGRES_URL: 'postgres://calstream_ingress:x@127.0.0.1:1/none' })
})
afterAll(() => oauth[Symbol.asyncDispose]())
beforeEach(async () => {
  world.said.sync = () => ({ state: 'on' })
  await oauth.calm()
})

interface Answer {
  readonly status: number
  readonly headers: { get(name: string): string | null | undefined }
  /**
   * Of fetch a method, of a raw exchange the answer with its head, of a browser's step the body.
   */
  readonly text: string | (() => Promise<string>)
  readonly body?: unknown
}

async function bodyOf(answer: Answer): Promise<string> {
  if (typeof answer.text !== 'string') return answer.text()
  return typeof answer.body === 'string' ? answer.body : answer.text
}

type Provocations = Record<string, () => Promise<Answer>>

interface Call {
  readonly provider?: string
  readonly claims?: null
  readonly body?: unknown
  readonly at?: string
}

async function call(operation: string, options: Call = {}): Promise<Answer> {
  const [method = '', route = ''] = operation.split(' ')
  return world.api(method, route, options)
}

/** What every route answers to broken requests. */
function broken(route: string): Provocations {
  const { port } = new URL(world?.url ?? 'http://127.0.0.1:1')
  return {
    '405': () => rawExchange(Number(port), rawRequest('PUT', route, {})),
    '408': () =>
      rawDialogue(Number(port), (socket) => socket.write(`GET ${route} HTTP/1.1\r\nHost: x\r\nX-Slow: `)),
    '431': () => rawExchange(Number(port), rawRequest('GET', route, { 'X-Flood': 'a'.repeat(9000) })),
  }
}

async function tooLarge(method: string, route: string): Promise<Answer> {
  const { port } = new URL(world.url)
  const Authorization = await signedBearer({ provider_id: randomUUID() }, world.env['API_JWT_SECRET'] ?? '')
  return rawExchange(
    Number(port),
    rawRequest(method, route, { Authorization, 'Content-Length': String(MB10) }),
  )
}

function linkProvocations(route: string): Provocations {
  const ask = (body: unknown, options: Call = {}) => call(`POST ${route}`, { body, ...options })
  return {
    ...broken(route),
    '201': () => ask({ vendor: 'google' }),
    '400': () => ask({ vendor: 'yahoo' }),
    '401': () => ask({ vendor: 'google' }, { claims: null }),
    '403': () => {
      close()
      return ask({ vendor: 'google' })
    },
    '404': () => ask({ vendor: 'google', connection_id: randomUUID() }),
    '413': () => tooLarge('POST', route),
    '503': () => ask({ vendor: 'google' }, { at: alone }),
  }
}

function close(): void {
  world.said.oauth = () => ({
    state: 'off',
    gate: 'CALENDAR_OAUTH_ENABLED',
    text: 'Calendar OAuth not enabled',
  })
}

function startProvocations(vendor: VendorName, route: string): Provocations {
  const link = () => oauth.linkFor({ vendor, provider: randomUUID() })
  return {
    ...broken(route),
    '200': async () => new Person().go(await link()),
    '401': () => call(`GET ${route}`),
    '403': () => {
      close()
      return call(`GET ${route}`)
    },
    '503': async () => {
      const { pathname, search } = new URL(await link())
      return call(`GET ${pathname}${search}`, { at: alone })
    },
  }
}

function buttonProvocations(vendor: VendorName, route: string): Provocations {
  const press = async (at?: string) => {
    const person = new Person()
    const page = await person.go(await oauth.linkFor({ vendor, provider: randomUUID() }))
    if (at !== undefined) person.routes.set(world.url, at)
    return person.press(page, 'application/json')
  }
  return {
    ...broken(route),
    '303': () => press(),
    '401': () => call(`POST ${route}`),
    '403': () => {
      close()
      return call(`POST ${route}`)
    },
    '413': () => tooLarge('POST', route),
    '503': () => press(alone),
  }
}

function callbackProvocations(vendor: VendorName, route: string): Provocations {
  const finish = async (options: { error?: string; return_to?: string; at?: string } = {}) => {
    const person = new Person()
    const { error, return_to, at } = options
    const asked = { vendor, provider: randomUUID(), ...(return_to === undefined ? {} : { return_to }) }
    const consent = await person.toConsent(await oauth.linkFor(asked))
    const account = await oauth.anAccount(vendor)
    const back =
      error === undefined ? await person.consent(consent, account.email) : new URL(`${world.url}${route}`)
    if (error !== undefined) {
      back.searchParams.set('state', consent.searchParams.get('state') ?? '')
      back.searchParams.set('error', error)
    }
    if (at !== undefined) person.routes.set(world.url, at)
    return person.go(back, 'application/json')
  }
  return {
    ...broken(route),
    '200': () => finish(),
    '302': () => finish({ return_to: RETURN_ORIGIN }),
    '400': () => finish({ error: 'invalid_request' }),
    '401': () => call(`GET ${route}`),
    '403': () => finish({ error: 'access_denied' }),
    '503': () => finish({ at: alone }),
  }
}

async function held() {
  const provider = randomUUID()
  return { provider, ...(await holdCalendar((sql, values) => world.look(sql, values), { provider })) }
}

function connectionProvocations(method: 'GET' | 'DELETE', ok: string): Provocations {
  const at = (id: string) => `${method} /api/calendar/connections/${id}`
  return {
    ...broken(`/api/calendar/connections/${randomUUID()}`),
    [ok]: async () => {
      const { connection, provider } = await held()
      return call(at(connection), { provider })
    },
    '400': () => call(`${at(randomUUID())}?full=1`),
    '401': () => call(at(randomUUID()), { claims: null }),
    '404': () => call(at(randomUUID())),
    '503': () => call(at(randomUUID()), { at: alone }),
  }
}

function syncOneProvocations(): Provocations {
  const route = (id: string) => `/api/calendar/connections/${id}/sync`
  const at = (id: string) => `POST ${route(id)}`
  const one = async (change = `status = 'active'`) => {
    const { connection, provider } = await held()
    await world.look(`update external_calendar_connections set ${change} where id = $1`, [connection])
    return call(at(connection), { provider })
  }
  return {
    ...broken(route(randomUUID())),
    '202': () => one(),
    '400': () => call(at(randomUUID()), { body: { connection_id: randomUUID() } }),
    '401': () => call(at(randomUUID()), { claims: null }),
    '403': () => {
      world.said.sync = () => NOT_ALLOWED
      return one()
    },
    '404': () => call(at(randomUUID())),
    '409': () => one(`status = 'needs_reauth'`),
    '413': () => tooLarge('POST', route(randomUUID())),
    '503': () => call(at(randomUUID()), { at: alone }),
  }
}

function eventsProvocations(): Provocations {
  const route = (id: string) => `/api/calendar/connections/${id}/events?${SPAN}`
  return {
    ...broken(route(randomUUID())),
    '200': async () => {
      const { connection, calendar, provider } = await held()
      const look: IngressWorld['look'] = (sql, values) => world.look(sql, values)
      await holdEvent(
        look,
        { connection, calendar },
        { start: '2026-05-04T09:00:00Z', end: '2026-05-04T10:00:00Z' },
      )
      await holdEvent(look, { connection, calendar }, { start: '2026-05-04', end: '2026-05-05' })
      return call(`GET ${route(connection)}&limit=1`, { provider })
    },
    '400': () => call(`GET ${route(randomUUID())}&after=x`),
    '401': () => call(`GET ${route(randomUUID())}`, { claims: null }),
    '404': () => call(`GET ${route(randomUUID())}`),
    '503': () => call(`GET ${route(randomUUID())}`, { at: alone }),
  }
}

function documentProvocations(): Provocations {
  return {
    ...broken('/openapi.json'),
    '200': () => call('GET /openapi.json', { claims: null }),
    '400': () => call('GET /openapi.json?full=1', { claims: null }),
  }
}

function calendarProvocations(): Provocations {
  const route = (connection: string, calendar: string) =>
    `/api/calendar/connections/${connection}/calendars/${calendar}`
  const unknown = route(randomUUID(), randomUUID())
  const body = { selected: true }
  const choose = async (change?: string) => {
    const { provider, connection, calendar } = await held()
    if (change !== undefined)
      await world.look(`update external_calendar_connections set status = $2 where id = $1`, [
        connection,
        change,
      ])
    return call(`PATCH ${route(connection, calendar)}`, { provider, body })
  }
  return {
    ...broken(unknown),
    '200': () => choose(),
    '400': () => call(`PATCH ${unknown}`, { body: {} }),
    '401': () => call(`PATCH ${unknown}`, { body, claims: null }),
    '404': () => call(`PATCH ${unknown}`, { body }),
    '409': () => choose('disconnected'),
    '413': () => tooLarge('PATCH', unknown),
    '503': () => call(`PATCH ${unknown}`, { body, at: alone }),
  }
}

function readProvocations(route: string, { good, bad }: { good: string; bad: string }): Provocations {
  return {
    ...broken(route),
    '200': () => call(`GET ${route}?${good}`),
    '400': () => call(`GET ${route}?${good}&${bad}`),
    '401': () => call(`GET ${route}?${good}`, { claims: null }),
    '404': () => call(`GET ${route}?${good}&provider_id=${randomUUID()}`),
    '503': () => call(`GET ${route}?${good}`, { at: alone }),
  }
}

/** Made when a test runs: the ingress is not there before. */
const PROVOCATIONS: Record<string, () => Provocations> = {
  'POST /api/calendar/connect-links': () => linkProvocations('/api/calendar/connect-links'),
  'GET /api/auth/google/calendar': () => startProvocations('google', '/api/auth/google/calendar'),
  'POST /api/auth/google/calendar': () => buttonProvocations('google', '/api/auth/google/calendar'),
  'GET /api/auth/google/calendar/callback': () =>
    callbackProvocations('google', '/api/auth/google/calendar/callback'),
  'GET /api/auth/microsoft/calendar': () => startProvocations('microsoft', '/api/auth/microsoft/calendar'),
  'POST /api/auth/microsoft/calendar': () => buttonProvocations('microsoft', '/api/auth/microsoft/calendar'),
  'GET /api/auth/microsoft/calendar/callback': () =>
    callbackProvocations('microsoft', '/api/auth/microsoft/calendar/callback'),
  'GET /api/calendar/connections': () =>
    readProvocations('/api/calendar/connections', { good: 'limit=5', bad: 'after=x' }),
  'GET /api/calendar/connections/{id}': () => connectionProvocations('GET', '200'),
  'DELETE /api/calendar/connections/{id}': () => connectionProvocations('DELETE', '204'),
  'GET /api/calendar/connections/{id}/events': () => eventsProvocations(),
  'GET /openapi.json': () => documentProvocations(),
  'POST /api/calendar/connections/{id}/sync': () => syncOneProvocations(),
  'PATCH /api/calendar/connections/{id}/calendars/{calendarId}': () => calendarProvocations(),
  'GET /api/calendar/busy': () => readProvocations('/api/calendar/busy', { good: SPAN, bad: 'from=now' }),
}

describe('schemas/openapi.yaml', () => {
  const documented = [...documentedOperations()].filter(([operation]) => !isProvokedOnLiterals(operation))

  test('says of the routes that need Postgres exactly the answers that can be provoked', () => {
    const provoked = Object.entries(PROVOCATIONS).map(
      ([operation, make]) => [operation, Object.keys(make()).toSorted()] as const,
    )
    expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(provoked))
  })

  const filtered = documented.map(([operation]) => operation).filter((one) => one.includes(' /api/calendar/'))
  test.each(filtered)(
    '%s takes the members that are listed, and names them to who sends another',
    async (operation) => {
      const route = operation.replaceAll(/\{\w+\}/g, randomUUID())
      const named = async (path: string, body?: unknown) => {
        const answer = await call(path, body === undefined ? {} : { body })
        const { detail } = JSON.parse(await bodyOf(answer)) as { detail: string }
        expect([answer.status, detail]).toEqual([400, expect.stringContaining('"colour" is not known here.')])
        return (/ takes (?!nothing)(.*)\.$/.exec(detail)?.[1]?.split(', ') ?? []).toSorted()
      }
      expect(await named(`${route}?colour=red`)).toEqual(documentedQuery(operation).toSorted())
      if (!/^(POST|PATCH)/.test(operation)) return
      expect(await named(route, { colour: 'red' })).toEqual(documentedBody(operation).toSorted())
    },
  )

  test('is served as JSON, whole, with the address of the installation', async () => {
    const answer = await call('GET /openapi.json', { claims: null })
    expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8')
    expect(JSON.parse(await bodyOf(answer))).toEqual({ ...openApi, servers: [{ url: world.url }] })
  })

  test('every route gives up on a request that does not arrive', async () => {
    const provoked = documented.map(
      async ([operation]) => (await PROVOCATIONS[operation]?.()['408']?.())?.status,
    )
    expect(await Promise.all(provoked)).toEqual(documented.map(() => 408))
  })

  // Those of the 408s take two seconds each: all at once, above.
  const cases = documented.flatMap(([operation, statuses]) =>
    statuses.filter((status) => status !== '408').map((status) => ({ operation, status })),
  )
  test.each(cases)('$operation answers $status as it says', async ({ operation, status }) => {
    const provoke = PROVOCATIONS[operation]?.()[status]
    if (provoke === undefined) throw new Error('nothing provokes this answer')
    const answer = await provoke()
    expect(answer.status).toBe(Number(status))
    const isPublic = operation.endsWith('/openapi.json') && status === '200'
    expect(answer.headers.get('cache-control')).toBe(isPublic ? 'public, max-age=300' : 'no-store')
    if (answer.status >= 400)
      expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
    if (answer.headers.get('content-type')?.includes('json') === true) {
      const body: unknown = JSON.parse(await bodyOf(answer))
      expect(wrongAnswer(operation, status, body), JSON.stringify(body)).toBeNull()
    }
    if (answer.status === 503) expect(answer.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
  })
})
