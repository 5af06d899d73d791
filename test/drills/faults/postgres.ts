// Faults inside the database server, made by a superuser's own sessions around the proxy.
import pg from 'pg'
import type { ActiveFault, DrillRun } from '../drill.ts'

const CONNECT_MS = 5_000

/** Whether the server answers around the proxy. */
export async function postgresIsUp({ system }: DrillRun): Promise<boolean> {
  return system.ask('select 1').then(
    () => true,
    () => false,
  )
}

/**
 * Ends sessions of the services. `inTransaction` picks those between BEGIN and COMMIT.
 * @returns how many.
 */
export async function terminateSessions(
  drill: DrillRun,
  fault: string,
  where: { readonly role?: string; readonly inTransaction?: boolean; readonly max?: number } = {},
): Promise<number> {
  let ended = 0
  const { role = 'calstream_%', inTransaction = false, max = 1_000 } = where
  await drill.strike({ fault, action: 'pg_terminate_backend', target: role }, async () => {
    const rows = await drill.system.ask<{ ended: boolean }>(
      `select pg_terminate_backend(pid) as ended from (
         select pid from pg_stat_activity where datname = current_database() and usename like $1
            and ($2 = false or xact_start is not null) order by random() limit $3) victims`,
      [role, inTransaction, max],
    )
    ended = rows.length
  })
  return ended
}

/**
 * A second session holds rows or tables locked until healed. `statement` takes the locks inside a
 * transaction, which then ends so.
 */
export async function holdLock(
  drill: DrillRun,
  what: {
    readonly fault: string
    readonly target: string
    readonly statement: string
    readonly end?: 'commit' | 'rollback'
  },
): Promise<ActiveFault> {
  const session = await openSession(drill)
  return drill.inject({
    fault: what.fault,
    action: 'lock held',
    target: what.target,
    async inject() {
      await session.query('begin')
      await session.query(what.statement)
    },
    // A session waits for the lock, or has given up waiting. Another slow thing would not show in
    // pg_locks.
    isActive: async () => {
      const rows = await drill.system.ask<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity where datname = current_database()
            and (wait_event_type = 'Lock' or cardinality(pg_blocking_pids(pid)) > 0)`,
      )
      return (rows[0]?.n ?? 0) > 0
    },
    async heal() {
      await session.query(what.end ?? 'rollback').catch(() => undefined)
      await session.end().catch(() => undefined)
    },
    isHealed: () => true,
  })
}

/** Takes connections until the server has none left, until healed. */
export async function fillConnections(drill: DrillRun, fault: string): Promise<ActiveFault> {
  const taken: pg.Client[] = []
  return drill.inject({
    fault,
    action: 'every connection taken',
    target: 'postgres',
    async inject() {
      const [row] = await drill.system.ask<{ max: number; kept: number }>(
        `select current_setting('max_connections')::int as max,
                current_setting('superuser_reserved_connections')::int + current_setting('reserved_connections')::int as kept`,
      )
      const role = drill.system.env['POSTGRES_URL_INGRESS'] ?? ''
      for (let n = 0; n < (row?.max ?? 0); n += 1) {
        const client = new pg.Client({ connectionString: role, connectionTimeoutMillis: CONNECT_MS })
        client.on('error', () => {})
        const isIn = await client.connect().then(
          () => true,
          () => false,
        )
        if (!isIn) break
        taken.push(client)
      }
      // Those that are in have to ask again, and find nothing left.
      await drill.system.ask(
        `select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name like 'calstream-%'`,
      )
      for (let n = 0; n < 60; n += 1) {
        const client = new pg.Client({ connectionString: role, connectionTimeoutMillis: CONNECT_MS })
        client.on('error', () => {})
        const isIn = await client.connect().then(
          () => true,
          () => false,
        )
        if (!isIn) break
        taken.push(client)
      }
    },
    isActive: () => taken.length > 50,
    async heal() {
      await Promise.all(taken.map((client) => client.end().catch(() => undefined)))
    },
    isHealed: () => postgresIsUp(drill),
  })
}

/**
 * Every new transaction of the services is read-only until healed, as after a failover to a
 * standby.
 */
export async function readOnly(drill: DrillRun, fault: string): Promise<ActiveFault> {
  const database = new URL(drill.system.databaseUrl).pathname.slice(1)
  const admin = drill.system.stack.postgres.url('postgres')
  const set = async (text: string) => {
    const client = new pg.Client({ connectionString: admin, connectionTimeoutMillis: CONNECT_MS })
    await client.connect()
    try {
      await client.query(text)
    } finally {
      await client.end()
    }
    await drill.system.ask(
      `select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and usename like 'calstream_%'`,
    )
  }
  return drill.inject({
    fault,
    action: 'read-only',
    target: 'postgres',
    inject: () => set(`alter database ${database} set default_transaction_read_only = on`),
    isActive: () => true,
    heal: () => set(`alter database ${database} reset default_transaction_read_only`),
    isHealed: () => postgresIsUp(drill),
  })
}

/**
 * Sets the product's database clock ahead by this much from now on, for every session of the
 * services.
 */
export async function shiftDatabaseClock(drill: DrillRun, interval: string): Promise<void> {
  const database = new URL(drill.system.databaseUrl).pathname.slice(1)
  const [row] = await drill.system.ask<{ statement: string }>(
    'select format($1, $2::text, $3::text) as statement',
    ['alter database %I set calstream.clock_shift = %L', database, interval],
  )
  await drill.system.ask(row?.statement ?? '')
  await drill.system.ask(
    `select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and usename like 'calstream_%'`,
  )
}

async function openSession({ system }: DrillRun): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: system.databaseUrl, connectionTimeoutMillis: CONNECT_MS })
  client.on('error', () => {})
  await client.connect()
  return client
}
