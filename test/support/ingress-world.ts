// The ingress in this process, on a database, topics and play vendors of a file's own, with gates
// that are literals; and a person with a browser, who answers the vendor's consent page.
import { randomBytes, randomUUID } from 'node:crypto'
import { unescape } from 'html-escaper'
import { TOPICS } from '#schemas/topics.ts'
import type { GateDecision, Gates } from '#shared/domain/gates.ts'
import type { ProviderId } from '#shared/domain/ids.ts'
import { openCodec, type Codec } from '#shared/kafka/codec.ts'
import { applySchemas } from '#shared/kafka/schemas.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import { freePorts } from '../../infra/stack/ports.ts'
import { vendorUrls } from '../../infra/stack/services.ts'
import { loadConfig } from '../../services/ingress/config.ts'
import { startIngress } from '../../services/ingress/service.ts'
import { signedBearer } from './literal-ingress.ts'
import { silent } from './recording-consumer.ts'
import { startTestSimulator, type TestSimulator } from './simulator.ts'
import { freshDatabase, freshPrefix, testStack, type TestDatabase } from './stack.ts'
import { look } from './world.ts'

const ON: GateDecision = { state: 'on' }
const START_MS = 60_000
const CALL_MS = 25_000
export const CLIENT = { id: 'calstream-test', secret: 'calstream-test-secret' }

/** What the gates say; on unless a test turns one. */
export interface Said {
  oauth: (provider?: ProviderId) => GateDecision
  sync: () => GateDecision
}

export interface IngressWorld extends AsyncDisposable {
  readonly env: Readonly<Record<string, string>>
  readonly database: TestDatabase
  readonly simulator: TestSimulator
  readonly codec: Codec
  readonly said: Said
  /** Where the ingress answers; also its PUBLIC_URL. */
  readonly url: string
  /**
   * Another instance, which shares nothing with the first but Postgres, Kafka and its keys.
   * @returns its address.
   */
  another(env?: Readonly<Record<string, string>>): Promise<string>
  /** One call of the API by an app; claims name a provider unless a test says otherwise. */
  api(method: string, route: string, options: ApiCall): Promise<Response>
  /** Rows of the tables, as superuser. */
  look<R extends object>(sql: string, values?: readonly unknown[]): Promise<R[]>
}

export interface ApiCall {
  readonly provider?: string
  readonly claims?: Readonly<Record<string, unknown>> | null
  readonly body?: unknown
  readonly at?: string
}

/** Opens a world; `env` for the ingress. */
export async function openIngressWorld(
  label: string,
  env: Readonly<Record<string, string>> = {},
): Promise<IngressWorld> {
  const owned = new AsyncDisposableStack()
  const stack = testStack()
  const prefix = freshPrefix()
  const database = owned.use(await freshDatabase(label))
  await applyTopics({ brokers: stack.brokers.split(','), prefix, clientId: 'test', partitions: 4 }, silent())
  await applySchemas({ registryUrl: stack.registryUrl, prefix }, AbortSignal.timeout(START_MS))
  const simulator = owned.use(await startTestSimulator({ clientId: CLIENT.id, clientSecret: CLIENT.secret }))
  const codec = await openCodec(
    {
      registryUrl: stack.registryUrl,
      prefix,
      topics: [
        TOPICS.requestedGoogle,
        TOPICS.requestedMicrosoft,
        TOPICS.connectionChanged,
        TOPICS.eventChanged,
        TOPICS.eventState,
      ],
    },
    AbortSignal.timeout(START_MS),
  )
  const { ingress: port } = await freePorts(['ingress'])
  const url = `http://127.0.0.1:${port}`
  const settings = ingressEnv({ database, prefix, simulator, port, env })
  const said: Said = { oauth: () => ON, sync: () => ON }
  const gates: Gates = {
    oauth: (provider) => said.oauth(provider),
    sync: () => said.sync(),
    webhook: () => ON,
    jobs: () => ON,
  }
  const start = async (more: Readonly<Record<string, string>>) => {
    const config = loadConfig({ ...settings, ...more })
    return owned.use(await startIngress(config, AbortSignal.timeout(START_MS), { gates }))
  }
  await start({})
  await othersLive(database)
  return {
    env: settings,
    database,
    simulator,
    codec,
    said,
    url,
    another: async (more = {}) => `http://127.0.0.1:${(await start({ ...more, INGRESS_PORT: '0' })).port}`,
    api: (method, route, call) =>
      callApi({ url, secret: settings['API_JWT_SECRET'] ?? '' }, { method, route, ...call }),
    look: (sql, values = []) => look(database.url(), sql, values),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** As if a process of each other service told that it lives: a day is longer than any test. */
async function othersLive(database: TestDatabase): Promise<void> {
  const others = ['sync', 'retry', 'relay', 'scheduler']
  await look(
    database.url(),
    `insert into service_instances (instance, service, version, host, pid, started_at, seen_at, ready)
     select gen_random_uuid(), service, 'test', 'test', 1, clock_timestamp(), clock_timestamp() + interval '1 day', true
       from unnest($1::text[]) as others (service)`,
    [others],
  )
}

function ingressEnv(parts: {
  readonly database: TestDatabase
  readonly prefix: string
  readonly simulator: TestSimulator
  readonly port: number
  readonly env: Readonly<Record<string, string>>
}): Record<string, string> {
  const stack = testStack()
  const key = () => `k1:${randomBytes(32).toString('base64')}`
  const { googleUrl, microsoftUrl } = parts.simulator
  return {
    KAFKA_BROKERS: stack.brokers,
    KAFKA_PREFIX: parts.prefix,
    SCHEMA_REGISTRY_URL: stack.registryUrl,
    POSTGRES_URL: parts.database.url('calstream_ingress'),
    UNLEASH_URL: stack.unleash.url,
    UNLEASH_TOKEN: stack.unleash.tokens.backend,
    ADMIN_PORT: '0',
    INGRESS_PORT: String(parts.port),
    PUBLIC_URL: `http://127.0.0.1:${parts.port}`,
    LOG_LEVEL: 'silent',
    CREDENTIALS_KEYS: key(),
    CHANNEL_TOKEN_KEYS: key(),
    API_JWT_SECRET: randomBytes(32).toString('base64url'),
    ...vendorUrls(googleUrl, microsoftUrl),
    GOOGLE_CLIENT_ID: CLIENT.id,
    GOOGLE_CLIENT_SECRET: CLIENT.secret,
    MICROSOFT_CLIENT_ID: CLIENT.id,
    MICROSOFT_CLIENT_SECRET: CLIENT.secret,
    ...parts.env,
  }
}

async function callApi(
  at: { readonly url: string; readonly secret: string },
  call: ApiCall & { readonly method: string; readonly route: string },
): Promise<Response> {
  const claims = call.claims === undefined ? { provider_id: call.provider ?? randomUUID() } : call.claims
  const headers: Record<string, string> = {}
  if (claims !== null) headers['authorization'] = await signedBearer({ ...claims }, at.secret)
  return fetch(`${call.at ?? at.url}${call.route}`, {
    method: call.method,
    headers,
    ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    signal: AbortSignal.timeout(CALL_MS),
  })
}

/** One answer as a browser gets it, before it follows a redirect. */
export interface Step {
  readonly status: number
  readonly headers: Headers
  readonly location: URL | null
  readonly text: string
}

/** A browser that goes one step at a time; it keeps the cookies of every origin it met. */
export class Person {
  readonly #jar = new Map<string, Map<string, string>>()
  /** Goes wherever `from` points as if it were `to`: a load balancer between two instances. */
  routes = new Map<string, string>()

  async go(url: string | URL, accept = 'text/html', form?: URLSearchParams): Promise<Step> {
    const target = new URL(url)
    const at = this.routes.get(target.origin)
    const response = await fetch(at === undefined ? target : new URL(target.pathname + target.search, at), {
      redirect: 'manual',
      ...(form === undefined ? {} : { method: 'POST', body: form }),
      headers: {
        accept,
        cookie: [...this.cookiesOf(target)].map(([name, value]) => `${name}=${value}`).join('; '),
        ...(form === undefined ? {} : FORM_HEADERS),
      },
      signal: AbortSignal.timeout(CALL_MS),
    })
    for (const line of response.headers.getSetCookie()) {
      const [pair = ''] = line.split(';')
      this.cookiesOf(target).set(pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1))
    }
    const location = response.headers.get('location')
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      location: location === null ? null : new URL(location, target),
      text,
    }
  }

  /** The cookies of an origin, to look at or to lose. */
  cookiesOf(url: URL): Map<string, string> {
    const own = this.#jar.get(url.origin) ?? new Map<string, string>()
    this.#jar.set(url.origin, own)
    return own
  }

  /** Presses the button of a page; a page without one is the answer itself. */
  async press(page: Step, accept = 'text/html'): Promise<Step> {
    const form = formOn(page)
    return form === null ? page : this.go(form.action, accept, form.fields)
  }

  /** Follows a link and presses its button. */
  async follow(link: string | URL): Promise<Step> {
    return this.press(await this.go(link))
  }

  /**
   * Follows a link as far as the vendor's consent page.
   * Throws when the ingress does not send us there.
   */
  async toConsent(link: string): Promise<URL> {
    const step = await this.follow(link)
    if (step.location === null) throw new Error(`no redirect to consent: ${step.status} ${step.text}`)
    return step.location
  }

  /** Answers the consent page as this account. @returns where the vendor sends the browser. */
  async consent(page: URL, email: string, answer: 'grant' | 'deny' | 'partial' = 'grant'): Promise<URL> {
    const answered = new URL(page)
    answered.searchParams.set('login_hint', email)
    answered.searchParams.set('simulate', answer)
    const step = await this.go(answered)
    if (step.location === null)
      throw new Error(`the vendor did not send us back: ${step.status} ${step.text}`)
    return step.location
  }

  /** The whole way from a link to the page at the end. */
  async connect(link: string, email: string): Promise<Step> {
    return this.go(await this.consent(await this.toConsent(link), email))
  }
}

/** What browsers say of a form whose page tells no referrer. */
const FORM_HEADERS = { origin: 'null', 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'navigate' }

/** The form of a page: where it goes and what it sends; null when there is none. */
export function formOn({ text }: Step): { readonly action: string; readonly fields: URLSearchParams } | null {
  const [, action = '', inside = ''] = /<form method="post" action="([^"]*)">(.*?)<\/form>/s.exec(text) ?? []
  if (action === '') return null
  const fields = new URLSearchParams()
  for (const [, name = '', value = ''] of inside.matchAll(
    /<input type="hidden" name="([^"]*)" value="([^"]*)">/g,
  ))
    fields.append(name, value)
  return { action, fields }
}

/** The target of a link on a page, by its words; null when there is none. */
export function actionOn({ text }: Step, label: string): string | null {
  for (const [, href = '', words = ''] of text.matchAll(/<a href="([^"]*)">([^<]*)<\/a>/g))
    if (words.startsWith(label)) return unescape(href)
  return null
}
