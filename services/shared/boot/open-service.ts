// The one opening of a process. A service opens what it needs, in its own order. What was opened
// last is closed first, also when the start fails in the middle.
// Invariant: a room is loaded only by a process that opens something of it. A relay does not pay
// in memory for the flag client.
import type { z } from 'zod'
import type { SchemaTopic } from '#schemas/topics.ts'
import type { Gates } from '#shared/domain/gates.ts'
import type { InstanceFacts } from '#shared/domain/service-instances.ts'
import { type Check, readinessOf, startAdmin } from '#shared/process/admin.ts'
import type { Clock } from '#shared/process/clock.ts'
import { keyMarks } from '#shared/process/keyring.ts'
import { createLogger, type Logger } from '#shared/process/log.ts'
import { atMost, type Loop, startLoop } from '#shared/process/loop.ts'
import { metrics } from '#shared/process/metrics.ts'
import { Secret } from '#shared/process/secret.ts'
import type { adminEnv } from '#shared/process/settings.ts'
import { startTelemetry, type Telemetry } from '#shared/process/telemetry.ts'
import type { Producer } from '#shared/kafka/broker.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import type { OpenConsumer } from '#shared/kafka/intake.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import { kafkaRoundTrip, openConsumer, openProducer, partitionCounts } from '#shared/kafka/open.ts'
import { kafkaConfigOf, type kafkaEnv, registryConfigOf, type registryEnv } from '#shared/kafka/settings.ts'
import type { unleashEnv } from '#shared/gates/settings.ts'
import type { LiveGates } from '#shared/gates/unleash.ts'
import type { Database } from '#shared/store/database.ts'
import type { credentialsEnv, postgresEnv } from '#shared/store/settings.ts'
import type { channelEnv } from '#shared/vendors/settings.ts'
import { type Heartbeat, startHeartbeat } from './heartbeat.ts'

type Settings<Env extends z.ZodRawShape> = z.output<z.ZodObject<Env>>

/** What every service reads. */
export type CommonConfig = Settings<typeof adminEnv & typeof postgresEnv>
export type WithKafka = CommonConfig & Settings<typeof kafkaEnv>
type WithGates = CommonConfig & Settings<typeof unleashEnv>
type WithRegistry = WithKafka & Settings<typeof registryEnv>

/** Below the 2 s in which /readyz answers. */
const TABLES_MAX_MS = 1_000

/** Topics get more partitions once in years. */
const COUNT_EVERY_MS = 60_000

/** What a test gives instead of the real thing. */
export interface Overrides {
  readonly gates?: Gates
  readonly clock?: Clock
}

/**
 * What is being opened; alone for a command that borrows parts of a service. The `this` of a
 * method names the settings that it reads: what has no settings does not compile.
 */
export class Opening<Config extends CommonConfig> implements AsyncDisposable {
  readonly name: string
  readonly config: Config
  readonly logger: Logger
  /** The checks that mean the same in every service. */
  readonly checks = {
    kafka: () => kafkaRoundTrip(this.kafka),
    gates: async () => this.#liveGates?.problem() ?? null,
    tables: () => this.#lookAtTables(),
    registry: async () => this.#codec?.problem() ?? null,
  } satisfies Record<string, Check>
  readonly #kafka: KafkaConfig | null
  readonly #fullName: string
  readonly #signal: AbortSignal
  readonly #opened = new AsyncDisposableStack()
  #liveGates: LiveGates | null = null
  #database: Database | null = null
  #tablesProblem: string | null = null
  #codec: Codec | null = null

  constructor(name: string, config: Config, signal: AbortSignal, level: string = config.LOG_LEVEL) {
    this.name = name
    this.config = config
    this.#fullName = `calstream-${name}`
    this.#signal = signal
    this.logger = createLogger({ service: name, level })
    this.#kafka = hasKafka(config) ? kafkaConfigOf(config, this.#fullName) : null
  }

  /** Throws in a process that has no settings of Kafka: the console. */
  get kafka(): KafkaConfig {
    if (this.#kafka === null) throw new Error('A process without settings of Kafka asked for it.')
    return this.#kafka
  }

  /** Keeps what the service opened itself; it is closed before all that was opened so far. */
  use<T extends AsyncDisposable | Disposable>(opened: T): T {
    return this.#opened.use(opened)
  }

  /** Runs `work` at the stop, before all that was opened so far is closed. */
  defer(work: () => void | Promise<void>): void {
    this.#opened.defer(work)
  }

  /** The gates of the flag server, or those that a test gives instead. */
  async gates(this: Opening<WithGates>, given?: Gates): Promise<Gates> {
    return given ?? this.liveGates()
  }

  /** The gates of the flag server, with what all of them say together. */
  async liveGates(this: Opening<WithGates>): Promise<LiveGates> {
    const { UNLEASH_URL: url, UNLEASH_TOKEN: token } = this.config
    const { openGates } = await import('#shared/gates/unleash.ts')
    const options = { url, token, caps: this.config, appName: this.#fullName }
    const gates = this.use(await openGates(options, this.logger, this.#signal))
    this.#liveGates = gates
    return gates
  }

  /** The gates of the flag server, once opened; null while a test plays them. */
  get openedGates(): LiveGates | null {
    return this.#liveGates
  }

  /**
   * A codec of the topics that it reads or writes. Without the registry it begins to work later,
   * and the service is not ready before.
   */
  async codec(this: Opening<WithRegistry>, topics: readonly SchemaTopic[]): Promise<Codec> {
    const { openLiveCodec } = await import('#shared/kafka/live-codec.ts')
    const config = { ...registryConfigOf(this.config), topics }
    const codec = this.use(await openLiveCodec(config, this.logger, this.#signal))
    this.#codec = codec
    return codec
  }

  /** A pool of at most `poolMax` connections, which are made when they are needed. */
  async database(poolMax: number): Promise<Database> {
    const { openDatabase } = await import('#shared/store/database.ts')
    const { databaseUrlOf } = await import('#shared/store/settings.ts')
    const options = { url: databaseUrlOf(this.config), applicationName: this.#fullName, poolMax }
    this.#database = this.use(openDatabase(options, this.logger))
    return this.#database
  }

  /**
   * Whether the database has the tables that this version needs. A Postgres that is away or late
   * says nothing about its tables, so what was seen last stands: other checks tell of its absence,
   * and the ingress does without it.
   */
  async #lookAtTables(): Promise<string | null> {
    const db = this.#database
    if (db === null) return null
    const { readTableSet, tableProblem } = await import('#shared/store/table-set.ts')
    const look = readTableSet(db).then((found) => {
      this.#tablesProblem = tableProblem(found)
    })
    await atMost(
      look.catch(() => undefined),
      TABLES_MAX_MS,
      undefined,
    )
    return this.#tablesProblem
  }

  async producer(): Promise<Producer> {
    return this.use(await openProducer(this.kafka, this.logger))
  }

  /** Opens the consumer of an intake, which closes it. */
  readonly consumer: OpenConsumer = (options) => openConsumer(this.kafka, options, this.logger)

  /** @param name what the loop does, as the subject of a log line: "the relay's look". */
  loop(name: string, work: (signal: AbortSignal) => Promise<number>): Loop {
    return this.use(startLoop(name, work, this.logger))
  }

  /** How many partitions these topics have, by a look a minute; empty before the first answer. */
  partitionCounts(topics: readonly string[]): () => Readonly<Record<string, number>> {
    let counts: Readonly<Record<string, number>> = {}
    this.loop('the look for partitions', async () => {
      counts = await partitionCounts(this.kafka, topics)
      return COUNT_EVERY_MS
    })
    return () => counts
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#opened.disposeAsync()
  }

  /** Hands all that was opened over to the caller, who closes it. */
  protected handOver(): AsyncDisposable {
    return this.#opened.move()
  }
}

function hasKafka(config: CommonConfig): config is WithKafka {
  return 'KAFKA_BROKERS' in config
}

/** The same with what belongs to a process of its own: telemetry, heartbeat and the admin port. */
class ServiceOpening<Config extends CommonConfig> extends Opening<Config> {
  readonly #telemetry: Telemetry
  readonly #heartbeat: Heartbeat

  constructor(name: string, config: Config, signal: AbortSignal) {
    super(name, config, signal)
    this.#telemetry = this.use(startTelemetry({ service: name, logger: this.logger }))
    // Closed last but for that: a process that drains still lives.
    this.#heartbeat = this.use(startHeartbeat(name, config, this.logger))
    tellKeys(config)
  }

  /**
   * Opens the admin port. From now on the heartbeat tells what the checks say, and `facts`.
   * @returns its number. Throws when it is taken.
   */
  async admin(
    checks: Readonly<Record<string, Check>>,
    facts: () => Partial<InstanceFacts> = () => ({}),
  ): Promise<number> {
    const { ADMIN_PORT: port, ADMIN_HOST: host } = this.config
    const readiness = readinessOf(checks)
    this.#heartbeat.tell(readiness, facts)
    const options = { port, host, readiness, telemetry: this.#telemetry, logger: this.logger }
    return this.use(await startAdmin(options)).port
  }

  /** The end of a start: `own`, and disposing of it closes all that was opened. */
  running<T extends object>(own: T): T & AsyncDisposable {
    const opened = this.handOver()
    const { logger, name } = this
    logger.info(`the ${name} service runs`)
    return {
      ...own,
      async [Symbol.asyncDispose]() {
        await opened[Symbol.asyncDispose]()
        logger.info(`the ${name} service has stopped`)
      },
    }
  }
}

const KEYRINGS = ['CREDENTIALS_KEYS', 'CHANNEL_TOKEN_KEYS'] as const satisfies readonly (
  | keyof typeof credentialsEnv
  | keyof typeof channelEnv
)[]

/** By their marks `calstream doctor` sees that two services have different keys. */
function tellKeys(config: object): void {
  const settings = new Map<string, unknown>(Object.entries(config))
  for (const ring of KEYRINGS) {
    const value = settings.get(ring)
    const marks = value instanceof Secret ? keyMarks(value) : []
    for (const [index, text] of marks.entries()) {
      const [kid = '', mark = ''] = text.split(':')
      metrics.keys.record(index === 0 ? 2 : 1, { ring, kid, mark })
    }
  }
}

/**
 * Begins the start of a service; the first line of every `service.ts`, with `await using`. Until
 * `running` a failure closes what was opened.
 * @param signal aborted when the process has to stop while it starts.
 */
export function openService<Config extends CommonConfig>(
  name: string,
  config: Config,
  signal: AbortSignal,
): ServiceOpening<Config> {
  return new ServiceOpening(name, config, signal)
}
