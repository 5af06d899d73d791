// The KafkaJS client as we configure it, and its log lines in ours. What its errors mean is in
// trouble.ts. Nothing outside this room sees a name of the library.
import path from 'node:path'
import { Kafka, type logCreator, logLevel, type LogEntry, type RetryOptions } from 'kafkajs'
import { Failure } from '#shared/domain/failure.ts'
import { keepRefusals } from './coordinator-refusals.ts'
import { RefusalBackoff } from './refusal-backoff.ts'
import { saslOf } from './sasl.ts'
import { NO_SECURITY, type KafkaSecurity } from './security.ts'
import { socketFactoryOf } from './socket.ts'
import type { Logger } from '#shared/process/log.ts'

export interface KafkaConfig {
  /** `host:port` each. */
  readonly brokers: readonly string[]
  /** Goes before topics, groups and transactional ids. */
  readonly prefix: string
  readonly clientId: string
  /** In clear and without a login when absent. */
  readonly security?: KafkaSecurity
}

/**
 * A broker that answers nothing (frozen, cut off) is given up after this; requests that may wait
 * longer (JoinGroup) have limits of their own.
 */
const REQUEST_TIMEOUT_MS = 5_000
const CONNECTION_TIMEOUT_MS = 2_000
/**
 * A login is repeated so long before the broker ends its session (`connections.max.reauth.ms`):
 * longer than a request lasts, and far below any limit in use. A broker takes one login a second at
 * most, so a limit below this is no use.
 */
const LOG_IN_AGAIN_BEFORE_MS = 5_000
const LOG_INTERVAL_MS = 10_000
const LOG_KEYS_MAX = 200

/**
 * A client of its own for every producer and consumer: KafkaJS keeps committed offsets per client
 * and group, so two consumers of one client would read each other's positions. Without a logger it
 * is silent (a probe reports by its answer).
 */
export function createClient(
  config: KafkaConfig,
  retry: RetryOptions,
  logger: Logger | null,
  requestTimeoutMs = REQUEST_TIMEOUT_MS,
): Kafka {
  quietenNegativeTimeouts()
  keepRefusals()
  const security = config.security ?? NO_SECURITY
  return new Kafka({
    clientId: config.clientId,
    brokers: [...config.brokers],
    socketFactory: socketFactoryOf(security, backoffOf(security)),
    ...(security.login === null ? {} : { sasl: saslOf(security.login) }),
    reauthenticationThreshold: LOG_IN_AGAIN_BEFORE_MS,
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    requestTimeout: requestTimeoutMs,
    enforceRequestTimeout: true,
    retry: { ...retry },
    ...(logger === null
      ? { logLevel: logLevel.NOTHING }
      : { logLevel: logLevel.WARN, logCreator: logCreatorFor(logger) }),
  })
}

/** One for all clients with the same settings: a refusal of one is a refusal of all. */
const backoffs = new WeakMap<KafkaSecurity, RefusalBackoff>()

function backoffOf(security: KafkaSecurity): RefusalBackoff {
  const backoff = backoffs.get(security) ?? new RefusalBackoff()
  backoffs.set(security, backoff)
  return backoff
}

/**
 * Promise, or Failure `kafka/unavailable` after `milliseconds`; the loser is left to end alone.
 */
export async function settledWithin<T>(work: Promise<T>, milliseconds: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new Failure('kafka/unavailable', `Kafka did not ${what} within ${spanOf(milliseconds)}.`))
    }, milliseconds)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
    // Its end after the deadline has no reader, but must not count as an unhandled rejection.
    work.catch(() => {})
  }
}

/** Rounded: what is left of a limit comes with ten decimals. */
function spanOf(milliseconds: number): string {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${Math.round(milliseconds / 100) / 10} s`
}

/**
 * KafkaJS says ERROR whenever a broker is away, which is no fault of ours and heals: its errors
 * become warnings, its warnings information, the rest is dropped. One line of a kind per 10 s, with
 * the number of those left out.
 */
function logCreatorFor(logger: Logger): logCreator {
  let kinds = kindsOf.get(logger)
  if (!kinds) kindsOf.set(logger, (kinds = new Map()))
  return () =>
    ({ namespace, level, log }: LogEntry) => {
      if (log.message.startsWith(LIMITED_RETRIES)) return
      const kind = `${namespace} ${log.message.replaceAll(/\d+/g, '#')}`
      const now = performance.now()
      const seen = kinds.get(kind) ?? { nextAt: 0, dropped: 0 }
      if (kinds.size >= LOG_KEYS_MAX) kinds.clear()
      kinds.set(kind, seen)
      if (now < seen.nextAt) {
        seen.dropped += 1
        return
      }
      const fields = {
        kafkajs: namespace,
        ...detailsOf(log),
        ...(seen.dropped > 0 ? { same_lines_left_out: seen.dropped } : {}),
      }
      if (level === logLevel.ERROR) logger.warn(fields, `Kafka client: ${log.message}`)
      else logger.info(fields, `Kafka client: ${log.message}`)
      seen.nextAt = now + LOG_INTERVAL_MS
      seen.dropped = 0
    }
}

/**
 * Said at each opening of a transactional producer.
 * Ours ends the transaction, and itself, when its retries run out.
 */
const LIMITED_RETRIES = 'Limiting retries for the idempotent producer'

/** By logger, not by client: an outage makes a new client every few seconds. */
const kindsOf = new WeakMap<Logger, Map<string, { nextAt: number; dropped: number }>>()

/** Only fields that never hold message data. */
function detailsOf(log: LogEntry['log']): Record<string, unknown> {
  const details: Record<string, unknown> = {}
  for (const name of ['broker', 'groupId', 'error', 'retryCount', 'retryTime', 'topic', 'partition']) {
    const value: unknown = log[name]
    if (typeof value === 'string' || typeof value === 'number') details[name] = value
  }
  return details
}

/** The one file of KafkaJS that arms it, as it stands in a stack. */
const KAFKAJS_TIMER = path.join('kafkajs', 'src', 'network', 'requestQueue')
let quietened = false

/**
 * KafkaJS 2.2.4 arms a timer with a negative time for every client
 * (https://github.com/tulios/kafkajs/issues/1751), about which Node ≥ 24 warns. Harmless (it fires
 * after 1 ms): the warnings that come from there, and only those, are swallowed.
 */
function quietenNegativeTimeouts(): void {
  if (quietened) return
  quietened = true
  const original = process.emitWarning.bind(process)
  const filtered = (warning: string | Error, ...rest: unknown[]): void => {
    if (rest[0] === 'TimeoutNegativeWarning' && new Error('where').stack?.includes(KAFKAJS_TIMER)) return
    Reflect.apply(original, process, [warning, ...rest])
  }
  process.emitWarning = filtered
}
