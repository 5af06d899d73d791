// Reads the dead-letter topic into the table that people search. Invariants: an offset is committed
// after its row is; a dead letter that the table does not take is left out, with a line in the log,
// and keeps no other back.
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import { connectionId, isUuid, type VendorName } from '#shared/domain/ids.ts'
import type { InboundRecord } from '#shared/kafka/broker.ts'
import {
  type Intake,
  type IntakeDeps,
  type OpenConsumer,
  openIntake,
  type Receipt,
} from '#shared/kafka/intake.ts'
import { startLoop } from '#shared/process/loop.ts'
import { writeApart } from '#shared/process/put-aside.ts'
import type { Queryable } from '#shared/store/database.ts'
import { indexDeadLetters, type DeadLetterEntry } from '#shared/store/dead-letters.ts'

const AT_ONCE = 500
/** Dead letters wait in the topic, not here. */
const WAITING_MAX = 5000
const EVERY_MS = 500

interface Letter {
  readonly entry: DeadLetterEntry
  readonly receipt: Receipt
}

/** Indexes dead letters as they come, twice a second. What was not indexed is tried again. */
export function openDeadLetterIndex(
  open: OpenConsumer,
  deps: IntakeDeps & { readonly db: Queryable },
): AsyncDisposable & Pick<Intake, 'crashed' | 'facts'> {
  const { db, logger } = deps
  let waiting: Letter[] = []
  const intake = openIntake<DeadLetterEntry>(open, {
    ...deps,
    owner: "the dead-letter index's",
    groupId: GROUPS.deadLetterIndex,
    topics: [TOPICS.deadLetter],
    isolation: 'read-committed',
    capacity: { per: 'topic', max: WAITING_MAX, resumeBelow: WAITING_MAX / 2 },
    read: async (record) => ({ kind: 'message', message: entryOf(record) }),
    accept: ({ message: entry, receipt }) => void waiting.push({ entry, receipt }),
    lost() {
      waiting = waiting.filter(({ receipt }) => receipt.isOurs())
    },
  })

  async function write(): Promise<number> {
    const letters = new Set(waiting.slice(0, AT_ONCE))
    if (letters.size === 0) return EVERY_MS
    const entries = [...letters].map(({ entry }) => entry)
    const aside = await writeApart('dead-letter', entries, (group) => indexDeadLetters(db, group))
    for (const { item, error } of aside) {
      const at = { partition: item.partition, offset: String(item.offset) }
      logger.error({ err: error, ...at }, 'a dead letter cannot be indexed; it stays in its topic')
    }
    for (const { receipt } of letters) receipt.done()
    waiting = waiting.filter((letter) => !letters.has(letter))
    return waiting.length > 0 ? 0 : EVERY_MS
  }

  const loop = startLoop('the dead-letter index', write, logger)
  return {
    crashed: intake.crashed,
    facts: () => intake.facts(),
    async [Symbol.asyncDispose]() {
      await loop[Symbol.asyncDispose]()
      await intake[Symbol.asyncDispose]()
    },
  }
}

/** What a dead letter's headers say. What is missing or unreadable is left empty. */
function entryOf(record: InboundRecord): DeadLetterEntry {
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

/** Postgres' text has no NUL; no code or topic is longer (Kafka's names have 249 characters). */
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
