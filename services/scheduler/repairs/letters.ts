// One batch of dead letters on their way back: their bytes are read first, since no transaction is
// open over a call to Kafka. Invariant: the message, the mark of the letter and the place of the
// repair are one transaction, in which the place is still the one that was read.
import { TOPICS } from '#schemas/topics.ts'
import type { InboundRecord } from '#shared/kafka/broker.ts'
import { readRecords } from '#shared/kafka/read-records.ts'
import { replayOf } from '#shared/kafka/replay.ts'
import { connectionId, isUuid, shardOf } from '#shared/domain/ids.ts'
import type { OutboxMessage } from '#shared/messages/message.ts'
import { metrics } from '#shared/process/metrics.ts'
import { step } from '#shared/process/step.ts'
import type { Queryable } from '#shared/store/database.ts'
import { claimReplays } from '#shared/store/dead-letters.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import { nextLetters, type LetterMatch } from '#shared/store/repair-matches.ts'
import { lockRepair, saveProgress, type Repair } from '#shared/store/repairs.ts'
import type { BatchEnd, RepairDeps } from './parts.ts'

/** Of one reading: a group of its own is made for it, so few large ones cost least. */
const BATCH_MAX = 200
/** Fewer than a batch are read once so much of the rate has been saved up. */
const BURST_SECONDS = 10

interface Batch {
  readonly letters: readonly LetterMatch[]
  readonly records: ReadonlyMap<string, InboundRecord>
  readonly reached: string | null
  readonly isEnd: boolean
}

/** Does one batch. Throws Failure `store/*` or `kafka/*`: nothing was done. */
export async function stepLetters(deps: RepairDeps, repair: Repair): Promise<BatchEnd> {
  const due = await deps.db.transaction((tx) => lockRepair(tx, repair.id, BURST_SECONDS))
  if (due === null) return 'over'
  const limit = Math.min(BATCH_MAX, Math.max(1, Math.floor(repair.ratePerS * BURST_SECONDS)))
  if (due.allowed < limit) return 'paced'
  const { reached } = due
  const letters = await nextLetters(deps.db, repair.filter, reached, limit)
  const places = letters.map(({ partition, offset }) => ({ topic: TOPICS.deadLetter, partition, offset }))
  const found = await readRecords(deps.kafka, places)
  const records = new Map(found.map((record) => [`${record.partition}/${record.offset}`, record]))
  const batch = { letters, records, reached, isEnd: letters.length < limit }
  const outcome = await deps.db.transaction((tx) => putBack(tx, repair, batch))
  if (outcome === null) return 'over'
  for (const [name, count] of Object.entries(outcome))
    if (count > 0) metrics.repaired.add(count, { kind: repair.kind, outcome: name })
  return batch.isEnd ? 'over' : 'more'
}

async function putBack(
  tx: Queryable,
  repair: Repair,
  { letters, records, reached, isEnd }: Batch,
): Promise<{ readonly done: number; readonly failed: number } | null> {
  const taken = await lockRepair(tx, repair.id, BURST_SECONDS)
  // Another scheduler has gone on, or an operator has ended it.
  if (taken === null || taken.reached !== reached) return null
  const judged = letters.map((letter) => ({ letter, ...judge(letter, records.get(letter.id), repair) }))
  const back = judged.filter(({ message }) => message !== null)
  const claimed = await claimReplays(
    tx,
    back.map(({ letter }) => letter),
  )
  const messages = back.flatMap(({ letter, message }) =>
    message !== null && claimed.has(letter.id) ? [message] : [],
  )
  await insertOutbox(tx, messages)
  const refused = judged.filter(({ message }) => message === null)
  const last = refused.at(-1)
  const outcome = { done: messages.length, failed: refused.length }
  const why = last ? `The dead letter ${last.letter.id} was not replayed: ${last.why}.` : null
  await saveProgress(tx, repair.id, BURST_SECONDS, {
    ...outcome,
    why,
    isEnd,
    reached: letters.at(-1)?.id ?? null,
  })
  step('scheduler.repair-before-commit')
  return outcome
}

function judge(
  letter: LetterMatch,
  record: InboundRecord | undefined,
  { filter }: Repair,
): { readonly message: OutboxMessage | null; readonly why: string } {
  const replay = replayOf(letter, record, { anyway: filter.anyway === true })
  if (replay.record === null) return { message: null, why: replay.why }
  const { key } = replay.record
  const message = { ...replay.record, shard: isUuid(key) ? shardOf(connectionId(key)) : 0 }
  if (!isStorable(message))
    return {
      message: null,
      why: 'a NUL in its key or headers cannot be stored; calstream dead-letters replay puts it back',
    }
  return { message, why: '' }
}

/** Postgres' text has no NUL. */
function isStorable({ key, headers }: OutboxMessage): boolean {
  return ![key, ...Object.keys(headers), ...Object.values(headers)].some((text) => text.includes('\0'))
}
