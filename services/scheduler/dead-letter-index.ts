// Reads the dead-letter topic into the table that people search. Invariants: an offset is committed
// after its row is; a dead letter that the table does not take is left out, with a line in the log,
// and keeps no other back.
import { TOPICS } from '#schemas/topics.ts'
import { connectionId, isUuid, type VendorName } from '#shared/domain/ids.ts'
import type { Batch, Consumer, ConsumerHandlers, InboundRecord } from '#shared/kafka/broker.ts'
import { createOffsetLedger } from '#shared/kafka/offset-ledger.ts'
import type { Logger } from '#shared/process/log.ts'
import type { Queryable } from '#shared/store/database.ts'
import { writeApart } from '#shared/process/put-aside.ts'
import { indexDeadLetters, type DeadLetterEntry } from '#shared/store/dead-letters.ts'

const AT_ONCE = 500
/** Dead letters wait in the topic, not here. */
const QUEUE_MAX = 5000
const EVERY_MS = 500

export interface DeadLetterIndex extends Omit<ConsumerHandlers, 'crashed'> {
  /**
   * Indexes what was received.
   * @returns ms until the next turn. Throws Failure; what was not indexed is tried again.
   */
  turn(): Promise<number>
}

export function createDeadLetterIndex(deps: {
  readonly db: Queryable
  readonly consumer: () => Pick<Consumer, 'pause' | 'resume' | 'held' | 'commit'> | null
  readonly logger: Logger
}): DeadLetterIndex {
  const ledger = createOffsetLedger()
  let queue: InboundRecord[] = []
  let paused = false

  function received(batch: Batch): void {
    // One by one: as arguments of one call a hundred thousand of them do not fit on the stack.
    for (const record of batch.records) if (ledger.add(record, record.offset)) queue.push(record)
    pauseOrResume()
  }

  function assigned(change: Parameters<ConsumerHandlers['assigned']>[0]): void {
    for (const at of change.lost) ledger.drop(at)
    queue = queue.filter((record) => ledger.holding(record) !== 0)
    paused = false
    pauseOrResume()
  }

  function pauseOrResume(): void {
    const consumer = deps.consumer()
    const full = queue.length > (paused ? QUEUE_MAX / 2 : QUEUE_MAX)
    if (!consumer || full === paused) return
    paused = full
    if (full) consumer.pause(consumer.held())
    else consumer.resume(consumer.held())
  }

  async function turn(): Promise<number> {
    const records = queue.slice(0, AT_ONCE)
    if (records.length > 0) {
      const aside = await writeApart('dead-letter', records.map(entryOf), (entries) =>
        indexDeadLetters(deps.db, entries),
      )
      for (const { item, error } of aside) {
        const at = { partition: item.partition, offset: String(item.offset) }
        deps.logger.error({ err: error, ...at }, 'a dead letter cannot be indexed; it stays in its topic')
      }
      for (const record of records) ledger.complete(record, record.offset)
      queue = queue.filter((record) => !records.includes(record))
      pauseOrResume()
    }
    const moved = ledger.movedWatermarks()
    if (moved.length > 0) {
      await deps.consumer()?.commit(moved)
      ledger.committed(moved)
    }
    return queue.length > 0 ? 0 : EVERY_MS
  }

  return { received, assigned, turn }
}

/**
 * What a dead letter's headers say; whatever is missing or unreadable is left
 * empty, never a reason to stop.
 */
export function entryOf(record: InboundRecord): DeadLetterEntry {
  const header = (name: string) => storable(record.headers.get(`dead-letter-${name}`))
  const number = (name: string): number | null => {
    const value = Number(header(name) ?? Number.NaN)
    return Number.isSafeInteger(value) ? value : null
  }
  const key = record.key?.toString('utf8').split('/', 1)[0] ?? ''
  const originOffset = number('offset')
  const originPartition = int4(number('partition'))
  const inTopic = originPartition !== null && originPartition >= 0
  const originTopic = header('topic') ?? 'unknown'
  return {
    partition: record.partition,
    offset: record.offset,
    connectionId: isUuid(key) ? connectionId(key) : null,
    vendor: VENDOR_OF_TOPIC[originTopic] ?? null,
    code: header('code') ?? 'unknown',
    attempts: int4(number('attempts')) ?? 0,
    firstFailedAt: number('first-failed-at'),
    lastFailedAt: number('last-failed-at') ?? record.timestampMs * 1000,
    originTopic,
    originPartition: inTopic ? originPartition : null,
    originOffset: inTopic && originOffset !== null ? BigInt(originOffset) : null,
  }
}

/**
 * Postgres' text holds no NUL; nobody reads a longer code or topic (Kafka's
 * names have 249 characters).
 */
function storable(text: string | undefined): string | undefined {
  return text?.replaceAll('\0', '\ufffd').slice(0, 256)
}

function int4(number: number | null): number | null {
  return number !== null && Math.abs(number) < 2 ** 31 ? number : null
}

const VENDOR_OF_TOPIC: Readonly<Record<string, VendorName>> = {
  [TOPICS.requestedGoogle]: 'google',
  [TOPICS.requestedMicrosoft]: 'microsoft',
}
