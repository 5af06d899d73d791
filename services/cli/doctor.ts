// `calstream doctor`: one line for each dependency and each service, and what to do when it is red.
// Ends with 1 if anything is.
import { z } from 'zod'
import { databaseUrlOf, postgresEnv } from '#shared/store/settings.ts'
import { readEnv, ConfigError, strangeNames } from '#shared/process/settings.ts'
import { vendorsEnv } from '#shared/vendors/settings.ts'
import { kafkaTrouble } from '#shared/kafka/open.ts'
import { createLogger } from '#shared/process/log.ts'
import { verifySchemas } from '#shared/kafka/schemas.ts'
import { verifyTopics } from '#shared/kafka/topics.ts'
import { CONSOLE_USER, isDefaultLoginOpen } from '#shared/gates/unleash-console.ts'
import { lookAtTables } from '#shared/store/migrate.ts'
import type { Canary } from '#shared/store/canaries.ts'
import { tableProblem } from '#shared/store/table-set.ts'
import { countFailures } from '#shared/store/status.ts'
import { createVendors } from '#shared/vendors/index.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import { urlOf } from './config.ts'
import { lookAtNumbers, RESTORED_MAX_MS } from './doctor-restored.ts'
import { appAccepted, clocks, keys, publicAddress, Red } from './installation-checks.ts'
import { lookAtServices, type ServiceLook } from './look-at-services.ts'
import { fetchWithin, look, lookWithin, seenOf, wordsOf, type Look } from './look.ts'
import { consoleOf, kafkaOf, openDatabaseOf, registryOf } from './open.ts'
import type { Output } from './output.ts'
import { canaryFindings, canaryWords } from './canary-report.ts'
import { readBeats } from './read-beats.ts'
import { type Beats, serviceStates } from './service-report.ts'
import { topicsEnv } from './settings.ts'
import { describeGates } from '#shared/gates/toggles.ts'
import { readToggles } from './toggles.ts'
import { LAG_MAX, LAG_REMEDY } from './status-report.ts'
import { readLag } from './status.ts'
import { troubleKindOf, type TroubleKind } from './trouble-kind.ts'
import { count, counted } from './words.ts'

interface Check {
  readonly name: string
  /** Returns what is well; throws what is not. */
  readonly look: () => Promise<string>
  /** What to do, unless what was thrown says it. */
  readonly remedy: string
  /** LIMIT_MS unless given. */
  readonly limitMs?: number
  /** What has not this setting has nothing to do with the part: a relay knows no flag server. */
  readonly needs?: string
}

interface Line {
  readonly ok: boolean
  readonly what: string
  /** Which of the four ways in which a part can keep us out; empty for anything else. */
  readonly trouble?: TroubleKind | ''
  readonly found: string
  readonly do: string
}

const REMEDIES = {
  certificate: 'trust its authority, correct the address, or renew the certificate, as it says',
  login: 'correct the user, password or token of this part, or make the user there',
  right: 'give this user the right; for Kafka: calstream acls apply',
} as const
const LIMIT_MS = 10_000
const FOUND_MAX = 300
const CLIENT_ID = 'calstream-doctor'
const NO_KAFKA = 'not known while Kafka does not answer'
/** Unleash applies the password of its settings at its first start only. */
const CONSOLE_REMEDY =
  'sign in to the console with it and change it there (Profile, Change password); setting ' +
  'UNLEASH_DEFAULT_ADMIN_PASSWORD helps new servers only'

/**
 * Runs all checks side by side, each for at most 10 s, a service's for three. With `isRestored` one
 * more that reads the topics, for at most an hour. Sets the exit code.
 */
export async function runDoctor(env: NodeJS.ProcessEnv, output: Output, isRestored = false): Promise<void> {
  const looking = look(() => lookAtServices(env))
  const beating = lookWithin(() => readBeats(env))
  const usual = checksOf(env, {
    services: async () => seenOf(await looking) ?? [],
    beats: async () => seenOf(await beating)?.beats ?? null,
    canaries: async () => seenOf(await beating)?.canaries ?? null,
  })
  const checks = isRestored ? [...usual, restoredCheck(env)] : usual
  const lines = [
    ...(await Promise.all(checks.map((check) => examine(check, env)))),
    ...serviceLines(await looking, beatsIn(await beating)),
  ]
  const shown = lines.map(({ ok, ...line }) => ({ state: ok ? '✓' : '✗', ...line }))
  output.rows(output.isJson ? lines : shown)
  if (lines.some(({ ok }) => !ok)) process.exitCode = 1
}

async function examine(check: Check, env: NodeJS.ProcessEnv): Promise<Line> {
  const { name, needs } = check
  if (needs !== undefined && !isNamed(needs, env))
    return { ok: true, what: name, found: `not looked at: ${needs} is not set here`, do: '' }
  const looked = await lookWithin(() => examineFully(check), check.limitMs ?? LIMIT_MS)
  if ('seen' in looked) return looked.seen
  return { ok: false, what: check.name, found: looked.problem, do: check.remedy }
}

/** Whether a setting is there: itself, as a file, or one service's own. */
function isNamed(setting: string, env: NodeJS.ProcessEnv): boolean {
  return Object.entries(env).some(
    ([name, value]) => (name === setting || name.startsWith(`${setting}_`)) && value !== '',
  )
}

async function examineFully(check: Check): Promise<Line> {
  try {
    return { ok: true, what: check.name, found: await check.look(), do: '' }
  } catch (error) {
    // A configuration error names its variables; the remedy for it is the message itself.
    const remedy = error instanceof ConfigError ? 'set the variables named (see .env.example)' : check.remedy
    const found = wordsOf(error).slice(0, FOUND_MAX)
    const trouble = troubleKindOf(error)
    // Starting a part helps against the network alone.
    const todo = trouble === null || trouble === 'network' ? remedy : REMEDIES[trouble]
    const line = { ok: false, what: check.name, trouble: trouble ?? '', found } as const
    return { ...line, do: error instanceof Red ? error.remedy : todo }
  }
}

/**
 * Where Postgres tells nothing of the processes, a service whose place is not set is no fault, and
 * no proof either: the line of Postgres is red then.
 */
function serviceLines(looked: Look<readonly ServiceLook[]>, beats: Look<Beats>): readonly Line[] {
  const wrong: readonly Line[] =
    'problem' in looked
      ? [{ ok: false, what: 'services', found: looked.problem, do: 'correct the setting named' }]
      : []
  const lines = serviceStates(seenOf(looked) ?? [], beats).map(({ name, state, found, do: remedy }) => {
    return { ok: state === 'ready' || state === 'unknown', what: name, found, do: remedy }
  })
  return [...wrong, ...lines]
}

/** What the processes tell, looked at once for all checks. */
interface Told {
  readonly services: () => Promise<readonly ServiceLook[]>
  readonly beats: () => Promise<Beats | null>
  readonly canaries: () => Promise<readonly Canary[] | null>
}

function beatsIn(told: Look<Awaited<ReturnType<typeof readBeats>>>): Look<Beats> {
  return 'seen' in told ? { seen: told.seen.beats } : told
}

function checksOf(env: NodeJS.ProcessEnv, told: Told): readonly Check[] {
  const broker = 'start the broker or correct KAFKA_BROKERS'
  const registry = 'start the registry or correct SCHEMA_REGISTRY_URL'
  return [
    { name: 'node', look: () => nodeVersion(), remedy: 'install Node 24.12 or newer' },
    { name: 'settings', look: () => settings(env), remedy: 'see docs/configuration.md' },
    { name: 'kafka', needs: 'KAFKA_BROKERS', look: () => kafka(env), remedy: broker },
    { name: 'topics', needs: 'KAFKA_BROKERS', look: () => topics(env), remedy: broker },
    { name: 'lag', needs: 'KAFKA_BROKERS', look: () => lag(env), remedy: broker },
    { name: 'schemas', needs: 'SCHEMA_REGISTRY_URL', look: () => schemas(env), remedy: registry },
    {
      name: 'postgres',
      needs: 'POSTGRES_URL',
      look: () => tables(env),
      remedy: 'start Postgres or correct POSTGRES_URL',
    },
    {
      name: 'flags',
      needs: 'UNLEASH_URL',
      look: () => flags(env),
      remedy: 'start Unleash, or correct UNLEASH_URL and UNLEASH_TOKEN',
    },
    {
      name: 'console',
      needs: 'UNLEASH_URL',
      look: () => consolePassword(env),
      remedy:
        'start Unleash or correct UNLEASH_URL; until it answers it is not known whether its default password works',
    },
    {
      name: 'google',
      needs: 'GOOGLE_CLIENT_ID',
      look: () => vendor(env, 'google', told),
      remedy: 'check the network path to GOOGLE_API_URL',
    },
    {
      name: 'microsoft',
      needs: 'MICROSOFT_CLIENT_ID',
      look: () => vendor(env, 'microsoft', told),
      remedy: 'check the network path to MICROSOFT_API_URL',
    },
    {
      name: 'canaries',
      needs: 'POSTGRES_URL',
      look: () => canaries(told),
      remedy: 'start Postgres or correct POSTGRES_URL',
    },
    { name: 'public url', look: () => publicAddress(env), remedy: 'correct PUBLIC_URL' },
    { name: 'keys', look: () => keys(told.services), remedy: 'compare the keys of all services' },
    { name: 'clocks', look: () => clocks(env, told.services), remedy: 'set the clocks by NTP' },
  ]
}

function restoredCheck(env: NodeJS.ProcessEnv): Check {
  return {
    name: 'restored',
    remedy: 'start Kafka and Postgres or correct their addresses',
    limitMs: RESTORED_MAX_MS,
    async look() {
      const { found, remedy } = await lookAtNumbers(env)
      if (remedy !== null) throw new Red(found, remedy)
      return found
    },
  }
}

async function nodeVersion(): Promise<string> {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major < 24 || (major === 24 && minor < 12)) throw new Error(`this is Node ${process.versions.node}`)
  return process.versions.node
}

/** What no process reads is told and no fault: it may be meant for another program. */
async function settings(env: NodeJS.ProcessEnv): Promise<string> {
  return strangeNames(env).join(' ') || 'no unknown name'
}

async function kafka(env: NodeJS.ProcessEnv): Promise<string> {
  const trouble = await kafkaTrouble(kafkaOf(env, CLIENT_ID))
  if (trouble !== null) throw trouble
  return 'answers'
}

/**
 * Topics are judged only where the broker answers: a broker that is away says nothing about them.
 */
async function topics(env: NodeJS.ProcessEnv): Promise<string> {
  const { KAFKA_PARTITIONS: partitions } = readEnv(z.object(topicsEnv), env)
  const config = { ...kafkaOf(env, CLIENT_ID), partitions }
  if ((await kafkaTrouble(config)) !== null) throw new Error(NO_KAFKA)
  const report = await verifyTopics(config, createLogger({ service: 'doctor', level: 'silent' }))
  const [problem] = report.problems
  // Each problem ends with its own remedy.
  if (problem !== undefined)
    throw new Red(problem, 'as it says; a changed partition count needs a new topic version')
  return `${report.topics.length} as they must be`
}

/** How far the groups are behind; never quite 0 where transactions leave their markers. */
async function lag(env: NodeJS.ProcessEnv): Promise<string> {
  if ((await kafkaTrouble(kafkaOf(env, CLIENT_ID))) !== null) throw new Error(NO_KAFKA)
  const behind = Object.entries(await readLag(env))
  const late = behind.filter(([, records]) => records > LAG_MAX)
  const words = (some: typeof behind) => some.map(([group, n]) => `${group} ${counted(n)}`).join(', ')
  if (late.length > 0) throw new Red(`records not worked yet: ${words(late)}`, LAG_REMEDY)
  return `records not worked yet: ${words(behind)}`
}

async function schemas(env: NodeJS.ProcessEnv): Promise<string> {
  const report = await verifySchemas(registryOf(env), AbortSignal.timeout(LIMIT_MS))
  const [problem] = report.problems
  if (problem !== undefined) throw new Red(problem, 'calstream schemas apply')
  return `${report.subjects.length} registered`
}

async function tables(env: NodeJS.ProcessEnv): Promise<string> {
  const config = readEnv(z.object(postgresEnv), urlOf('migrate', env))
  const found = await lookAtTables(databaseUrlOf(config))
  const problem = tableProblem(found)
  const remedy = found.incompatible.length > 0 ? 'use the newer version' : 'calstream migrate'
  if (problem !== null) throw new Red(problem, remedy)
  if (found.newer.length === 0) return 'tables are up to date'
  return `tables are newer than this version, which works with them: ${found.newer.join(', ')}`
}

/** A gate that is off is a decision and no fault; it is told all the same. */
async function flags(env: NodeJS.ProcessEnv): Promise<string> {
  const gates = describeGates(await readToggles(env))
  const missing = gates.filter(({ state }) => state === 'missing').map(({ gate }) => gate)
  if (missing.length > 0)
    throw new Red(`missing toggles, read as off: ${missing.join(', ')}`, 'calstream toggles apply')
  const misshapen = gates.find(({ state }) => state.startsWith('closed'))
  if (misshapen) throw new Red(`${misshapen.gate} is ${misshapen.state}`, 'see calstream allow --help')
  const said = gates.filter(({ state }) => state !== 'on').map(({ gate, state }) => `${gate} ${state}`)
  return ['answers', ...said].join('; ')
}

/** Whether the flag server's console opens with the password that every Unleash begins with. */
export async function consolePassword(env: NodeJS.ProcessEnv): Promise<string> {
  const isOpen = await isDefaultLoginOpen(consoleOf(env), AbortSignal.timeout(LIMIT_MS))
  if (!isOpen) return 'the default password is refused'
  const found = `the user ${CONSOLE_USER} has the password that every Unleash begins with: any person who reaches it turns every gate`
  throw new Red(found, CONSOLE_REMEDY)
}

/**
 * Without a token the right answer is 401: it shows that the API is there, and nothing about its
 * calls. Those tell themselves.
 */
async function vendor(env: NodeJS.ProcessEnv, name: VendorName, told: Told): Promise<string> {
  const config = readEnv(z.object(vendorsEnv), env)
  if (!createVendors(config).has(name)) return 'not configured, so not used'
  const url =
    name === 'google'
      ? new URL('/calendar/v3/users/me/calendarList', config.GOOGLE_API_URL)
      : new URL(`${config.MICROSOFT_API_URL}/v1.0/me/calendars`)
  const [answer, failures, leftAlone] = await Promise.all([
    fetchWithin(url, { limitMs: LIMIT_MS }),
    lookWithin(async () => {
      await using database = openDatabaseOf(env)
      return countFailures(database)
    }),
    vendorsLeftAlone(told),
  ])
  if (answer.status !== 401) throw new Error(`expected 401 without a token, got ${answer.status}`)
  await appAccepted(env, name)
  const failing = (seenOf(failures) ?? []).filter((one) => one.vendor === name)
  const failed = failing.map(({ code, connections }) => `${count(connections, 'connection')} with ${code}`)
  const synced = failed.length > 0 ? `; the last sync failed for ${failed.join(', ')}` : ''
  if (leftAlone.has(name)) {
    const found = `answers without a token, but its calls fail, so it is left alone for a while${synced}`
    throw new Red(found, 'it is tried again automatically; look at its status page if it stays')
  }
  return `answers${synced}`
}

/** Whether what the canaries change comes back. */
async function canaries({ canaries: read }: Told): Promise<string> {
  const found = await read()
  if (found === null) throw new Error('not known while Postgres does not answer')
  const [first, ...more] = canaryFindings(found)
  if (first === undefined) return canaryWords(found)
  throw new Red([first, ...more].map((one) => `${one.what}: ${one.found}`).join('; '), first.do)
}

async function vendorsLeftAlone({ services, beats }: Told): Promise<ReadonlySet<string>> {
  const live = ((await beats())?.instances ?? []).filter(({ isLive }) => isLive)
  return new Set([
    ...(await services()).flatMap((service) => service.vendorsLeftAlone),
    ...live.flatMap(({ facts }) => facts.breakers.map(({ vendor }) => vendor)),
  ])
}
