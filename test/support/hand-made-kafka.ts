// Kafka as one member of a group sees it, played by a test: it hands records over, takes commits
// and pauses, and can be away or refuse.
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type {
  ConsumerOptions,
  InboundRecord,
  OutboundRecord,
  Producer,
  TopicPartition,
} from '#shared/kafka/broker.ts'
import type { OpenConsumer } from '#shared/kafka/intake.ts'

export class HandMadeKafka {
  readonly topic: string
  owned: readonly TopicPartition[]
  /** What is thrown by every send. */
  trouble: FailureCode | null = null
  readonly sent: OutboundRecord[] = []
  /** The next offset to read, by partition. */
  readonly committed = new Map<number, bigint>()
  /** Commits are refused. */
  takesCommits = true
  readonly paused = new Set<string>()
  /** Commits and the farewell, in their order. */
  readonly calls: string[] = []
  /** What the consumer was opened with. */
  options: ConsumerOptions | undefined

  constructor(topic: string, partitions = 1) {
    this.topic = topic
    this.owned = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }))
  }

  readonly producer: Pick<Producer, 'send'> = {
    send: async (records) => {
      if (this.trouble !== null) throw new Failure(this.trouble)
      this.sent.push(...records)
    },
  }

  readonly open: OpenConsumer = (options) => {
    this.options = options
    return {
      owned: () => this.owned,
      commit: async (offsets) => {
        if (!this.takesCommits) throw new Failure('kafka/unavailable')
        for (const { partition, next } of offsets) this.committed.set(partition, next)
        this.calls.push('commit')
      },
      pause: (of) => of.forEach((at) => this.paused.add(nameOf(at))),
      resume: (of) => of.forEach((at) => this.paused.delete(nameOf(at))),
      lastAcknowledgedAt: () => 7,
      [Symbol.asyncDispose]: async () => {
        this.calls.push('leave')
      },
    }
  }

  record(offset: number, value: string | null = '{}', partition = 0): InboundRecord {
    return {
      topic: this.topic,
      partition,
      offset: BigInt(offset),
      timestampMs: 0,
      key: Buffer.from('0197a000-0000-7000-8000-00000000000c'),
      value: value === null ? null : Buffer.from(value),
      headers: new Map(),
    }
  }

  deliver(...records: readonly InboundRecord[]): void {
    const { topic, partition } = records[0] ?? { topic: this.topic, partition: 0 }
    const next = (records.at(-1)?.offset ?? -1n) + 1n
    this.options?.handlers.received({ topic, partition, assignment: 1, records, next })
  }

  /** A join after which all but these partitions are owned; what is lost may be among them. */
  join({
    lost = [],
    owned = this.owned,
  }: {
    lost?: readonly TopicPartition[]
    owned?: readonly TopicPartition[]
  }): void {
    const kept = this.owned.filter((at) => !lost.includes(at))
    this.owned = owned
    for (const at of lost) this.paused.delete(nameOf(at))
    this.options?.handlers.assigned({ assignment: 2, owned, lost, kept })
  }
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}

/** A value that is JSON, or the word `poison`, or the word `away`: what a codec would say of it. */
export async function readJson(value: Buffer | null) {
  const text = value?.toString() ?? 'poison'
  if (text === 'away') throw new Failure('registry/unavailable')
  if (text === 'poison') return { kind: 'unreadable', problem: 'it is poison' } as const
  const message: Readonly<Record<string, unknown>> = JSON.parse(text)
  return { kind: 'message', message } as const
}
