// Least rights: each role tries each verb on each table and reads each column, and the outcome is
// compared with the lists below. What is not listed must be refused.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import pg from 'pg'
import { freshDatabase, roleName, type TestDatabase } from '../../support/stack.ts'
import { TEST_ROLE_PREFIX } from '../../support/test-stack.ts'

type Verb = 'select' | 'insert' | 'update' | 'delete' | 'truncate'
const VERBS: readonly Verb[] = ['select', 'insert', 'update', 'delete', 'truncate']

/**
 * role → table → verbs: s(elect) i(nsert) u(pdate) d(elete). Written by hand from what each service
 * does, not read from the grants.
 */
const EXPECTED = {
  calstream_ingress: {
    calstream_migrations: 's',
    service_instances: 'siud',
    call_budgets: 'siu',
    external_calendar_connections: 'siu',
    connection_credentials: 'iu',
    external_calendars: 'siu',
    external_calendar_events: 'sd',
    channels: 'siu',
    channel_notices: 'siu',
    outbox: 'i',
    held_requests: 'siud',
    oauth_flows: 'siud',
  },
  calstream_sync: {
    calstream_migrations: 's',
    service_instances: 'siud',
    call_budgets: 'siu',
    external_calendar_connections: 'su',
    connection_credentials: 'su',
    external_calendars: 'su',
    external_calendar_events: 'siud',
    webhook_dedupe_keys: 'si',
    outbox: 'i',
    held_requests: 'siu',
  },
  calstream_retry: {
    calstream_migrations: 's',
    service_instances: 'siud',
  },
  calstream_relay: {
    calstream_migrations: 's',
    service_instances: 'siud',
    outbox: 'sd',
    relay_shards: 'su',
    relay_members: 'siud',
  },
  calstream_scheduler: {
    calstream_migrations: 's',
    service_instances: 'siud',
    call_budgets: 'siud',
    external_calendar_connections: 'su',
    connection_credentials: 'sud',
    external_calendars: 'siud',
    external_calendar_events: 's',
    canaries: 'siud',
    channels: 'siud',
    channel_notices: 'sud',
    dead_letters: 'siud',
    job_leases: 'siud',
    repairs: 'siud',
    held_requests: 'sd',
    webhook_dedupe_keys: 'sd',
    relay_shards: 's',
    outbox: 'si',
  },
  calstream_console: {
    calstream_migrations: 's',
    call_budgets: 's',
    external_calendar_connections: 's',
    channels: 's',
    channel_notices: 's',
    webhook_dedupe_keys: 's',
    held_requests: 's',
    dead_letters: 's',
    relay_shards: 's',
    relay_members: 's',
    job_leases: 's',
    repairs: 'siu',
    service_instances: 'siud',
  },
} as const satisfies Record<string, Record<string, string>>

/** role → table → the columns that it reads, where it may not read the whole table. */
const READ: Partial<Record<keyof typeof EXPECTED, Record<string, readonly string[]>>> = {
  // It replaces what is sealed and never reads it.
  calstream_ingress: {
    connection_credentials: ['connection_id', 'version', 'grant_ends_at'],
    // How old what waits is, and no message.
    outbox: ['id', 'shard', 'created_at'],
  },
  // Whether a consent is under way, and nothing that could end one.
  calstream_scheduler: { oauth_flows: ['provider_id', 'vendor', 'link_used_at', 'connection_id'] },
  // That events, messages and grants are there and when, and nothing of what they say; of a
  // calendar all but its places, which hold tokens of the vendor.
  calstream_console: {
    external_calendar_events: [
      'event_id',
      'connection_id',
      'calendar_id',
      'sequence',
      'created_at',
      'updated_at',
    ],
    outbox: ['id', 'shard', 'topic', 'key', 'headers', 'created_at'],
    connection_credentials: ['connection_id', 'grant_ends_at', 'access_expires_at'],
    external_calendars:
      `id connection_id vendor_calendar_id name time_zone access_role selected push_supported
      generation last_full_sync sweep_below resync_after resync_streak removal_reason created_at updated_at
      last_read_at channel_attempts channel_retry_at poll_at missing_since read_needed failures error_count
      last_error failing_since backoff_until rung_at is_primary judged_by reread_at unrung_finds reading
      usual_from place_failures place_failing_since fresh_starts fresh_after`.split(/\s+/),
  },
}

type Role = keyof typeof EXPECTED
const ROLES = Object.keys(EXPECTED) as Role[]

let database: TestDatabase
let tables: readonly string[] = []
const sessions = new Map<string, pg.Client>()

async function session(role?: Role): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: database.url(role), connectionTimeoutMillis: 5_000 })
  await client.connect()
  sessions.set(role ?? 'superuser', client)
  return client
}

beforeAll(async () => {
  database = await freshDatabase('roles')
  const { rows } = await (
    await session()
  ).query<{ name: string }>(`select tablename as name from pg_tables where schemaname = 'public' order by 1`)
  tables = rows.map(({ name }) => name)
  for (const role of ROLES) await session(role)
})

afterAll(async () => {
  for (const client of sessions.values()) await client.end()
  await database[Symbol.asyncDispose]()
})

/**
 * Whether the server lets the statement pass its check of rights;
 * what the rows would say about it does not matter.
 */
async function mayRun(who: string, statement: string): Promise<boolean> {
  const client = sessions.get(who)
  if (!client) throw new Error(`no session of ${who}`)
  await client.query('begin')
  try {
    await client.query(statement)
    return true
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error
    // 42501 insufficient_privilege; anything else (a missing value, an identity column, a policy
    // about the row) comes after that check.
    return error.code !== '42501' || error.message.includes('row-level security policy')
  } finally {
    await client.query('rollback')
  }
}

async function columnsOf(table: string): Promise<readonly string[]> {
  const { rows } = await (sessions.get('superuser') as pg.Client).query<{ name: string }>(
    `select column_name as name from information_schema.columns where table_schema = 'public' and table_name = $1`,
    [table],
  )
  return rows.map(({ name }) => name)
}

async function columnOf(table: string): Promise<string> {
  const { rows } = await (sessions.get('superuser') as pg.Client).query<{ name: string }>(
    `select column_name as name from information_schema.columns
      where table_schema = 'public' and table_name = $1 and is_identity = 'NO' order by ordinal_position limit 1`,
    [table],
  )
  return rows[0]?.name ?? ''
}

async function statementFor(verb: Verb, table: string): Promise<string> {
  const column = await columnOf(table)
  const statements: Record<Verb, string> = {
    select: `select * from ${table} limit 0`,
    // Rights are checked before the missing values are.
    insert: `insert into ${table} default values`,
    update: `update ${table} set ${column} = default where false`,
    delete: `delete from ${table} where false`,
    truncate: `truncate ${table} cascade`,
  }
  return statements[verb]
}

async function rightsOf(who: string, table: string): Promise<string> {
  let rights = ''
  for (const verb of VERBS)
    if (await mayRun(who, await statementFor(verb, table))) rights += verb === 'truncate' ? 't' : verb[0]
  return rights
}

describe('the rights', () => {
  test('are listed for tables that exist', () => {
    expect(tables.length).toBeGreaterThan(12)
    const listed = new Set(ROLES.flatMap((role) => Object.keys(EXPECTED[role])))
    expect([...listed].filter((table) => !tables.includes(table))).toEqual([])
  })

  test.each(ROLES)(
    'of %s are exactly those that its service needs, table by table and verb by verb',
    async (role) => {
      const found: Record<string, string> = {}
      for (const table of tables) {
        const rights = await rightsOf(role, table)
        if (rights !== '') found[table] = rights
      }
      expect(found).toEqual(EXPECTED[role])
    },
  )

  test.each(ROLES)('of %s to read are those of its tables, column by column', async (role) => {
    const wrong: string[] = []
    for (const table of tables) {
      const rights: Readonly<Record<string, string>> = EXPECTED[role]
      const isWhole = rights[table]?.includes('s') ?? false
      for (const column of await columnsOf(table)) {
        const may = isWhole || (READ[role]?.[table]?.includes(column) ?? false)
        if ((await mayRun(role, `select ${column} from ${table} limit 0`)) !== may)
          wrong.push(`${table}.${column} ${may ? 'is shut' : 'is open'}`)
      }
    }
    expect(wrong).toEqual([])
  })

  test('of the ingress are enough to replace credentials, and not to read them on the way', async () => {
    const replace = (sealed: string, returning: string) =>
      mayRun(
        'calstream_ingress',
        `insert into connection_credentials as c (connection_id, refresh_token) values (gen_random_uuid(), 'new')
         on conflict (connection_id) do update set version = c.version + 1, refresh_token = ${sealed} ${returning}`,
      )
    expect(await replace(`'new'`, 'returning c.version')).toBe(true)
    expect(await replace('c.refresh_token', '')).toBe(false)
    expect(await replace(`'new'`, 'returning c.refresh_token')).toBe(false)
  })

  test('of the owner are all of them, so each statement above can succeed (control)', async () => {
    for (const table of tables) expect(await rightsOf('superuser', table), table).toBe('siudt')
  })

  test.each(ROLES)('of %s make nothing, change no table and reach no other role', async (role) => {
    const forbidden = [
      'create table mine (a int)',
      'create temporary table mine (a int)',
      'create schema mine',
      'alter table outbox add column a int',
      'drop table outbox',
      'create role mine',
      'select rolpassword from pg_authid',
      "select pg_read_file('postgresql.conf')",
      'select lo_create(0)',
      'select lo_creat(0)',
      "select lo_from_bytea(0, 'x')",
      `set role ${roleName('calstream_migrate')}`,
      ...ROLES.filter((other) => other !== role).flatMap((other) => [
        `set role ${roleName(other)}`,
        `alter role ${roleName(other)} set lock_timeout = 0`,
      ]),
    ]
    for (const statement of forbidden)
      expect(await mayRun(role, statement), `${role}: ${statement}`).toBe(false)
  })

  test.each([
    ['calstream_ingress', true],
    ['calstream_sync', true],
    ['calstream_retry', false],
    ['calstream_relay', false],
    ['calstream_scheduler', false],
  ] as const)('of %s to take a number for a held request: %s', async (role, may) => {
    expect(await mayRun(role, `select nextval('held_request_seq')`)).toBe(may)
  })

  test.each(ROLES)('of %s include asking the database clock', async (role) => {
    expect(await mayRun(role, 'select calstream_now(), to_micros(calstream_now())')).toBe(true)
  })
})

describe('the sessions', () => {
  test.each(ROLES)('of %s are bounded by the server', async (role) => {
    const { rows } = await (sessions.get(role) as pg.Client).query<{
      name: string
      setting: string
      unit: string
    }>(
      `select name, setting, unit from pg_settings
        where name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout') order by name`,
    )
    expect(rows.map(({ name, setting, unit }) => `${name} ${setting}${unit}`)).toEqual([
      'idle_in_transaction_session_timeout 10000ms',
      'lock_timeout 1000ms',
      'statement_timeout 4000ms',
    ])
  })

  test('are none for a role that no service runs as', async () => {
    const login = new URL(database.url('calstream_ingress'))
    login.username = roleName('calstream_migrate')
    const client = new pg.Client({ connectionString: login.href, connectionTimeoutMillis: 5_000 })
    await expect(client.connect()).rejects.toThrow(/not permitted to log in|password authentication failed/)
    const { rows } = await (sessions.get('superuser') as pg.Client).query(
      `select rolname from pg_roles where rolname ~ '^${TEST_ROLE_PREFIX}' and rolcanlogin order by 1`,
    )
    expect(rows).toEqual(ROLES.toSorted().map((role) => ({ rolname: roleName(role) })))
  })
})

describe('the functions', () => {
  test('find names by a path of their own, or had them bound when they were made', async () => {
    const { rows } = await (sessions.get('superuser') as pg.Client).query<{ name: string; safe: boolean }>(
      `select proname as name, prosqlbody is not null or coalesce(proconfig::text ~ 'search_path=', false) as safe
         from pg_proc where pronamespace = 'public'::regnamespace order by 1`,
    )
    expect(rows.length).toBeGreaterThan(3)
    expect(rows.filter(({ safe }) => !safe)).toEqual([])
  })

  test('answer the same to a caller whose own path holds other ones', async () => {
    const client = sessions.get('superuser') as pg.Client
    await client.query('begin')
    try {
      await client.query(`create schema trap
        create table call_budgets (key text)`)
      await client.query(`create function trap.clock_timestamp() returns timestamptz language sql
        return timestamptz '2000-01-01'`)
      await client.query('set local search_path = trap, public, pg_catalog')
      const { rows } = await client.query<{ fine: boolean; trapped: boolean }>(
        `select calstream_now() > '2001-01-01' as fine, clock_timestamp() < '2001-01-01' as trapped`,
      )
      expect(rows).toEqual([{ fine: true, trapped: true }])
      const taken = await client.query(`select granted from take_calls('{a}', '{1}', '{1000}', '{1000}')`)
      expect(taken.rows).toHaveLength(1)
    } finally {
      await client.query('rollback')
    }
  })
})
