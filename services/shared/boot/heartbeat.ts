// A process says once a second that it lives, and what it has in hand (ADR 26). Invariants: it has
// a connection of its own, so that no work of the service keeps a beat waiting; it never ends the
// process and never makes it unready: a Postgres that is away is told of by those who need it.
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { z } from 'zod'
import type { InstanceFacts } from '#shared/domain/service-instances.ts'
import type { Readiness } from '#shared/process/admin.ts'
import type { Logger } from '#shared/process/log.ts'
import { atMost, startLoop } from '#shared/process/loop.ts'
import { VERSION } from '#shared/process/version.ts'
import type { Database } from '#shared/store/database.ts'
import type { Beat, beat, forgetInstance } from '#shared/store/service-instances.ts'
import type { postgresEnv } from '#shared/store/settings.ts'

/** A quarter of HEARTBEAT_LOST_AFTER_MS. */
const BEAT_EVERY_MS = 1_000
/** A look asks Kafka and Postgres by the network, so it is rarer than a beat. */
const LOOK_EVERY_MS = 2_000
/**
 * Of the ten seconds of a stop, also with a Postgres that does not answer. Without a farewell the
 * process counts as lost until another one starts.
 */
const FAREWELL_MAX_MS = 1_000
/** Of a sentence about a dependency; an error of a library may be long. */
const SENTENCE_MAX = 300

const STARTING = { start: 'it is still starting' }

export interface Heartbeat extends AsyncDisposable {
  /** What it says from now on; until then that it is starting. */
  tell(readiness: Readiness, facts: () => Partial<InstanceFacts>): void
}

type Config = z.output<z.ZodObject<typeof postgresEnv>>

/** Begins to beat at once. Disposing says farewell, unless the process ends for a failure. */
export function startHeartbeat(service: string, config: Config, logger: Logger): Heartbeat {
  const instance = randomUUID()
  const startedAt = performance.now()
  const opening = openOwn(service, config, logger)
  let readiness: Readiness = async () => new Map(Object.entries(STARTING))
  let facts: () => Partial<InstanceFacts> = () => ({})
  let seen: Pick<Beat, 'isReady' | 'problems'> | null = null

  async function look(): Promise<number> {
    const asked = readiness
    const problems = [...(await asked())].flatMap(([name, problem]) =>
      problem === null ? [] : [[name, problem.slice(0, SENTENCE_MAX)] as const],
    )
    if (asked !== readiness) return 0
    seen = { isReady: problems.length === 0, problems: Object.fromEntries(problems) }
    return LOOK_EVERY_MS
  }

  async function beatOnce(): Promise<number> {
    const { db, store } = await opening
    if (seen === null) await look()
    const who = { instance, service, version: VERSION, host: hostname(), pid: process.pid }
    const how = seen ?? { isReady: false, problems: STARTING }
    await store.beat(db, { ...who, uptimeMs: performance.now() - startedAt, ...how, facts: facts() })
    return BEAT_EVERY_MS
  }

  const looks = startLoop(`the ${service}'s look at itself`, look, logger)
  const beats = startLoop(`the ${service}'s heartbeat`, beatOnce, logger)
  return {
    tell(newReadiness, newFacts) {
      readiness = newReadiness
      facts = newFacts
      seen = null
    },
    async [Symbol.asyncDispose]() {
      await atMost(farewell(), FAREWELL_MAX_MS, undefined)
    },
  }

  async function farewell(): Promise<void> {
    await Promise.all([beats, looks].map((loop) => loop[Symbol.asyncDispose]()))
    const { db, store } = await opening
    // A process that fails leaves its row: that it is not renewed is the news.
    if (Number(process.exitCode ?? 0) === 0) await store.forgetInstance(db, instance).catch(() => undefined)
    await db[Symbol.asyncDispose]()
  }
}

interface Store {
  readonly beat: typeof beat
  readonly forgetInstance: typeof forgetInstance
}

/** The driver is loaded here, so that a process loads it once it opens something. */
async function openOwn(
  service: string,
  config: Config,
  logger: Logger,
): Promise<{ db: Database; store: Store }> {
  const { openDatabase } = await import('#shared/store/database.ts')
  const { databaseUrlOf } = await import('#shared/store/settings.ts')
  const store = await import('#shared/store/service-instances.ts')
  const options = {
    url: databaseUrlOf(config),
    applicationName: `calstream-${service}-heartbeat`,
    poolMax: 1,
  }
  return { db: openDatabase(options, logger), store }
}
