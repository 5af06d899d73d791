// `calstream tail`: the records of the stream, decoded, one line each. What is printed is people's
// calendars: it goes to who asked and to no log.
import { z } from 'zod'
import { isoOf } from '#shared/domain/instant.ts'
import type { InboundRecord } from '#shared/kafka/broker.ts'
import { openCodec, type Codec } from '#shared/kafka/codec.ts'
import { kafkaConfigOf, kafkaEnv, registryConfigOf, registryEnv } from '#shared/kafka/settings.ts'
import { readEnv } from '#shared/process/settings.ts'
import { followRecords } from '#shared/kafka/follow.ts'
import type { ConnectionChanged, EventChanged } from '#schemas/messages.gen.ts'
import { TOPICS } from '#schemas/topics.ts'
import { wordsOf } from './look.ts'
import { limitOf, uuidOf } from './options.ts'
import type { Output } from './output.ts'
import { UserError } from '#shared/process/user-error.ts'

export interface TailOptions {
  readonly topic: string
  readonly connection?: string
  readonly from: string
  readonly limit?: string
}

const FOLLOWED = {
  changed: TOPICS.eventChanged,
  state: TOPICS.eventState,
  connections: TOPICS.connectionChanged,
} as const
type Followed = (typeof FOLLOWED)[keyof typeof FOLLOWED]

const OPEN_MAX_MS = 10_000

/**
 * Prints records until Ctrl-C or the limit. Throws UserError for an option that makes no sense,
 * Failure `kafka/*` or `registry/*`.
 */
export async function tail(options: TailOptions, env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const { topic, connection, fromBeginning, limit } = askedOf(options)
  const config = readEnv(z.object({ ...kafkaEnv, ...registryEnv }), env)
  const kafka = kafkaConfigOf(config, 'calstream-tail')
  const registry = { ...registryConfigOf(config), topics: [topic] }
  const codec = await openCodec(registry, AbortSignal.timeout(OPEN_MAX_MS))
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort())
  let shown = 0
  const received = async (records: readonly InboundRecord[]): Promise<void> => {
    for (const record of records) {
      if (connection !== null && !isOf(record, connection)) continue
      if (shown >= limit || stop.signal.aborted) return
      shown += 1
      output.entry(await entryOf(codec, topic, record))
      if (shown >= limit) stop.abort()
    }
  }
  const joined = (): void => {
    if (!output.isJson) process.stderr.write(`Reading ${kafka.prefix}${topic}; Ctrl-C ends it.\n`)
  }
  await followRecords(kafka, { topic, fromBeginning, joined, received }, stop.signal)
}

function askedOf({ topic, connection, from, limit }: TailOptions) {
  const names = Object.keys(FOLLOWED)
  if (!names.includes(topic))
    throw new UserError(`--topic must be one of ${names.join(', ')}, not "${topic}".`)
  const wanted = connection === undefined ? null : uuidOf('--connection', connection)
  if (from !== 'latest' && from !== 'beginning')
    throw new UserError(`--from must be latest or beginning, not "${from}".`)
  return {
    topic: FOLLOWED[topic as keyof typeof FOLLOWED] satisfies Followed,
    connection: wanted,
    fromBeginning: from === 'beginning',
    limit: limit === undefined ? Infinity : limitOf(limit),
  }
}

/** The keys of all three topics begin with the connection's id. */
function isOf({ key }: InboundRecord, connection: string): boolean {
  return key?.toString('utf8', 0, connection.length).toLowerCase() === connection
}

interface Entry {
  readonly document: Record<string, unknown>
  readonly line: string
}

async function entryOf(codec: Codec, topic: Followed, record: InboundRecord): Promise<Entry> {
  const { partition, offset, timestampMs } = record
  const key = record.key?.toString('utf8') ?? null
  const place = {
    topic,
    partition,
    offset: String(offset),
    at: new Date(timestampMs).toISOString(),
    key,
    headers: Object.fromEntries(record.headers),
  }
  const head = `${place.at.slice(11, 19)}Z ${String(key).slice(0, 36)}`
  if (record.value === null)
    return { document: { ...place, message: null }, line: `${head} tombstone of ${key}` }
  const decoded = await codec.decode(topic, record.value).catch((error: unknown) => ({
    kind: 'unreadable' as const,
    problem: wordsOf(error),
  }))
  if (decoded.kind === 'unreadable')
    return {
      document: { ...place, unreadable: decoded.problem },
      line: `${head} unreadable: ${decoded.problem}`,
    }
  const { message } = decoded
  return {
    document: { ...place, message },
    line: `${head} ${'eventId' in message ? eventLine(message) : connectionLine(message)}`,
  }
}

function eventLine({ sequence, change, removalReason, event, vendorEventId, vendor }: EventChanged): string {
  const head = `#${sequence} ${vendor}`
  if (event === null) return `${head} ${change} (${removalReason ?? 'no reason'}) ${vendorEventId}`
  const { title, start, end, status, busy } = event
  const time = `${timeOf(start)} – ${timeOf(end)}`
  return `${head} ${change} ${title === null ? '(no title)' : JSON.stringify(title)} ${time} ${status}${busy ? '' : ', free'}`
}

function timeOf({ at, date }: { readonly at: number | null; readonly date: string | null }): string {
  return date ?? (at === null ? '?' : isoOf(at).replace(/:00\.000Z$/, 'Z'))
}

function connectionLine({ vendor, status, previousStatus, code }: ConnectionChanged): string {
  return `${vendor} ${previousStatus ?? 'new'} → ${status}${code === null ? '' : ` (${code})`}`
}
