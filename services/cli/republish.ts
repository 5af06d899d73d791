// `calstream republish`: tells every stored event again, after the topics were lost. Invariant:
// what is told again takes the way of every change (outbox, relay) under the connection's lock and
// with new numbers, so readers that deduplicate take it, in order with what is told meanwhile.
import { setTimeout as delay } from 'node:timers/promises'
import { TOPICS } from '#schemas/topics.ts'
import type { CalendarEvent } from '#shared/domain/event.ts'
import { SHARDS, type ConnectionId, type EventId } from '#shared/domain/ids.ts'
import { openCodec, type Codec } from '#shared/kafka/codec.ts'
import { eventsChanged } from '#shared/messages/event-changed.ts'
import { sentBy } from '#shared/messages/message.ts'
import { UserError } from '#shared/process/user-error.ts'
import type { Database, Queryable } from '#shared/store/database.ts'
import { lockConnection, type LockedConnection } from '#shared/store/disconnect.ts'
import { readAllEvents } from '#shared/store/events-read.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import { outboxBacklog } from '#shared/store/relay.ts'
import { advanceVersion, countStored, readVersions, saveSequences } from '#shared/store/restore.ts'
import { cliLogger, openDatabaseOf, registryOf } from './open.ts'
import { uuidOf } from './options.ts'
import type { Output } from './output.ts'
import { progressOf } from './progress.ts'

export interface RepublishOptions {
  readonly connection?: string
}

const OPEN_MAX_MS = 10_000
/** Rows of one transaction: the lock of a connection is held for some ms, and units wait for it. */
const CHUNK = 250
const PAGE = 500
/** More is not put into the outbox before the relay has taken some of it. */
const BACKLOG_MAX = 20_000
const BACKLOG_LOOK_MS = 500
const BACKLOG_PATIENCE_MS = 60_000
const ALL_SHARDS = Array.from({ length: SHARDS }, (_, shard) => shard)

/**
 * Puts the state of all events, or of one connection's, into the outbox; services may run. Prints
 * how many. Throws UserError for a connection that is not there and when the relay does not take
 * what is put there, Failure `store/*` or `registry/*`. Stopped or repeated, it tells some events
 * twice, which harms no reader.
 */
export async function republish(
  options: RepublishOptions,
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const only =
    options.connection === undefined ? null : (uuidOf('--connection', options.connection) as ConnectionId)
  await using db = openDatabaseOf(env, cliLogger(), 'migrate')
  const topics = [TOPICS.eventChanged, TOPICS.eventState]
  const codec = await openCodec({ ...registryOf(env), topics }, AbortSignal.timeout(OPEN_MAX_MS))
  output.object(await republishAll({ db, codec }, only, output))
  output.line(
    'The relay publishes them. What was removed since a reader looked last cannot be published again: a reader drops what it still has and did not get now.',
  )
}

async function republishAll(
  parts: Parts,
  only: ConnectionId | null,
  output: Output,
): Promise<{ readonly connections: number; readonly events: number }> {
  const total = await countStored(parts.db, 'events', only)
  using progress = progressOf(output, 'event')
  let connections = 0
  let events = 0
  for await (const connection of only === null ? everyConnection(parts.db) : [only]) {
    const before = events
    const told = await republishConnection(parts, connection, (page) => progress.at(before + page, total))
    if (told === null && only !== null)
      throw new UserError(`There is no connection ${only}. List them: calstream connections list.`)
    connections += 1
    events += told ?? 0
  }
  return { connections, events }
}

async function* everyConnection(db: Queryable): AsyncGenerator<ConnectionId> {
  for (let after: ConnectionId | null = null; ;) {
    const page: Awaited<ReturnType<typeof readVersions>> = await readVersions(db, after, PAGE)
    for (const { connectionId } of page) yield connectionId
    after = page.at(-1)?.connectionId ?? null
    if (page.length < PAGE) return
  }
}

interface Parts {
  readonly db: Database
  readonly codec: Codec
}

/** @returns how many events were told; null when there is no such connection. */
async function republishConnection(
  parts: Parts,
  id: ConnectionId,
  done: (told: number) => void,
): Promise<number | null> {
  let told = 0
  for (let after: EventId | null = null; ;) {
    await untilTaken(parts.db)
    const page: Page | null = await parts.db.transaction((tx) => tellPage(tx, parts.codec, { id, after }))
    if (page === null) return null
    told += page.told
    done(told)
    after = page.last
    if (after === null) return told
  }
}

interface Page {
  readonly told: number
  /** null: it was the last page. */
  readonly last: EventId | null
}

async function tellPage(
  tx: Queryable,
  codec: Codec,
  { id, after }: { readonly id: ConnectionId; readonly after: EventId | null },
): Promise<Page | null> {
  // The lock first: no unit changes these rows between their reading and their numbers.
  const connection = await lockConnection(tx, null, id)
  if (connection === null) return null
  const rows = await readAllEvents(tx, id, after, CHUNK)
  if (rows.length === 0) return { told: 0, last: null }
  const numbered = rows.map((row, i) => ({ row, eventId: row.id, sequence: connection.version + 1 + i }))
  await advanceVersion(tx, id, rows.length)
  await saveSequences(tx, numbered)
  await insertOutbox(
    tx,
    numbered.flatMap((one) => messagesOf(connection, one, codec)),
  )
  return { told: rows.length, last: rows.length < CHUNK ? null : (rows.at(-1)?.id ?? null) }
}

type Row = Awaited<ReturnType<typeof readAllEvents>>[number]

function messagesOf(
  connection: LockedConnection,
  { row, sequence }: { readonly row: Row; readonly sequence: number },
  codec: Codec,
) {
  const { id: eventId, calendarId, vendorEventId } = row
  const change = { eventId, vendorEventId, event: eventOfRow(row), reason: null, sequence }
  const told = { calendarId, observedAt: connection.now, isIncremental: false, changes: [change] }
  return eventsChanged(connection, told, sentBy('cli', codec))
}

/** A row that was not read since answers and kinds are kept claims the least. */
function eventOfRow(row: Row): CalendarEvent {
  const {
    id: _id,
    calendarId: _calendar,
    vendorUpdatedAt,
    sequence: _sequence,
    updatedAt: _at,
    ...same
  } = row
  return {
    ...same,
    updatedAt: vendorUpdatedAt,
    response: row.response ?? 'none',
    kind: row.kind ?? 'unknown',
    showAs: row.showAs ?? 'unknown',
    visibility: row.visibility ?? 'default',
  }
}

/** Waits while the outbox is long. Throws UserError when it does not get shorter. */
async function untilTaken(db: Queryable): Promise<void> {
  let least = Infinity
  let since = performance.now()
  for (;;) {
    const { rows } = await outboxBacklog(db, ALL_SHARDS)
    if (rows < BACKLOG_MAX) return
    if (rows < least) {
      least = rows
      since = performance.now()
    }
    if (performance.now() - since > BACKLOG_PATIENCE_MS)
      throw new UserError(
        `${rows} messages wait and none was taken for ${BACKLOG_PATIENCE_MS / 1000} s. Start the relay, then repeat.`,
      )
    await delay(BACKLOG_LOOK_MS)
  }
}
