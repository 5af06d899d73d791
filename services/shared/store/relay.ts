// The relay's view of the outbox and of the shard leases. The relay role reads and deletes
// messages and cannot change one. Leases live on the unshifted clock_timestamp(): their
// holders measure real seconds.
import type { Micros } from '#shared/domain/ids.ts'
import type { OutboxMessage } from '#shared/messages/message.ts'
import type { Database, Queryable } from './database.ts'

export interface OutboxRow extends Omit<OutboxMessage, 'shard'> {
  readonly id: number
  /** Size on the wire, estimated upwards. */
  readonly bytes: number
  readonly createdAt: number
}

/**
 * The first rows of a shard in id order. There is no watermark: rows of different connections
 * commit out of id order, so a reader of `id > last` loses some. Within a connection ids follow
 * commit order, because every writer takes the connection's row lock first.
 * @param limit.rows at most this many rows.
 * @param limit.bytes the last row returned is the one that reaches this size,
 * so one row may exceed it.
 * @returns rows with `createdAt` in µs since 1970. Throws Failure `store/*`.
 */
export async function readOutbox(
  db: Queryable,
  shard: number,
  limit: { readonly rows: number; readonly bytes: number },
): Promise<readonly OutboxRow[]> {
  const { rows } = await db.query<OutboxRow>(
    `select id, topic, key, value, headers, bytes, "createdAt" from (
       select *, sum(bytes) over (order by id) - bytes as before from (
         select id, topic, key, value, headers, to_micros(created_at) as "createdAt",
           coalesce(octet_length(value), 0) + octet_length(key) + octet_length(headers::text) + 32 as bytes
         from outbox where shard = $1 order by id limit $2) first_rows) sized
     where before < $3 order by id`,
    [shard, limit.rows, limit.bytes],
  )
  return rows
}

/** Deletes published rows; one that is gone already was published by a successor too. */
export async function deleteOutbox(db: Queryable, ids: readonly number[]): Promise<void> {
  await db.query('delete from outbox where id = any($1::bigint[])', [ids])
}

/**
 * Which of the shards have rows: one cheap statement for all of them,
 * so an idle relay costs one round trip per poll.
 */
export async function shardsWithRows(db: Queryable, shards: readonly number[]): Promise<readonly number[]> {
  const { rows } = await db.query<{ shard: number }>(
    `select shard from unnest($1::smallint[]) as owned (shard)
     where exists (select from outbox where outbox.shard = owned.shard)`,
    [shards],
  )
  return rows.map((row) => row.shard)
}

/**
 * Rows that wait in the shards (counted to 100 000) and the age in seconds of the oldest of them.
 */
export async function outboxBacklog(
  db: Queryable,
  shards: readonly number[],
): Promise<{ readonly rows: number; readonly oldestSeconds: number }> {
  const { rows } = await db.query<{ rows: number; oldest: number | null }>(
    `select
       (select count(*)::int from (select from outbox where shard = any($1::smallint[]) limit 100000) counted) as rows,
       (select extract(epoch from calstream_now() - min(first.created_at))::float8
          from unnest($1::smallint[]) as owned (shard),
          lateral (select created_at from outbox where outbox.shard = owned.shard order by id limit 1) first) as oldest`,
    [shards],
  )
  return { rows: rows[0]?.rows ?? 0, oldestSeconds: Math.max(0, rows[0]?.oldest ?? 0) }
}

export interface ShardLease {
  readonly shard: number
  /** Grows with every take-over. */
  readonly epoch: number
}

interface ShardTenure {
  readonly owned: readonly ShardLease[]
  /** Every relay that is alive, this one included, in a fixed order. */
  readonly members: readonly string[]
}

/**
 * Says that this relay is alive and renews what it holds, expired or not, as long as no other took
 * it. Throws Failure `store/*`.
 */
export async function renewShards(db: Database, owner: string, leaseMs: number): Promise<ShardTenure> {
  return db.transaction(async (tx) => {
    await tx.query(
      `insert into relay_members (owner, live_until) values ($1, clock_timestamp() + $2 * interval '1 ms')
       on conflict (owner) do update set live_until = excluded.live_until`,
      [owner, leaseMs],
    )
    const owned = await tx.query<ShardLease>(
      `update relay_shards set leased_until = clock_timestamp() + $2 * interval '1 ms'
       where owner = $1 returning shard, epoch`,
      [owner, leaseMs],
    )
    const members = await tx.query<{ owner: string }>(
      'select owner from relay_members where live_until > clock_timestamp() order by owner',
    )
    return { owned: owned.rows, members: members.rows.map((row) => row.owner) }
  })
}

/** Takes up to `count` shards whose lease ran out or was given back. */
export async function takeShards(
  db: Queryable,
  owner: string,
  count: number,
  leaseMs: number,
): Promise<readonly (ShardLease & { readonly previousOwner: string | null })[]> {
  const { rows } = await db.query<ShardLease & { previousOwner: string | null }>(
    `with free as (
       select shard, owner from relay_shards where leased_until < clock_timestamp()
       order by shard limit $2 for update skip locked)
     update relay_shards taken
     set owner = $1, epoch = taken.epoch + 1, leased_until = clock_timestamp() + $3 * interval '1 ms'
     from free where free.shard = taken.shard
     returning taken.shard, taken.epoch, free.owner as "previousOwner"`,
    [owner, count, leaseMs],
  )
  return rows
}

/** The shards that no relay holds, with the moment at which the last lease ran out, if one did. */
export async function unrelayedShards(
  db: Queryable,
): Promise<readonly { readonly shard: number; readonly since: Micros | null }[]> {
  const { rows } = await db.query<{ shard: number; since: Micros | null }>(
    `select shard, case when isfinite(leased_until) then to_micros(leased_until) end as since
       from relay_shards where owner is null or leased_until < clock_timestamp()
      order by leased_until, shard`,
  )
  return rows
}

/** Whether this relay still holds the lease that it took at this epoch. */
export async function holdsShard(db: Queryable, owner: string, lease: ShardLease): Promise<boolean> {
  const { rowCount } = await db.query(
    'select from relay_shards where shard = $1 and epoch = $2 and owner = $3 and leased_until > clock_timestamp()',
    [lease.shard, lease.epoch, owner],
  )
  return rowCount > 0
}

/**
 * Gives a shard back, so that it is taken at once; a lease that is no longer ours stays as it is.
 */
export async function releaseShard(db: Queryable, owner: string, lease: ShardLease): Promise<void> {
  await db.query(
    `update relay_shards set owner = null, leased_until = '-infinity' where shard = $1 and epoch = $2 and owner = $3`,
    [lease.shard, lease.epoch, owner],
  )
}

/** Strikes this relay from the living, and with it those that died more than a minute ago. */
export async function leaveRelays(db: Queryable, owner: string): Promise<void> {
  await db.query(
    `delete from relay_members where owner = $1 or live_until < clock_timestamp() - interval '1 minute'`,
    [owner],
  )
}
