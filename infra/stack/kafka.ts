// One Apache Kafka broker in KRaft mode (broker and controller in one process), data
// kept in its folder. Formatting happens beside the data and is renamed into place, so
// data is either absent or whole.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createClient } from '#shared/kafka/client.ts'
import { Child, untilReady } from './child.ts'
import { Component } from './component.ts'
import type { JavaParts } from './java-parts.ts'
import { UserError } from '#shared/process/user-error.ts'
import type { ProcessLedger } from './processes.ts'

export interface KafkaOptions {
  readonly parts: JavaParts
  /** Holds data and settings; made when absent. */
  readonly folder: string
  readonly logFile: string
  readonly port: number
  readonly controllerPort: number
  /**
   * A second way in, for clients that come through a proxy: it is told to them as `advertisedPort`.
   */
  readonly proxied?: { readonly port: number; readonly advertisedPort: number }
  /** For its controlled shutdown; then it is killed. */
  readonly stopWithinMs?: number
  /** It lives for minutes: compiling for speed would cost more than that saves. */
  readonly brief?: boolean
  readonly env: NodeJS.ProcessEnv
  readonly ledger: ProcessLedger
}

export type Kafka = Component & { /** `host:port` for KAFKA_BROKERS. */ readonly brokers: string }

/** Recovery of many partitions after a kill on a loaded small machine. */
const READY_TIMEOUT_MS = 240_000
/** Measured 0.3 s idle; a controlled shutdown with open clients may take seconds. */
const STOP_WITHIN_MS = 3_500
/**
 * 22 characters of base64url are 16 bytes: any constant will do, there is one cluster per folder.
 */
const CLUSTER_ID = 'Y2Fsc3RyZWFtLWxvY2FsMQ'

/**
 * Starts the broker; resolves when the controller answers a validate-only topic creation. Throws a
 * UserError with the end of the log.
 */
export async function startKafka(options: KafkaOptions, signal: AbortSignal): Promise<Kafka> {
  const brokers = `127.0.0.1:${options.port}`
  const component = await Component.start((stop) => launch(options, brokers, stop), signal)
  return Object.assign(component, { brokers })
}

async function launch(options: KafkaOptions, brokers: string, signal: AbortSignal): Promise<Child> {
  mkdirSync(options.folder, { recursive: true })
  const data = path.join(options.folder, 'data')
  const settings = path.join(options.folder, 'server.properties')
  if (!existsSync(path.join(data, 'meta.properties'))) await format(options, data, signal)
  writeFileSync(settings, serverProperties(options, data))
  const child = await Child.start(
    {
      name: 'kafka',
      command: options.parts.java,
      args: [...javaArguments(options), 'kafka.Kafka', settings],
      env: options.env,
      cwd: options.folder,
      logFile: options.logFile,
      stopWithinMs: options.stopWithinMs ?? STOP_WITHIN_MS,
    },
    options.ledger,
  )
  try {
    const ready = { probe: () => kafkaRoundTrip(brokers), port: options.port }
    await untilReady(child, ready, READY_TIMEOUT_MS, signal)
  } catch (error) {
    await child.kill()
    throw error
  }
  return child
}

/** Of a start that takes 4.0 s of a processor, 2.5 s are left, and half of the tool's 1.5 s. */
const BRIEF = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC'] as const

function javaArguments({ parts, brief = false }: KafkaOptions): readonly string[] {
  return [
    '-Xmx384m',
    ...(brief ? BRIEF : []),
    '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
    '-Dorg.slf4j.simpleLogger.showDateTime=true',
    '-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS',
    '-cp',
    parts.kafkaClassPath,
  ]
}

/**
 * Sized for one small machine: one replica of everything, few partitions for the internal topics,
 * small buffers and segments.
 */
function serverProperties({ port, controllerPort, proxied }: KafkaOptions, data: string): string {
  const more = proxied ? `,PROXIED://127.0.0.1:${proxied.port}` : ''
  const moreAdvertised = proxied ? `,PROXIED://127.0.0.1:${proxied.advertisedPort}` : ''
  return Object.entries({
    'process.roles': 'broker,controller',
    'node.id': '1',
    // The voter's address is read from here at every start (not from the data, as with
    // --standalone), so ports may change.
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}${more}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}${moreAdvertised}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT',
    'log.dirs': data.replaceAll('\\', '/'),
    'auto.create.topics.enable': 'false',
    'default.replication.factor': '1',
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '4',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'transaction.state.log.num.partitions': '4',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    'group.initial.rebalance.delay.ms': '0',
    // After a kill the controller keeps the old session of the only broker until it expires: 9 s
    // by default, in which nothing can be produced. 3 s still outlives a pause of the whole
    // process on a loaded machine.
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '500',
    'num.network.threads': '2',
    'num.io.threads': '4',
    'log.segment.bytes': '67108864',
    'offsets.topic.segment.bytes': '16777216',
    'transaction.state.log.segment.bytes': '16777216',
    // Reserved per segment, so with some hundred partitions the default of 10 MB adds up.
    'log.index.size.max.bytes': '1048576',
    'log.retention.hours': '168',
    // The default of 128 MB would take a third of the heap.
    'log.cleaner.dedupe.buffer.size': '16777216',
  })
    .map(([key, value]) => `${key}=${value}\n`)
    .join('')
}

async function format(options: KafkaOptions, data: string, signal: AbortSignal): Promise<void> {
  const temporary = `${data}.new`
  rmSync(temporary, { recursive: true, force: true })
  rmSync(data, { recursive: true, force: true })
  const settings = path.join(options.folder, 'format.properties')
  writeFileSync(settings, serverProperties(options, temporary))
  const args = [
    ...javaArguments({ ...options, brief: true }),
    'kafka.tools.StorageTool',
    'format',
    '-t',
    CLUSTER_ID,
    '-c',
    settings,
  ]
  const tool = spawn(options.parts.java, args, {
    env: options.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  })
  let output = ''
  for (const stream of [tool.stdout, tool.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = `${output}${text}`.slice(-4_000)
    })
  const code = await new Promise<number | null>((resolve, reject) => {
    tool.once('error', reject)
    tool.once('close', resolve)
  })
  if (code !== 0) throw new UserError(`Kafka's data folder could not be prepared: ${output.trim()}`)
  renameSync(temporary, data)
}

/**
 * Metadata, controller and a validated (not executed) topic creation:
 * all that a client needs first.
 */
export async function kafkaRoundTrip(brokers: string): Promise<void> {
  const client = createClient(
    { brokers: [brokers], prefix: '', clientId: 'local-stack' },
    { retries: 0 },
    null,
  )
  const admin = client.admin()
  try {
    await admin.connect()
    const topic = { topic: 'local-stack.ready', numPartitions: 1, replicationFactor: 1 }
    await admin.createTopics({ topics: [topic], validateOnly: true, waitForLeaders: false, timeout: 2_000 })
  } finally {
    await admin.disconnect()
  }
}
