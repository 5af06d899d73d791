// A scheduler's world whose repairs run when a test says so.
import { Secret } from '#shared/process/secret.ts'
import type { RepairFilter, RepairKind } from '#shared/domain/repair.ts'
import { openDatabase, type Database } from '#shared/store/database.ts'
import { readRepair, startRepair, type Repair } from '#shared/store/repairs.ts'
import { workRepairs } from '../../services/scheduler/repairs/work.ts'
import { quiet } from './outbox.ts'
import { openSchedulerWorld, type SchedulerWorld } from './scheduler-world.ts'

const NEVER = new AbortController().signal
/** Every gate is open to everybody. */
export const OPEN = { sync: 'on', providers: null, connections: null } as const
const RUNS_MAX = 200

export interface RepairWorld extends SchedulerWorld {
  /** Whose rights every service's statements are within. */
  readonly owner: Database
  /** Opens every gate and forgets all rows. */
  clear(): Promise<void>
  ask(kind: RepairKind, filter: RepairFilter, ratePerS?: number): Promise<Repair>
  now(repair: Repair): Promise<Repair>
  /** One run of the job. */
  work(): Promise<number>
  /** Runs until it has ended, moving the clock on as it waits for its rate. */
  workOff(repair: Repair): Promise<Repair>
  rowsOf<R extends object>(sql: string, values?: readonly unknown[]): Promise<R[]>
  /** The database clock stands still, so many ms after a moment of its own. */
  stopClock(ms: number): Promise<void>
  /** `<topic> <key>` of what waits for the relay. */
  outbox(): Promise<readonly string[]>
  /** So many connections with these columns, as SQL expressions. @returns their ids. */
  many(count: number, columns?: Record<string, string>): Promise<readonly string[]>
  /** How many connections have which status. */
  statuses(): Promise<Record<string, number>>
}

export async function openRepairWorld(label: string): Promise<RepairWorld> {
  await using opened = new AsyncDisposableStack()
  const world = opened.use(await openSchedulerWorld(label))
  const { brokers, prefix } = world.kafka
  const deps = { ...world.deps, kafka: { brokers: brokers.split(','), prefix, clientId: label } }
  const url = new Secret(world.database.url())
  const owner = opened.use(openDatabase({ url, applicationName: label, poolMax: 1 }, quiet))
  const work = () => workRepairs(deps, NEVER)
  const now = async (repair: Repair) => {
    const found = await readRepair(world.deps.db, repair.id)
    if (found === null) throw new Error(`there is no repair ${repair.id}`)
    return found
  }
  async function rowsOf<R extends object>(sql: string, values: readonly unknown[] = []): Promise<R[]> {
    return (await world.db.query<R & Record<string, unknown>>(sql, [...values])).rows
  }
  const all = opened.move()
  return {
    ...world,
    owner,
    work,
    now,
    rowsOf,
    async clear() {
      world.closed.clear()
      await world.db.query('truncate repairs, outbox, dead_letters, external_calendar_connections cascade')
    },
    async ask(kind, filter, ratePerS = 1000) {
      const start = await startRepair(world.deps.db, { kind, filter, by: 'night', ratePerS }, OPEN)
      if (start.kind !== 'started') throw new Error(`not started: ${start.kind}`)
      return start.repair
    },
    async workOff(repair) {
      for (let run = 0; run < RUNS_MAX; run += 1) {
        await work()
        const after = await now(repair)
        if (after.state !== 'running') return after
        await world.advance(1000)
      }
      throw new Error('it does not end')
    },
    async stopClock(ms) {
      await world.db.query(
        `create or replace function calstream_now() returns timestamptz language sql volatile parallel safe
           as $$ select timestamptz '2026-05-04 09:00:00Z' + interval '${ms} milliseconds' $$`,
      )
    },
    async outbox() {
      const rows = await rowsOf<{ line: string }>(
        `select topic || ' ' || key as line from outbox order by id`,
      )
      return rows.map(({ line }) => line)
    },
    async many(count, columns = {}) {
      const given = { provider_id: 'gen_random_uuid()', vendor: `'google'`, ...columns }
      const rows = await rowsOf<{ id: string }>(
        `insert into external_calendar_connections (vendor_account_id, ${Object.keys(given).join()})
         select gen_random_uuid()::text, ${Object.values(given).join()} from generate_series(1, ${count}) returning id`,
      )
      return rows.map(({ id }) => id)
    },
    async statuses() {
      const rows = await rowsOf<{ status: string; n: number }>(
        'select status, count(*)::int as n from external_calendar_connections group by 1',
      )
      return Object.fromEntries(rows.map(({ status, n }) => [status, n]))
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}
