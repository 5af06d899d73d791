// `calstream dead-letters list|show|replay|dismiss`: what was given up, and putting it back.
// Invariants: what is replayed goes back to its topic with its own bytes and headers; it is marked
// after Kafka has it, so that a crash in between replays it twice and never not at all, and a sync
// request that comes twice costs one short transaction. Only sync requests go back: a change record
// of a shard must not overtake.
import type { OutboundRecord } from '#shared/kafka/broker.ts'
import { readRecords } from '#shared/kafka/read-records.ts'
import { openProducer } from '#shared/kafka/open.ts'
import type { Database } from '#shared/store/database.ts'
import {
  type DeadLetterFilter,
  type DeadLetterRow,
  forgetDeadLetters,
  listDeadLetters,
  markReplayed,
} from '#shared/store/dead-letters.ts'
import { replayOf } from '#shared/kafka/replay.ts'
import { TOPICS } from '#schemas/topics.ts'
import { cliLogger, kafkaOf, openDatabaseOf } from './open.ts'
import { limitOf, uuidOf } from './options.ts'
import type { Output } from './output.ts'
import { UserError } from '#shared/process/user-error.ts'

const FILTERS = ['code', 'vendor', 'topic', 'connection'] as const
/** Of one run; the command may be repeated. */
const REPLAY_MAX = 1000
const BYTES_SHOWN = 2048

export interface DeadLetterOptions {
  /** `name=value` each, of code, vendor, topic, connection. */
  readonly filter?: readonly string[]
  /** Those that came back already too. */
  readonly all?: boolean
}

export interface ReplayOptions extends DeadLetterOptions {
  readonly dryRun?: boolean
  /** Those that came back already too. */
  readonly force?: boolean
  /** Those that no reader understood too. */
  readonly anyway?: boolean
}

/**
 * Prints the index, oldest first. Throws UserError for a filter that makes no
 * sense, Failure `store/*`.
 */
export async function listLetters(
  options: DeadLetterOptions & { readonly limit: string },
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const limit = limitOf(options.limit, 100_000)
  await using database = openDatabaseOf(env, cliLogger())
  const rows = await listDeadLetters(database, filterOf(options, null), limit)
  output.rows(
    rows.map(({ offset: _offset, partition: _partition, ...row }) => row),
    'No dead letters.',
  )
}

/**
 * Prints one dead letter with its headers and bytes. Throws UserError when it is not there.
 */
export async function showLetter(id: string, env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  await using database = openDatabaseOf(env, cliLogger())
  const [row] = await listDeadLetters(database, filterOf({ all: true }, [placeOf(id)]), 1)
  if (!row)
    throw new UserError(`There is no dead letter ${id}. List them: calstream dead-letters list --all.`)
  const [record] = await readRecords(kafkaOf(env), [placeIn(row)])
  if (!record)
    throw new UserError(
      `The dead letter ${id} is older than what its topic keeps: its bytes are gone. Take it off the index: calstream dead-letters dismiss ${id}.`,
    )
  const { offset: _offset, partition: _partition, ...index } = row
  const value = record.value?.subarray(0, BYTES_SHOWN) ?? null
  output.object({
    ...index,
    key: record.key?.toString('utf8') ?? null,
    bytes: record.value?.length ?? 0,
    value_base64: value?.toString('base64') ?? null,
    headers: Object.fromEntries(record.headers),
  })
}

/**
 * Puts dead letters back into their topics: those named, or those that a filter picks. One
 * that came back already is left alone unless `force`, one that no reader understood unless
 * `anyway`. Throws UserError for one that is not there, when nothing is picked out, or when
 * one could not be put back.
 */
export async function replayLetters(
  ids: readonly string[],
  options: ReplayOptions,
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  if (ids.length === 0 && (options.filter ?? []).length === 0 && !options.all)
    throw new UserError('Say which: ids like 3/1234, --filter code=message/unreadable, or --all.')
  await using database = openDatabaseOf(env, cliLogger())
  const named = ids.length === 0 ? null : ids.map(placeOf)
  // Those that are named are all looked at, so that each can be told of.
  const filter = filterOf({ ...options, all: options.force === true || named !== null }, named)
  const rows = await listDeadLetters(database, filter, REPLAY_MAX)
  refuseUnknown(named, rows)
  const records = new Map(
    (await readRecords(kafkaOf(env), rows.map(placeIn))).map((record) => [
      `${record.partition}/${record.offset}`,
      record,
    ]),
  )
  const judged = rows.map((row) => ({ row, replay: replayOf(row, records.get(row.id), options) }))
  const back = judged.flatMap(({ row, replay: { record } }) => (record ? [{ row, record }] : []))
  if (options.dryRun !== true) await putBack(env, database, back)
  output.rows(
    judged.map(({ row, replay }) => ({
      id: row.id,
      topic: row.originTopic,
      code: row.code,
      outcome: replay.record ? (options.dryRun ? 'would be replayed' : 'replayed') : replay.why,
    })),
    'Nothing to replay.',
  )
  if (rows.length === REPLAY_MAX)
    output.line(`These are the first ${REPLAY_MAX}; repeat the command for more.`)
  const left = judged.filter(({ replay }) => replay.record === null && !replay.isDone)
  if (left.length > 0)
    throw new UserError(
      `${left.length} of ${judged.length} cannot be replayed, as said above. What never will be: calstream dead-letters dismiss <ids>.`,
    )
}

async function putBack(
  env: NodeJS.ProcessEnv,
  database: Database,
  letters: readonly { readonly row: DeadLetterRow; readonly record: OutboundRecord }[],
): Promise<void> {
  if (letters.length === 0) return
  await using producer = await openProducer(kafkaOf(env), cliLogger())
  await producer.send(letters.map(({ record }) => record))
  await markReplayed(
    database,
    letters.map(({ row }) => row.id),
  )
}

/**
 * Takes dead letters off the index; their bytes stay in the topic.
 * Throws UserError for one that is not there.
 */
export async function dismissLetters(
  ids: readonly string[],
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const named = ids.map(placeOf)
  await using database = openDatabaseOf(env, cliLogger())
  const rows = await listDeadLetters(database, filterOf({ all: true }, named), named.length)
  refuseUnknown(named, rows)
  await forgetDeadLetters(
    database,
    rows.map(({ id }) => id),
  )
  output.rows(
    rows.map(({ id, originTopic, code }) => ({ id, topic: originTopic, code, outcome: 'dismissed' })),
  )
}

/**
 * Before anything is done: who names one that is not there has mistyped it,
 * or looks at another installation.
 */
function refuseUnknown(named: readonly string[] | null, rows: readonly DeadLetterRow[]): void {
  const unknown = (named ?? []).filter((id) => !rows.some((row) => row.id === id))
  if (unknown.length > 0)
    throw new UserError(
      `There is no dead letter ${unknown.join(', ')}. List them: calstream dead-letters list --all.`,
    )
}

function filterOf(options: DeadLetterOptions, ids: readonly string[] | null): DeadLetterFilter {
  const named = new Map<string, string>()
  for (const text of options.filter ?? []) {
    const at = text.indexOf('=')
    const name = text.slice(0, at)
    if (at < 1 || !FILTERS.some((known) => known === name))
      throw new UserError(`--filter takes name=value with the names ${FILTERS.join(', ')}, not "${text}".`)
    named.set(name, text.slice(at + 1))
  }
  const connection = named.get('connection')
  if (connection !== undefined) uuidOf('--filter connection', connection)
  return {
    code: named.get('code'),
    vendor: named.get('vendor'),
    topic: named.get('topic'),
    connection,
    replayed: options.all === true,
    ids,
  }
}

function placeOf(id: string): string {
  if (/^\d{1,6}\/\d{1,19}$/.test(id)) return id
  throw new UserError(
    `A dead letter is named by partition/offset, like 3/1234, not "${id}". List them: calstream dead-letters list.`,
  )
}

function placeIn({ partition, offset }: DeadLetterRow) {
  return { topic: TOPICS.deadLetter, partition, offset }
}
