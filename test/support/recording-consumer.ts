// A consumer of the port that writes down what it is told, in order: joins and records.
// For tests of the port itself.
import type {
  Batch,
  Consumer,
  ConsumerHandlers,
  ConsumerOptions,
  InboundRecord,
} from '#shared/kafka/broker.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { openConsumer } from '#shared/kafka/open.ts'
import { createLogger, type Logger } from '#shared/process/log.ts'
import { eventually } from './eventually.ts'

type Assigned = Parameters<ConsumerHandlers['assigned']>[0]

export interface Recording extends AsyncDisposable {
  readonly consumer: Consumer
  readonly joins: Assigned[]
  /** Each batch with the number of joins that had been told when it came. */
  readonly batches: { readonly batch: Batch; readonly joinsBefore: number }[]
  readonly crashes: unknown[]
  records(): readonly InboundRecord[]
  values(): readonly string[]
  /** Resolves when the condition holds; fails the test after `withinMs`. */
  until(condition: () => boolean, withinMs?: number): Promise<void>
}

export interface RecordingOptions extends Partial<Pick<ConsumerOptions, 'isolation'>> {
  readonly groupId: string
  readonly topics: readonly string[]
  /** Called inside `assigned`, after the join was written down. */
  readonly onAssigned?: (change: Assigned, consumer: Consumer) => void
  /** Called inside `received`, after the batch was written down. */
  readonly onBatch?: (batch: Batch, consumer: Consumer) => void
  readonly logger?: Logger
}

export async function record(config: KafkaConfig, options: RecordingOptions): Promise<Recording> {
  const joins: Assigned[] = []
  const batches: Recording['batches'] = []
  const crashes: unknown[] = []
  const consumer = openConsumer(
    config,
    {
      groupId: options.groupId,
      topics: options.topics,
      isolation: options.isolation ?? 'read-committed',
      handlers: {
        assigned: (change) => {
          joins.push(change)
          options.onAssigned?.(change, consumer)
        },
        received: (batch) => {
          batches.push({ batch, joinsBefore: joins.length })
          options.onBatch?.(batch, consumer)
        },
        crashed: (error) => void crashes.push(error),
      },
    },
    options.logger ?? silent(),
  )
  const records = (): readonly InboundRecord[] => batches.flatMap(({ batch }) => batch.records)
  return {
    consumer,
    joins,
    batches,
    crashes,
    records,
    values: () => records().map(({ value }) => value?.toString() ?? '(none)'),
    until: async (condition, withinMs) => {
      await eventually(condition.toString(), condition, withinMs)
    },
    [Symbol.asyncDispose]: () => consumer[Symbol.asyncDispose](),
  }
}

export function silent(): Logger {
  return createLogger({ service: 'test', level: 'silent' })
}

export interface LogLine {
  readonly level: string
  readonly msg: string
  readonly time: string
  /** The part of KafkaJS that said it, for its own lines. */
  readonly kafkajs?: string
  readonly err?: { readonly code?: string }
}

/** A logger whose lines can be read back. */
export function loggerTo(lines: LogLine[]): Logger {
  return createLogger({
    service: 'test',
    level: 'debug',
    destination: { write: (line) => void lines.push(JSON.parse(line) as LogLine) },
  })
}
