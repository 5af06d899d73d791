// What readers of the topics were told, compared with the rows of Postgres while it is read: only
// what the stream knows better is kept in memory.
import { TOPICS } from '#schemas/topics.ts'
import {
  calendarId,
  connectionId,
  isUuid,
  type CalendarId,
  type ConnectionId,
  type EventId,
} from '#shared/domain/ids.ts'
import type { InboundRecord } from '#shared/kafka/broker.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { readToEnd, type WholeTopics } from '#shared/kafka/read-to-end.ts'
import type { Queryable } from '#shared/store/database.ts'
import { readSequences, waitingStatusIds } from '#shared/store/restore.ts'

/** The last word of the stream about an event that Postgres has not, or under a smaller number. */
export interface ToldEvent {
  readonly connectionId: ConnectionId
  readonly calendarId: CalendarId
  readonly eventId: EventId
  readonly sequence: number
  /** The record of calendar.event.state; null: it was removed. */
  readonly value: Buffer | null
}

export interface Told {
  /** The greatest number of each connection in the topics. */
  readonly greatest: ReadonlyMap<ConnectionId, number>
  /** By connection. */
  readonly ahead: ReadonlyMap<ConnectionId, readonly ToldEvent[]>
  /** The last record about each connection. */
  readonly status: ReadonlyMap<ConnectionId, Buffer>
  /** Ids of messages about connections that wait in the outbox and are in the topic already. */
  readonly publishedAgain: readonly string[]
  readonly records: number
}

/** Records of one look-up in Postgres. */
const CHUNK = 1_000

interface Telling {
  readonly kafka: KafkaConfig
  readonly db: Queryable
  readonly isStill: boolean
  readonly progress?: WholeTopics['progress']
}

/**
 * Reads the topics of events and connections to their ends. `isStill`: no service runs. Throws
 * Failure `kafka/*` or `store/*`.
 */
export async function readTold(
  { kafka, db, isStill, progress }: Telling,
  signal: AbortSignal,
): Promise<Told> {
  const greatest = new Map<ConnectionId, number>()
  const ahead = new Map<string, ToldEvent>()
  const status = new Map<ConnectionId, Buffer>()
  const waiting = new Set(await waitingStatusIds(db))
  const publishedAgain: string[] = []
  let count = 0
  const topics = [TOPICS.eventChanged, TOPICS.eventState, TOPICS.connectionChanged]
  const received = async (records: readonly InboundRecord[]): Promise<void> => {
    count += records.length
    const [first] = records
    if (first?.topic === TOPICS.connectionChanged) {
      for (const { key, value, headers } of records) {
        const id = headers.get('ce_id') ?? ''
        if (waiting.has(id)) publishedAgain.push(id)
        if (key !== null && value !== null) status.set(connectionId(key.toString('utf8')), value)
      }
      return
    }
    const numbered = records.flatMap((record) => placeOf(record) ?? [])
    for (const { connectionId: connection, sequence } of numbered)
      greatest.set(connection, Math.max(sequence, greatest.get(connection) ?? 0))
    const states = numbered.filter((one): one is ToldEvent => 'eventId' in one)
    for (let from = 0; from < states.length; from += CHUNK)
      await keepAhead(db, ahead, states.slice(from, from + CHUNK))
  }
  await readToEnd(kafka, { topics, isStill, received, progress }, signal)
  const byConnection = Map.groupBy(ahead.values(), (one) => one.connectionId)
  return { greatest, ahead: byConnection, status, publishedAgain, records: count }
}

/**
 * Of a record of the events' topics: whose number it carries, and of which event it is the state;
 * null for a record that is none of ours.
 */
export function placeOf({
  topic,
  key,
  value,
  headers,
}: Pick<InboundRecord, 'topic' | 'key' | 'value' | 'headers'>):
  | ToldEvent
  | Pick<ToldEvent, 'connectionId' | 'sequence'>
  | null {
  const sequence = Number(headers.get('ce_sequence') ?? Number.NaN)
  const [connection = '', calendar = '', event = ''] = (key?.toString('utf8') ?? '').split('/')
  if (!Number.isSafeInteger(sequence) || !isUuid(connection)) return null
  const numbered = { connectionId: connectionId(connection), sequence }
  if (topic !== TOPICS.eventState || !isUuid(calendar) || !isUuid(event)) return numbered
  return { ...numbered, calendarId: calendarId(calendar), eventId: event.toLowerCase() as EventId, value }
}

async function keepAhead(
  db: Queryable,
  ahead: Map<string, ToldEvent>,
  states: readonly ToldEvent[],
): Promise<void> {
  const stored = await readSequences(
    db,
    states.map(({ eventId }) => eventId),
  )
  for (const state of states) {
    const row = stored.get(state.eventId)
    const known = ahead.get(state.eventId)
    // A batch that came twice ends with what it ended with before.
    if (known !== undefined && known.sequence > state.sequence) continue
    if (row === undefined ? state.value !== null : state.sequence > row) ahead.set(state.eventId, state)
    else ahead.delete(state.eventId)
  }
}
