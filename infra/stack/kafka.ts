// One Apache Kafka broker in KRaft mode (broker and controller in one process), in clear and
// without logins: what `npm start` and most tests stand on. kafka-cluster.ts has the secured three.
import { rmSync } from 'node:fs'
import path from 'node:path'
import { createClient } from '#shared/kafka/client.ts'
import { classArchive, endRecording, RECORD_WITHIN_MS } from './class-archive.ts'
import { Component } from './component.ts'
import type { JavaParts } from './java-parts.ts'
import { type KafkaNode, launchNode } from './kafka-node.ts'
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

/** Measured 0.3 s idle; a controlled shutdown with open clients may take seconds. */
const STOP_WITHIN_MS = 3_500

/**
 * Starts the broker; resolves when the controller answers a validate-only topic creation. Throws a
 * UserError with the end of the log.
 */
export async function startKafka(options: KafkaOptions, signal: AbortSignal): Promise<Kafka> {
  const brokers = `127.0.0.1:${options.port}`
  const node = {
    ...options,
    name: 'kafka',
    stopWithinMs: options.stopWithinMs ?? STOP_WITHIN_MS,
    brief: options.brief ?? false,
    properties: properties(options),
    probe: () => kafkaRoundTrip(brokers),
  }
  await recordClasses(node, signal)
  const component = await Component.start((stop) => launchNode(node, stop), signal)
  return Object.assign(component, { brokers })
}

/**
 * Once for a Java: by a broker that lives for a moment, at the same ports, with data of its own.
 * Every node of Kafka starts with them then.
 */
async function recordClasses(node: KafkaNode, signal: AbortSignal): Promise<void> {
  const folder = path.join(node.folder, 'recording')
  const record = async (recordsTo: string): Promise<void> => {
    try {
      const short = { ...node, folder, brief: true, stopWithinMs: RECORD_WITHIN_MS, recordsTo }
      await endRecording(await launchNode(short, signal))
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
  await classArchive(node.parts.kafkaArchive, record, signal)
}

/** One replica of everything. */
function properties({ port, controllerPort, proxied }: KafkaOptions): Readonly<Record<string, string>> {
  const more = proxied ? `,PROXIED://127.0.0.1:${proxied.port}` : ''
  const moreAdvertised = proxied ? `,PROXIED://127.0.0.1:${proxied.advertisedPort}` : ''
  return {
    'process.roles': 'broker,controller',
    'node.id': '1',
    // The voter's address is read from here at every start (not from the data, as with
    // --standalone), so ports may change.
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}${more}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}${moreAdvertised}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT',
    'default.replication.factor': '1',
    'offsets.topic.replication.factor': '1',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    // After a kill the controller keeps the old session of the only broker until it expires: 9 s
    // by default, in which nothing can be produced. 3 s still outlives a pause of the whole
    // process on a loaded machine.
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '500',
  }
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
