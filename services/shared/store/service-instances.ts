// The processes of an installation, a row each, which they renew once a second. Leases and beats
// live on the unshifted clock_timestamp(): processes measure real seconds. Invariant: no statement
// here waits for another process, so that a beat is late only when Postgres is.
import { z } from 'zod'
import type { Micros } from '#shared/domain/ids.ts'
import {
  HEARTBEAT_LOST_AFTER_MS,
  type InstanceFacts,
  type ServiceInstance,
} from '#shared/domain/service-instances.ts'
import type { Queryable } from './database.ts'

/** A process beyond it is not told of; no installation has so many. */
const INSTANCES_MAX = 1_000

export interface Beat {
  readonly instance: string
  readonly service: string
  readonly version: string
  readonly host: string
  readonly pid: number
  readonly uptimeMs: number
  readonly isReady: boolean
  readonly problems: Readonly<Record<string, string>>
  readonly facts: Partial<InstanceFacts>
}

/** Says that this process lives, and how it is. Throws Failure `store/*`. */
export async function beat(db: Queryable, { facts, ...one }: Beat): Promise<void> {
  await db.query(
    `insert into service_instances as known
       (instance, service, version, host, pid, started_at, seen_at, ready, problems, facts)
     values ($1, $2, $3, $4, $5, clock_timestamp() - $6::float8 * interval '1 ms', clock_timestamp(),
       $7, $8::jsonb, $9::jsonb)
     on conflict (instance) do update set seen_at = excluded.seen_at, ready = excluded.ready,
       problems = excluded.problems, facts = excluded.facts`,
    [
      one.instance,
      one.service,
      one.version,
      one.host,
      one.pid,
      one.uptimeMs,
      one.isReady,
      JSON.stringify(one.problems),
      JSON.stringify(packed(facts)),
    ],
  )
}

/** The farewell of a process that stops as it was told to. Throws Failure `store/*`. */
export async function forgetInstance(db: Queryable, instance: string): Promise<void> {
  await db.query('delete from service_instances where instance = $1', [instance])
}

/** Forgets processes that were not seen for a day. @returns how many, at most `limit`. */
export async function deleteOldInstances(db: Queryable, limit: number): Promise<number> {
  const { rowCount } = await db.query(
    `delete from service_instances where instance = any(array(
       select instance from service_instances where seen_at < clock_timestamp() - interval '1 day' limit $1))`,
    [limit],
  )
  return rowCount
}

export interface Instances {
  /** Living and lost, by service and start. */
  readonly instances: readonly ServiceInstance[]
  /** The clock that their times are of. */
  readonly now: Micros
}

/** Every process that told of itself within a day. Throws Failure `store/*`. */
export async function readInstances(db: Queryable): Promise<Instances> {
  const { rows } = await db.query<{ now: Micros; found: readonly unknown[] }>(
    `select to_micros(clock.now) as now, coalesce((
       select jsonb_agg(one order by one.service, one."startedAt") from (
         select instance, service, version, host, pid, to_micros(started_at) as "startedAt",
           to_micros(seen_at) as "seenAt", seen_at >= clock.now - $1::float8 * interval '1 ms' as "isLive",
           ready as "isReady", problems, facts
         from service_instances order by seen_at desc limit $2) one), '[]') as found
     from (select clock_timestamp() as now) clock`,
    [HEARTBEAT_LOST_AFTER_MS, INSTANCES_MAX],
  )
  return { now: rows[0]?.now ?? 0, instances: z.array(instanceRow).parse(rows[0]?.found ?? []) }
}

/** The same without the clock. */
export async function readServiceInstances(db: Queryable): Promise<readonly ServiceInstance[]> {
  return (await readInstances(db)).instances
}

/** Partitions by topic: a list of objects would be ten times as long, once a second. */
function packed({ partitions = [], ...facts }: Partial<InstanceFacts>): object {
  const byTopic: Record<string, number[]> = {}
  for (const { topic, partition } of partitions) (byTopic[topic] ??= []).push(partition)
  return { ...facts, partitions: byTopic }
}

const at = z.number()
const place = { topic: z.string(), partition: z.number() }
/** What a later version tells in another way is left out, and the process still lives. */
const factsRow = z.object({
  partitions: z
    .record(z.string(), z.array(z.number()))
    .transform((byTopic) =>
      Object.entries(byTopic).flatMap(([topic, all]) => all.map((partition) => ({ topic, partition }))),
    )
    .catch([]),
  partitionCounts: z.record(z.string(), z.number()).catch({}),
  blocked: z.array(z.object({ ...place, offset: z.string(), since: at, problem: z.string() })).catch([]),
  breakers: z.array(z.object({ vendor: z.string(), part: z.string(), until: at })).catch([]),
  shards: z.array(z.number()).catch([]),
  jobs: z
    .array(z.object({ name: z.string(), lastRunAt: at.nullable(), problem: z.string().nullable() }))
    .catch([]),
  lastProgressAt: at.nullable().catch(null),
})

const instanceRow = z.object({
  instance: z.string(),
  service: z.string(),
  version: z.string(),
  host: z.string(),
  pid: z.number(),
  startedAt: at,
  seenAt: at,
  isLive: z.boolean(),
  isReady: z.boolean(),
  problems: z.record(z.string(), z.string()).catch({}),
  facts: factsRow,
}) satisfies z.ZodType<ServiceInstance>
