// Which connections and dead letters a repair is about. Reads only. Invariant: what is counted
// before is what the scheduler works off later, page by page in the order of the ids, so that no
// list of ids is kept and 100 000 rows are no long statement.
import { SYNC_REQUEST_TOPICS } from '#schemas/topics.ts'
import { STALE_AFTER_MS, type ConnectionStatus } from '#shared/domain/connection-facts.ts'
import type { CauseCode } from '#shared/domain/causes.ts'
import {
  connectionId,
  providerId,
  type ConnectionId,
  type ProviderId,
  type VendorName,
} from '#shared/domain/ids.ts'
import type { RepairFilter, RepairKind } from '#shared/domain/repair.ts'
import { listByCause } from './cause-counts.ts'
import type { Queryable } from './database.ts'
import { COUNTED_TO, JUDGED, type Admission } from './status.ts'

export interface RepairMatch {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly status: ConnectionStatus
}

/** Of JUDGED where the caller asks the gates of each connection itself. */
const EVERYBODY: Admission = { sync: 'on', providers: null, connections: null }

/**
 * $5 kind, $6 after this id, $7 connection, $8 provider, $9 vendor, $10 state, $11 since, $12 only
 * of these ids. What does not fit the kind is not meant: a parked connection is not synced, an
 * active one not resumed.
 */
const MATCHES = `with ${JUDGED},
  matches as (
    select c.id, c.provider_id, c.vendor, c.status
      from judged j join external_calendar_connections c on c.id = j.id
     where ($6::uuid is null or j.id > $6) and ($7::uuid is null or j.id = $7)
       and ($8::uuid is null or j.provider_id = $8) and ($9::text is null or j.vendor = $9)
       and ($10::text is null or j.state = $10) and ($12::uuid[] is null or j.id = any($12))
       and ($11::bigint is null or from_micros($11) <= coalesce(c.paused_at, c.parked_at, c.failing_since,
             (select min(k.failing_since) from external_calendars k
               where k.connection_id = c.id and k.selected and k.read_needed and k.failures > 0)))
       and case $5::text
             when 'pause' then c.paused_at is null and c.status in ('active', 'needs_reauth')
             when 'resume' then c.status <> 'disconnected' and (c.paused_at is not null or c.status = 'disabled')
             when 'probe' then c.status = 'needs_reauth' and (c.probe_at is null or c.probe_at > j.now)
             else c.status = 'active' end)`

function parametersOf(
  kind: RepairKind,
  { connection, provider, vendor, state, since }: RepairFilter,
  { admission, after, ids }: { admission: Admission; after: string | null; ids: readonly string[] | null },
): readonly unknown[] {
  const { sync, providers, connections } = admission
  const named = [connection ?? null, provider ?? null, vendor ?? null, state ?? null, since ?? null]
  return [sync, providers, connections, STALE_AFTER_MS, kind, after, ...named, ids]
}

/**
 * How many connections or dead letters a repair would work off; it stops at COUNTED_TO.
 * @param admission whom the gates let sync: a state is judged with it. Throws Failure `store/*`.
 */
export async function countMatches(
  db: Queryable,
  kind: RepairKind,
  filter: RepairFilter,
  admission: Admission,
): Promise<number> {
  if (kind === 'replay_dead_letters') return countLetters(db, filter)
  const count = async (ids: readonly string[] | null) => {
    const { rows } = await db.query<{ matches: number }>(
      `${MATCHES} select count(*)::int as matches from (select from matches limit $13) counted`,
      [...parametersOf(kind, filter, { admission, after: null, ids }), COUNTED_TO],
    )
    return rows[0]?.matches ?? 0
  }
  if (filter.cause === undefined) return count(null)
  return count(await idsOfCause(db, { admission, after: null, limit: COUNTED_TO }, filter))
}

/** By id, the first that have the cause of the filter. */
async function idsOfCause(
  db: Queryable,
  page: { readonly admission: Admission; readonly after: string | null; readonly limit: number },
  { cause, vendor, provider }: RepairFilter,
): Promise<readonly ConnectionId[]> {
  const found = await listByCause(db, page.admission, {
    cause: cause as CauseCode,
    vendor: (vendor ?? null) as VendorName | null,
    provider: provider === undefined ? null : providerId(provider),
    sinceBefore: null,
    after: page.after === null ? null : connectionId(page.after),
    limit: page.limit,
  })
  return found.map(({ id }) => id)
}

export interface MatchPage {
  readonly matches: readonly RepairMatch[]
  /** Where the next page begins once all of these are done. */
  readonly reached: string | null
  readonly isLast: boolean
}

/**
 * The next connections of a repair, at most `limit`, by id from after `after`. A state and a cause
 * are judged as if every gate were open: the caller leaves out whom a gate keeps out. Throws
 * Failure `store/*`.
 */
export async function nextMatches(
  db: Queryable,
  { kind, filter }: { readonly kind: RepairKind; readonly filter: RepairFilter },
  after: string | null,
  limit: number,
): Promise<MatchPage> {
  const page = { admission: EVERYBODY, after, limit }
  const ids = filter.cause === undefined ? null : await idsOfCause(db, page, filter)
  const { rows } = await db.query<RepairMatch>(
    `${MATCHES} select id as "connectionId", provider_id as "providerId", vendor, status from matches order by id limit $13`,
    [...parametersOf(kind, filter, { admission: EVERYBODY, after, ids }), limit],
  )
  const reached = ids === null ? rows.at(-1)?.connectionId : ids.at(-1)
  return { matches: rows, reached: reached ?? null, isLast: (ids ?? rows).length < limit }
}

export interface LetterMatch {
  /** `partition/offset`. */
  readonly id: string
  readonly partition: number
  readonly offset: bigint
  readonly code: string
  readonly originTopic: string
  readonly replayedAt: null
}

/**
 * $1 topics that take a record back, $2 connection, $3 provider, $4 vendor, $5 since, $6 code, $7
 * those that no reader understood too.
 */
const LETTERS = `from dead_letters d
  where d.replayed_at is null and d.origin_topic = any($1::text[])
    and ($2::uuid is null or d.connection_id = $2) and ($4::text is null or d.vendor = $4)
    and ($3::uuid is null or exists (select from external_calendar_connections c
                                      where c.id = d.connection_id and c.provider_id = $3))
    and ($5::bigint is null or d.last_failed_at >= from_micros($5)) and ($6::text is null or d.code = $6)
    and ($7 or d.code <> 'message/unreadable')`

function letterParametersOf({ connection, provider, vendor, since, code, anyway }: RepairFilter) {
  const named = [connection ?? null, provider ?? null, vendor ?? null, since ?? null, code ?? null]
  return [SYNC_REQUEST_TOPICS, ...named, anyway === true]
}

async function countLetters(db: Queryable, filter: RepairFilter): Promise<number> {
  const { rows } = await db.query<{ matches: number }>(
    `select count(*)::int as matches from (select ${LETTERS} limit $8) counted`,
    [...letterParametersOf(filter), COUNTED_TO],
  )
  return rows[0]?.matches ?? 0
}

/**
 * The next `limit` dead letters of a repair, by partition and offset from after `after`
 * (`partition/offset`). Throws Failure `store/*`.
 */
export async function nextLetters(
  db: Queryable,
  filter: RepairFilter,
  after: string | null,
  limit: number,
): Promise<readonly LetterMatch[]> {
  const { rows } = await db.query<Omit<LetterMatch, 'offset'> & { offset: string }>(
    `select d.partition || '/' || d.topic_offset as id, d.partition, d.topic_offset::text as offset, d.code,
            d.origin_topic as "originTopic", d.replayed_at as "replayedAt"
       ${LETTERS} and ($8::text is null or (d.partition, d.topic_offset)
                         > (split_part($8, '/', 1)::int, split_part($8, '/', 2)::bigint))
      order by d.partition, d.topic_offset limit $9`,
    [...letterParametersOf(filter), after, limit],
  )
  return rows.map((row) => ({ ...row, offset: BigInt(row.offset) }))
}
