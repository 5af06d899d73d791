// docs/first-hour.md is executed: each mistake is made, and what a person then reads is what the
// page says. Each has its control: made right, there is no such message.
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { ConnectionFacts } from '#shared/domain/connection-facts.ts'
import { connectionWords } from '#shared/domain/connection-words.ts'
import { brokerProblems } from '#shared/kafka/topics.ts'
import { createLogger } from '#shared/process/log.ts'
import { unreachableAddress } from '#shared/vendors/our-addresses.ts'
import { appAccepted, clocks, keys, publicAddress, Red } from '../../services/cli/installation-checks.ts'
import { lookAtServices } from '../../services/cli/look-at-services.ts'
import { loadConfig } from '../../services/ingress/config.ts'
import { createServer as createIngressServer, listen } from '../../services/ingress/server.ts'
import { failureOf, google, json, NOW, signal } from '../support/answering-google.ts'
import { literalIngressPerTest } from '../support/literal-ingress.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const MINUTE_MS = 60_000
const KEY = Buffer.alloc(32, 7).toString('base64')
const OTHER_KEY = Buffer.alloc(32, 8).toString('base64')
const CODE = { code: 'c', codeVerifier: 'v', redirectUri: 'http://127.0.0.1:9/back' }
const GRANT = {
  token_type: 'Bearer',
  access_token: 'a',
  expires_in: 3599,
  scope: 'https://www.googleapis.com/auth/calendar.readonly',
}
const GOOGLE = { GOOGLE_CLIENT_ID: 'id', GOOGLE_CLIENT_SECRET: 'secret-of-google' }
const MICROSOFT = { MICROSOFT_CLIENT_ID: 'id', MICROSOFT_CLIENT_SECRET: 'secret-of-microsoft' }
const INGRESS = {
  KAFKA_BROKERS: '127.0.0.1:1',
  SCHEMA_REGISTRY_URL: 'http://127.0.0.1:1',
  POSTGRES_URL: 'postgres://a@127.0.0.1:1/x',
  UNLEASH_URL: 'http://127.0.0.1:1/api',
  UNLEASH_TOKEN: 'default:development.x',
  ADMIN_PORT: '0',
  CREDENTIALS_KEYS: `k1:${KEY}`,
  CHANNEL_TOKEN_KEYS: `k1:${KEY}`,
  PUBLIC_URL: 'https://calendars.example.com/',
  API_JWT_SECRET: 'a secret of at least thirty-two characters',
  ...GOOGLE,
}
const entrance = { connectionsMax: 10, connectionsPerAddressMax: 10, trustedProxies: [] }
const logger = createLogger({ service: 'test', level: 'silent' })
const nobody = async () => []

const startIngress = literalIngressPerTest()
const open: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of open.splice(0)) await close()
})

/** A server at a free port of this machine. */
async function serve(answer: (response: ServerResponse, path: string) => void): Promise<string> {
  const server = createServer((request, response) => answer(response, request.url ?? ''))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push(async () => {
    server.close().closeAllConnections()
    await once(server, 'close')
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** What a check of doctor prints: what it found, and what to do. Null when all is well. */
async function redOf(check: Promise<unknown>): Promise<string | null> {
  return check.then(
    () => null,
    (error: unknown) => {
      if (!(error instanceof Red)) throw error
      return `${error.message} – ${error.remedy}`
    },
  )
}

async function problemOf(work: () => unknown): Promise<string | null> {
  try {
    await work()
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

const publicUrl = (url: string) => problemOf(() => loadConfig({ ...INGRESS, PUBLIC_URL: url }))

async function answerTo(pathname: string): Promise<string | null> {
  const { port } = await startIngress()
  const answer = await fetch(`http://127.0.0.1:${port}${pathname}`, { method: 'POST' })
  const { detail } = (await answer.json()) as { detail?: string }
  return answer.status === 404 ? (detail ?? null) : null
}

/** Entra's answer to a refresh, in its documented form. */
async function entraSays(number: number, error: string): Promise<string | null> {
  const body = { error, error_description: `AADSTS${number}: No.`, error_codes: [number] }
  const url = await serve((response) =>
    response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
  )
  return redOf(appAccepted({ ...MICROSOFT, MICROSOFT_LOGIN_URL: url, MICROSOFT_TENANT: 'x' }, 'microsoft'))
}

/** A week after a consent whose grant may have had an end. */
async function weekAfter(life: { refresh_token_expires_in?: number }): Promise<string> {
  const { vendor } = await google((response, seen) => {
    const isCode = seen.body.includes('authorization_code')
    const ended = { error: 'invalid_grant', error_description: 'Token has been expired or revoked.' }
    json(isCode ? { ...GRANT, refresh_token: 'r', ...life } : ended, isCode ? 200 : 400)(response, seen)
  })
  const { endsAt } = await vendor.exchangeCode(CODE, signal)
  const { code, message } = await failureOf(vendor.refresh('r', signal))
  const facts: ConnectionFacts = {
    status: 'needs_reauth',
    syncNeeded: false,
    connectedAt: NOW,
    lastSyncedAt: NOW,
    lastError: { code, message },
    backoffUntil: null,
    probeAt: null,
    grantEndsAt: endsAt ?? null,
    isHeld: false,
    illCalendars: [],
    illCount: 0,
    now: NOW + 8 * 86_400_000_000,
  }
  return connectionWords(facts, { state: 'on' }).next_step
}

/** Two services as processes, each with its own keys, as `doctor` sees them. */
async function keysOf(ingress: string, sync: string): Promise<string | null> {
  const [first, second] = await Promise.all([adminOf('ingress', ingress), adminOf('sync', sync)])
  const looks = await lookAtServices({ ADMIN_URL_INGRESS: first, ADMIN_URL_SYNC: second })
  expect(looks.map(({ keys: told }) => told.length > 0)).toEqual([true, true, false, false, false])
  return redOf(keys(async () => looks))
}

async function adminOf(name: string, text: string): Promise<string> {
  const script = `
    import { z } from 'zod'
    import { openService } from '#shared/boot/open-service.ts'
    import { kafkaEnv } from '#shared/kafka/settings.ts'
    import { adminEnv, readEnv } from '#shared/process/settings.ts'
    import { credentialsEnv } from '#shared/store/settings.ts'
    const schema = z.object({ ...kafkaEnv, ...adminEnv, ...credentialsEnv })
    const service = openService('${name}', readEnv(schema, process.env), AbortSignal.timeout(60_000))
    console.log(await service.admin({}))`
  const child: ChildProcess = spawn(process.execPath, ['--input-type=module-typescript', '--eval', script], {
    cwd: ROOT,
    env: { KAFKA_BROKERS: '127.0.0.1:1', ADMIN_PORT: '0', LOG_LEVEL: 'silent', CREDENTIALS_KEYS: text },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  open.push(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
  })
  const [port] = (await once(child.stdout!, 'data')) as [Buffer]
  return `http://127.0.0.1:${String(port).trim()}`
}

async function clockAhead(minutes: number): Promise<string | null> {
  const url = await serve((response) => {
    response.setHeader('date', new Date(Date.now() - minutes * MINUTE_MS).toUTCString())
    response.writeHead(401).end()
  })
  return redOf(clocks({ ...GOOGLE, GOOGLE_API_URL: url }, nobody))
}

async function listenTwice(isSecondElsewhere: boolean): Promise<string | null> {
  const [first, second] = [createIngressServer(entrance, logger), createIngressServer(entrance, logger)]
  open.push(
    () => first.close(),
    () => second.close(),
  )
  await listen(first, { host: '127.0.0.1', port: 0 })
  const { port } = first.server.address() as AddressInfo
  return problemOf(() => listen(second, { host: '127.0.0.1', port: isSecondElsewhere ? 0 : port }))
}

const BROKER = new Map([
  ['transaction.state.log.replication.factor', '3'],
  ['transaction.state.log.min.isr', '2'],
  ['offsets.topic.replication.factor', '1'],
])

async function bootstrapUnder(version: string, platform: string): Promise<string> {
  const versions = JSON.stringify({ ...process.versions, node: version })
  const pretend = `Object.defineProperty(process, 'versions', { value: ${versions} });
    Object.defineProperty(process, 'platform', { value: '${platform}' })`
  const args = ['--import', `data:text/javascript,${encodeURIComponent(pretend)}`]
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [...args, 'infra/dev/bootstrap.mjs', 'services/cli/main.ts', '--version'],
      { cwd: ROOT },
      (_error, stdout, stderr) => resolve(`${stdout}${stderr}`.trim()),
    )
  })
}

async function consented(grant: object): Promise<string | null> {
  const { vendor } = await google(json({ ...GRANT, ...grant }))
  return problemOf(() => vendor.exchangeCode(CODE, signal))
}

async function askedAtPublicUrl(url: string): Promise<string | null> {
  return redOf(publicAddress({ ...GOOGLE, GOOGLE_API_URL: 'http://127.0.0.1:1', PUBLIC_URL: url }))
}

/** Nobody listens there any more. */
async function closedUrl(): Promise<string> {
  const url = await serve(() => {})
  await open.pop()?.()
  return url
}

const VERSION = (JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { version: string })
  .version
const REAL = ['https://www.googleapis.com']
const CALLBACK = '/api/webhooks/calendar/google'

interface Mistake {
  /** What a person reads. */
  readonly made: () => Promise<string | null>
  /** The same done right. */
  readonly control: () => Promise<string | null>
  /** What is read then; null unless told otherwise. */
  readonly right?: string
}

const MISTAKES: Readonly<Record<string, Mistake>> = {
  'The public address begins with http://': {
    made: () => publicUrl('http://calendars.example.com'),
    control: () => publicUrl('https://calendars.example.com'),
  },
  'The public address leads to this machine': {
    made: () => redOf(publicAddress({ ...GOOGLE, PUBLIC_URL: 'http://localhost:8080' })),
    control: async () => unreachableAddress('https://calendars.example.com', REAL),
  },
  'A slash too many': { made: () => answerTo(`${CALLBACK}/`), control: () => answerTo(CALLBACK) },
  'The wrong tenant': {
    made: () => entraSays(90002, 'invalid_request'),
    control: () => entraSays(9002313, 'invalid_grant'),
  },
  'A Google project in testing': {
    made: () => weekAfter({ refresh_token_expires_in: 604_799 }),
    control: () => weekAfter({}),
    right:
      'The person has to connect the account again: ask for a connect link with this connection_id and show it to them.',
  },
  'A key that one service lacks': {
    made: () => keysOf(`k2:${OTHER_KEY},k1:${KEY}`, `k1:${KEY}`),
    control: () => keysOf(`k2:${OTHER_KEY},k1:${KEY}`, `k1:${KEY},k2:${OTHER_KEY}`),
  },
  'A clock that is off': { made: () => clockAhead(12), control: () => clockAhead(1) },
  'A port that is taken': { made: () => listenTwice(false), control: () => listenTwice(true) },
  'Three replicas on one broker': {
    made: async () => brokerProblems(1, new Set(), BROKER).join('\n'),
    control: async () => brokerProblems(3, new Set(), BROKER).join('\n'),
    right: '',
  },
  'An old Node': {
    made: () => bootstrapUnder('18.20.0', 'sunos'),
    control: () => bootstrapUnder('24.12.0', 'sunos'),
    right: VERSION,
  },
  'No offline access': { made: () => consented({}), control: () => consented({ refresh_token: 'r' }) },
  'A webhook address that nothing reaches': {
    made: async () => askedAtPublicUrl(await closedUrl()),
    control: async () => askedAtPublicUrl(`http://127.0.0.1:${(await startIngress()).port}`),
  },
}

const PAGE = readFileSync(path.join(ROOT, 'docs/first-hour.md'), 'utf8')
const rows = [...PAGE.matchAll(/^\| (.+?) \| (`.+`) \| (.+) \|$/gm)].map(
  ([, mistake = '', message = '']) => ({
    mistake,
    // Several pieces of code are several columns of what doctor prints.
    message: [...message.matchAll(/`([^`]+)`/g)].map(([, text = '']) => text).join(' – '),
  }),
)

/** The message of the page, where … stands for any text. */
function pattern(message: string): RegExp {
  return new RegExp(
    message
      .split('…')
      .map((text) => RegExp.escape(text))
      .join('[^]*'),
  )
}

test('the page has twelve mistakes, and each is one that is made here', () => {
  expect(rows).toHaveLength(12)
  expect(rows.map(({ mistake }) => mistake)).toEqual(Object.keys(MISTAKES))
})

describe.each(rows)('$mistake', ({ mistake, message }) => {
  test('ends in the message of the page', async () => {
    expect(await MISTAKES[mistake]?.made()).toMatch(pattern(message))
  })

  test('made right, ends in none (control)', async () => {
    const { control, right = null } = MISTAKES[mistake] ?? {}
    expect(await control?.()).toBe(right)
  })
})
