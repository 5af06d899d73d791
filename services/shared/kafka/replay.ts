// A dead letter on its way back: the record as it was, with its own bytes, key and headers. Pure.
// Only sync requests go back: a change record of an ordered stream must not overtake.
import { SYNC_REQUEST_TOPICS } from '#schemas/topics.ts'
import type { FailureCode } from '#shared/domain/failure.ts'
import type { InboundRecord, OutboundRecord } from './broker.ts'

/** What no reader understood comes back as another dead letter until a reader is changed. */
const UNREADABLE: FailureCode = 'message/unreadable'

/** What the index knows of a dead letter. */
interface Letter {
  /** `partition/offset`. */
  readonly id: string
  readonly originTopic: string
  readonly code: string
  readonly replayedAt: Date | null
}

interface How {
  /** One that came back already too. */
  readonly force?: boolean
  /** One that no reader understood too. */
  readonly anyway?: boolean
}

/** `isDone`: there is nothing left to do. */
export type Replay =
  | { readonly record: OutboundRecord }
  | { readonly record: null; readonly why: string; readonly isDone: boolean }

/**
 * The record to put back, or why not.
 * @param record what the dead-letter topic has at this place; undefined when it keeps it no more.
 */
export function replayOf(letter: Letter, record: InboundRecord | undefined, how: How): Replay {
  if (letter.replayedAt !== null && how.force !== true) {
    const at = letter.replayedAt.toISOString()
    return { record: null, why: `came back already at ${at}; --force puts it back again`, isDone: true }
  }
  if (!record) return { record: null, why: 'its bytes are older than what the topic keeps', isDone: false }
  const why = refusal(letter, record, how)
  if (why !== null) return { record: null, why, isDone: false }
  const own = [...record.headers].filter(([name]) => !name.startsWith('dead-letter-'))
  return {
    record: {
      topic: letter.originTopic,
      key: record.key?.toString('utf8') ?? '',
      value: record.value,
      headers: { ...Object.fromEntries(own), 'replayed-dead-letter': letter.id },
    },
  }
}

function refusal(letter: Letter, record: InboundRecord, { anyway }: How): string | null {
  if (!SYNC_REQUEST_TOPICS.includes(letter.originTopic))
    return 'it is no sync request: publishing it again would break the order of its stream'
  if (record.headers.has('dead-letter-key')) return 'its key is no text'
  if (letter.code === UNREADABLE && anyway !== true)
    return 'no reader understood it, so it would come back as another dead letter: dismiss it, or --anyway once its reader can'
  return null
}
