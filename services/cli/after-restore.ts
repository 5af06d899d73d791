// `calstream after-restore`: what has to follow when Postgres was restored to an earlier moment.
// Readers drop a number that they have passed, so a restored database would publish changes that no
// reader takes. Invariants: afterwards the next number of every connection is above all that the
// topics hold; rows are what the stream told last, until a full read says more; a message that was
// published is not published again. It may be stopped and repeated at any moment.
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import { contentHash } from '#shared/domain/content-hash.ts'
import { SHARDS, transactionalIdOf, type ConnectionId, type Micros } from '#shared/domain/ids.ts'
import { openCodec, type Codec } from '#shared/kafka/codec.ts'
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { groupsWithMembers } from '#shared/kafka/members.ts'
import { openTransactionalProducer } from '#shared/kafka/open.ts'
import { eventOf, eventsChanged, type RowChange } from '#shared/messages/event-changed.ts'
import { sentBy, type Connection } from '#shared/messages/message.ts'
import { Failure } from '#shared/domain/failure.ts'
import { UserError } from '#shared/process/user-error.ts'
import type { Database, Queryable } from '#shared/store/database.ts'
import { endConnection, lockConnection, takeEvents, type LockedConnection } from '#shared/store/disconnect.ts'
import { deleteEvents, upsertEvents } from '#shared/store/events.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import {
  ageOfBackup,
  countStored,
  dropMessages,
  dropPassedMessages,
  eventsWaiting,
  isStatusWaiting,
  oweEverything,
  readVersions,
  saveSequences,
  sessionsOf,
  syncedCalendars,
} from '#shared/store/restore.ts'
import { WORKING_SERVICES } from './config.ts'
import { lookAtServices } from './look-at-services.ts'
import { cliLogger, kafkaOf, openDatabaseOf, registryOf } from './open.ts'
import type { Output } from './output.ts'
import { progressOf } from './progress.ts'
import { readTold, type Told, type ToldEvent } from './told.ts'

const OPEN_MAX_MS = 10_000
const CHUNK = 250
const PAGE = 500
/** As the relay's own: the broker refuses another one's longer time than its limit. */
const TRANSACTION_TIMEOUT_MS = 15_000
/** The whole of it; reading a week of changes is minutes. */
const WITHIN_MS = 4 * 3_600_000

/**
 * The topics keep every number for seven days (retention.ms of calendar.event.changed). Half a day
 * is for clocks and segments.
 */
const KEPT_MS = 6.5 * 86_400_000
/** More than a connection has changes in its life. */
const LEAP = 2 ** 32

interface Report {
  connections: number
  /** Whose number was behind the topics. */
  raised: number
  /** Rows that the stream knew better, and that are what it told now. */
  rows_from_the_stream: number
  /** Rows that the stream had told as removed. */
  rows_removed: number
  /** Events told as removed, because what they belong to is not there any more. */
  removals_told: number
  /** Connections that a person had disconnected since the backup. */
  disconnected_again: number
  /** Messages of the outbox that had been published already. */
  messages_dropped: number
  /** Connections that were made since the backup: their people have to connect again. */
  unknown_connections: number
  records_read: number
  /**
   * Added to every number, because the backup is older than what the topics keep: a reader that
   * counts sees a gap, and none drops what comes.
   */
  numbers_leapt: number
}

/**
 * Makes a restored database continue where the topics end. Prints what it did. Throws UserError
 * while a service runs, and Failure `kafka/*`, `store/*` or `registry/*`.
 */
export async function afterRestore(env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const signal = AbortSignal.timeout(WITHIN_MS)
  const kafka = kafkaOf(env, 'calstream-after-restore')
  await using db = openDatabaseOf(env, cliLogger(), 'migrate')
  await refuseWhileServicesRun(env, kafka, db)
  const codec = await openCodec(
    { ...registryOf(env), topics: [TOPICS.eventChanged, TOPICS.eventState, TOPICS.connectionChanged] },
    AbortSignal.timeout(OPEN_MAX_MS),
  )
  await fenceRelays(kafka)
  const told = await readTelling({ kafka, db, isStill: true }, signal, output)
  const leap = ((await ageOfBackup(db)) ?? 0) > KEPT_MS ? LEAP : 0
  output.object(await putRight({ db, codec, told, leap }, signal, output))
  output.line(
    'Start the services: every calendar is read from its beginning. Then look: calstream doctor --restored.',
  )
}

async function readTelling(
  topics: Parameters<typeof readTold>[0],
  signal: AbortSignal,
  output: Output,
): Promise<Told> {
  using progress = progressOf(output, 'record')
  return readTold({ ...topics, progress: (read, all) => progress.at(read, all) }, signal)
}

async function refuseWhileServicesRun(
  env: NodeJS.ProcessEnv,
  kafka: KafkaConfig,
  db: Queryable,
): Promise<void> {
  const [sessions, groups, looks] = await Promise.all([
    sessionsOf(
      db,
      WORKING_SERVICES.map((name) => `calstream-${name}`),
    ),
    groupsWithMembers(kafka, Object.values(GROUPS)),
    lookAtServices(env),
  ])
  const answering = looks.filter(
    ({ name, state }) => name !== 'console' && (state === 'ready' || state === 'not ready'),
  )
  const found = [
    ...sessions.map((name) => `${name} has a session of the database`),
    ...groups.map((name) => `the group ${name} has members`),
    ...answering.map(({ name, url }) => `${name} answers at ${url ?? 'its address'}`),
  ]
  if (found.length > 0)
    throw new UserError(
      `Services run: ${found.join('; ')}. Nothing was changed. Stop all of them, then repeat; one that was killed counts for half a minute.`,
    )
}

/** A relay of before that wakes up is refused by the broker, and what it left open has ended. */
async function fenceRelays(kafka: KafkaConfig): Promise<void> {
  const logger = cliLogger()
  for (let shard = 0; shard < SHARDS; shard += 1) {
    const transaction = { transactionalId: transactionalIdOf(shard), timeoutMs: TRANSACTION_TIMEOUT_MS }
    await using _fenced = await openTransactionalProducer({ ...kafka, ...transaction }, logger)
  }
}

interface Parts {
  readonly db: Database
  readonly codec: Codec
  readonly told: Told
  /** Added to every number. */
  readonly leap: number
}

async function putRight(
  { db, codec, told, leap }: Parts,
  signal: AbortSignal,
  output: Output,
): Promise<Report> {
  const total = await countStored(db, 'connections')
  using progress = progressOf(output, 'connection')
  const report: Report = {
    connections: 0,
    raised: 0,
    rows_from_the_stream: 0,
    rows_removed: 0,
    removals_told: 0,
    disconnected_again: 0,
    messages_dropped: await dropMessages(db, told.publishedAgain),
    unknown_connections: 0,
    records_read: told.records,
    numbers_leapt: leap,
  }
  const known = new Set<ConnectionId>()
  for (let after: ConnectionId | null = null; ;) {
    const page: Awaited<ReturnType<typeof readVersions>> = await readVersions(db, after, PAGE)
    for (const { connectionId } of page) {
      signal.throwIfAborted()
      known.add(connectionId)
      await db.transaction((tx) => putConnectionRight({ tx, codec, told, leap, report }, connectionId))
      progress.at(known.size, total)
    }
    after = page.at(-1)?.connectionId ?? null
    if (page.length < PAGE) break
  }
  for (const connection of told.ahead.keys()) {
    if (known.has(connection)) continue
    report.unknown_connections += 1
    await db.transaction((tx) => tellUnknownGone({ tx, codec, told, leap, report }, connection))
  }
  return report
}

interface Work extends Omit<Parts, 'db'> {
  readonly tx: Queryable
  readonly report: Report
}

async function putConnectionRight(work: Work, id: ConnectionId): Promise<void> {
  const { tx, told, leap, report } = work
  const connection = await lockConnection(tx, null, id)
  if (connection === null) return
  const greatest = told.greatest.get(id) ?? 0
  report.connections += 1
  if (greatest > connection.version) report.raised += 1
  report.messages_dropped += await dropPassedMessages(tx, id, greatest)
  const calendars = await syncedCalendars(tx, id)
  const events = await lastWords(tx, id, told)
  const gone = events.filter(({ value }) => value === null)
  report.rows_removed += (
    await deleteEvents(
      tx,
      gone.map(({ eventId }) => eventId),
    )
  ).size
  await takeOver(
    work,
    connection,
    events.filter(({ value, calendarId }) => value !== null && calendars.has(calendarId)),
    calendars,
  )
  // Of a calendar that was taken in since the backup, or of an account that came back since then.
  const strays = events.filter(({ value, calendarId }) => value !== null && !calendars.has(calendarId))
  await deleteEvents(
    tx,
    strays.map(({ eventId }) => eventId),
  )
  const version = Math.max(greatest, connection.version) + leap
  const removed = await tellRemoved(work, connection, { events: strays, after: version })
  await oweEverything(tx, id, version + removed)
  if (await isEndedSince(work, connection)) await endAgain(work, id)
}

/** What the stream told last, but for events of which something newer waits for the relay. */
async function lastWords(tx: Queryable, id: ConnectionId, told: Told): Promise<readonly ToldEvent[]> {
  const events = told.ahead.get(id) ?? []
  if (events.length === 0) return events
  const waiting = await eventsWaiting(tx, id)
  return events.filter(({ eventId }) => !waiting.has(eventId))
}

/** Rows become what the stream told last. */
async function takeOver(
  { tx, codec, report }: Work,
  connection: LockedConnection,
  events: readonly ToldEvent[],
  calendars: Awaited<ReturnType<typeof syncedCalendars>>,
): Promise<void> {
  for (const [calendarId, ofCalendar] of Map.groupBy(events, (one) => one.calendarId)) {
    const home = {
      connectionId: connection.connectionId,
      calendarId,
      generation: calendars.get(calendarId) ?? 0,
    }
    for (let from = 0; from < ofCalendar.length; from += CHUNK) {
      const chunk = ofCalendar.slice(from, from + CHUNK)
      const writes = await Promise.all(
        chunk.map(async ({ eventId, sequence, value }) => {
          const event = eventOf(await messageOf(codec, value))
          return event === null ? [] : [{ eventId, sequence, event, hash: contentHash(event) }]
        }),
      )
      await upsertEvents(tx, home, writes.flat())
      await saveSequences(tx, chunk)
      report.rows_from_the_stream += chunk.length
    }
  }
}

/** @returns how many removals were told: each has a number of its own. */
async function tellRemoved(
  { tx, codec, report }: Work,
  connection: Connection & { readonly now: Micros },
  { events, after }: { readonly events: readonly ToldEvent[]; readonly after: number },
  reason: 'calendar_removed' | 'disconnected' = 'calendar_removed',
): Promise<number> {
  for (const [i, { calendarId, eventId, value }] of events.entries()) {
    const { vendorEventId } = await messageOf(codec, value)
    const change: RowChange = { eventId, vendorEventId, event: null, reason, sequence: after + 1 + i }
    const told = { calendarId, observedAt: connection.now, isIncremental: false, changes: [change] }
    await insertOutbox(tx, eventsChanged(connection, told, sentBy('cli', codec)))
  }
  report.removals_told += events.length
  return events.length
}

/** The account was connected after the backup, so nothing but the stream knows of it. */
async function tellUnknownGone(work: Work, id: ConnectionId): Promise<void> {
  const alive = (await lastWords(work.tx, id, work.told)).filter(({ value }) => value !== null)
  const [first] = alive
  if (first === undefined) return
  const { providerId, vendor, observedAt } = await messageOf(work.codec, first.value)
  if (vendor === 'unknown') return
  const connection = { connectionId: id, providerId, vendor, now: observedAt }
  const after = (work.told.greatest.get(id) ?? 0) + work.leap
  await tellRemoved(work, connection, { events: alive, after }, 'disconnected')
}

/** Whether the last that was told of a connection is that a person disconnected it. */
async function isEndedSince({ tx, codec, told }: Work, connection: LockedConnection): Promise<boolean> {
  const last = told.status.get(connection.connectionId)
  if (last === undefined || connection.status === 'disconnected') return false
  if (await isStatusWaiting(tx, connection.connectionId)) return false
  const read = await codec.decode(TOPICS.connectionChanged, last)
  return read.kind === 'message' && read.message.status === 'disconnected'
}

async function endAgain({ tx, codec, report }: Work, id: ConnectionId): Promise<void> {
  const connection = await lockConnection(tx, null, id)
  if (connection === null) return
  let removed = 0
  for (;;) {
    const events = await takeEvents(tx, { connection: id, calendar: null }, CHUNK)
    for (const [i, { calendarId, eventId, vendorEventId }] of events.entries()) {
      const sequence = connection.version + removed + 1 + i
      const changes = [{ eventId, vendorEventId, event: null, reason: 'disconnected' as const, sequence }]
      const told = { calendarId, observedAt: connection.now, isIncremental: false, changes }
      await insertOutbox(tx, eventsChanged(connection, told, sentBy('cli', codec)))
    }
    removed += events.length
    if (events.length < CHUNK) break
  }
  report.removals_told += removed
  report.disconnected_again += 1
  await endConnection(tx, id, removed)
}

async function messageOf(codec: Codec, value: Buffer | null) {
  const read = await codec.decode(TOPICS.eventState, value)
  if (read.kind === 'message') return read.message
  throw new Failure(
    'internal/defect',
    `A record of ${TOPICS.eventState} cannot be read: ${read.problem}. Use the newest version of calstream that has run here.`,
  )
}
