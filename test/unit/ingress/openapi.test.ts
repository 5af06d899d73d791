// schemas/openapi.yaml says what the ingress answers:
// every answer in it is provoked on a real socket.
import { describe, expect, test } from 'vitest'
import { MICROSOFT_WEBHOOK, registerMicrosoftWebhook } from '../../../services/ingress/webhooks/microsoft.ts'
import { registerApi } from '../../../services/ingress/api/routes.ts'
import { registerOAuth } from '../../../services/ingress/oauth/routes.ts'
import { createServer } from '../../../services/ingress/server.ts'
import { GOOGLE_WEBHOOK, registerGoogleWebhook } from '../../../services/ingress/webhooks/google.ts'
import { SYNC_API } from '../../../services/ingress/api/sync.ts'
import {
  danglingRefs,
  documentedOperations,
  examples,
  isProvokedOnLiterals,
  wrongAnswer,
  wrongValue,
} from '../../support/openapi.ts'
import { silent } from '../../support/recording-consumer.ts'
import { rawDialogue, rawExchange, rawRequest, type RawAnswer } from '../../support/raw-http.ts'
import {
  A_CONNECTION,
  A_PROVIDER,
  askForSync,
  notify,
  OFF_SYNC,
  OFF_WEBHOOK,
  post,
  problemOf,
  literalIngressPerTest,
  UNKNOWN,
} from '../../support/literal-ingress.ts'

const MB10 = 10 * 1024 * 1024

const start = literalIngressPerTest()

type Provocation = (path: string) => Promise<RawAnswer>

/** What all routes answer to broken requests. */
const COMMON: Record<string, Provocation> = {
  '405': async (path) => rawExchange((await start()).port, rawRequest('PUT', path, {})),
  '408': async (path) =>
    rawDialogue((await start()).port, (socket) =>
      socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nX-Slow: `),
    ),
  '431': async (path) => post(await start(), path, { 'X-Flood': 'a'.repeat(9000) }),
}

const PROVOCATIONS: Record<string, Record<string, Provocation>> = {
  [GOOGLE_WEBHOOK]: {
    ...COMMON,
    '200': async () =>
      notify(await start(), { 'X-Goog-Resource-State': 'sync', 'X-Goog-Message-Number': '1' }),
    '202': async () => notify(await start()),
    '400': async () => notify(await start(), { 'X-Goog-Message-Number': 'ten' }),
    '401': async () => notify(await start(), { 'X-Goog-Channel-Token': 'v1.nonsense' }),
    '403': async () => notify(await start({ webhook: OFF_WEBHOOK })),
    '413': async () => notify(await start(), { 'Content-Length': String(MB10) }),
    '503': async () => notify(await start({ webhook: UNKNOWN })),
  },
  [MICROSOFT_WEBHOOK]: {
    ...COMMON,
    '200': async () => post(await start(), `${MICROSOFT_WEBHOOK}?validationToken=x`, {}),
    '202': async () => {
      const ingress = await start()
      return post(ingress, MICROSOFT_WEBHOOK, {}, batch({ clientState: ingress.clientState }))
    },
    '400': async () => post(await start(), MICROSOFT_WEBHOOK, {}, '{'),
    '401': async () => post(await start(), MICROSOFT_WEBHOOK, {}, batch({})),
    '403': async () => post(await start({ webhook: OFF_WEBHOOK }), MICROSOFT_WEBHOOK, {}, batch({})),
    '413': async () => post(await start(), MICROSOFT_WEBHOOK, { 'Content-Length': String(MB10) }),
    '503': async () => post(await start({ webhook: UNKNOWN }), MICROSOFT_WEBHOOK, {}),
  },
  [SYNC_API]: {
    ...COMMON,
    '202': async () => askForSync(await start({ database: [A_CONNECTION] })),
    '400': async () => askForSync(await start(), '{"provider_id":'),
    '401': async () => post(await start(), SYNC_API, {}),
    '403': async () => askForSync(await start({ sync: OFF_SYNC, database: [A_CONNECTION] })),
    '404': async () => askForSync(await start({ database: [] })),
    '409': async () => {
      const parked = { ...A_CONNECTION, status: 'needs_reauth' }
      return askForSync(await start({ database: [parked] }), JSON.stringify({ connection_id: parked.id }))
    },
    '413': async () => {
      const ingress = await start()
      const Authorization = await ingress.bearer({ provider_id: A_PROVIDER })
      return post(ingress, SYNC_API, { Authorization, 'Content-Length': String(MB10) })
    },
    '503': async () => askForSync(await start({ database: 'down' })),
  },
}

function batch(item: object): string {
  return JSON.stringify({ value: [item] })
}

describe('schemas/openapi.yaml', () => {
  const documented = documentedOperations()

  test('says of the routes that need no database exactly the answers that can be provoked', () => {
    const said = [...documented].filter(([operation]) => isProvokedOnLiterals(operation))
    const provoked = Object.entries(PROVOCATIONS).map(
      ([path, statuses]) => [`POST ${path}`, Object.keys(statuses).toSorted()] as const,
    )
    expect(Object.fromEntries(said)).toEqual(Object.fromEntries(provoked))
  })

  test('leads nowhere with no reference, and each of its examples is what it says', () => {
    expect(danglingRefs()).toEqual([])
    const wrong = examples().map(({ pointer, value }) => [pointer, wrongValue(pointer, value)])
    expect(wrong.filter(([, problem]) => problem !== null)).toEqual([])
    expect(wrong.length).toBeGreaterThan(5)
    // It does not take everything.
    expect(wrongValue('/components/schemas/Problem', { status: 'x' })).toMatch(/status/)
  })

  test('lists exactly the routes of the server', async () => {
    const app = createServer(
      { connectionsMax: 10, connectionsPerAddressMax: 10, trustedProxies: [] },
      silent(),
    )
    const routes: string[] = []
    app.addHook('onRoute', ({ method, url }) => {
      routes.push(`${String(method)} ${url.replaceAll(/:(\w+)/g, '{$1}')}`)
    })
    // Registering touches no port.
    const none = {} as never
    registerGoogleWebhook(app, none)
    registerMicrosoftWebhook(app, none)
    registerApi(app, none)
    await registerOAuth(app, none)
    await app.ready()
    expect(routes.toSorted()).toEqual([...documented.keys()].toSorted())
    await app.close()
  })

  const cases = Object.entries(PROVOCATIONS).flatMap(([path, statuses]) =>
    Object.entries(statuses).map(([status, provoke]) => ({ path, status, provoke })),
  )
  test.each(cases)('$path answers $status as it says', async ({ path, status, provoke }) => {
    const answer = await provoke(path)
    expect(answer.status, answer.text).toBe(Number(status))
    expect(answer.headers.has('x-powered-by')).toBe(false)
    expect(answer.headers.has('server')).toBe(false)
    expect(answer.text.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    if (answer.status < 400) return
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
    const problem = problemOf(answer)
    expect(wrongAnswer(`POST ${path}`, status, problem)).toBeNull()
    // What is no request yet has no name.
    const isParsed = status !== '408' && status !== '431'
    expect(Object.keys(problem).toSorted()).toEqual([
      'detail',
      'error',
      ...(isParsed ? ['request_id'] : []),
      'status',
      'title',
      'type',
    ])
    expect(problem).toMatchObject({ type: 'about:blank', status: Number(status) })
    expect(problem['request_id']).toBe(answer.headers.get('x-request-id'))
    expect(answer.body).not.toMatch(/node_modules|\.ts:|\\n +at |select /i)
    if (answer.status === 503) expect(answer.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
    if (answer.status === 405) expect(answer.headers.get('allow')).toBe('POST')
  })
})
