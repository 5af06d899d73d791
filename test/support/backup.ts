// A backup of a database and its restore, as pg_dump and psql would do it: all tables as one
// snapshot saw them while everything runs, and the sequences as they stood. Kept in a schema of its
// own in the same database, so a test needs no tool and no file.
import pg from 'pg'

/** Backs the database up. Any number of writers may be at work. `url` is the superuser's. */
export async function takeBackup(url: string): Promise<void> {
  await withSession(url, async (client) => {
    await client.query('drop schema if exists backup cascade')
    await client.query('begin isolation level repeatable read')
    await client.query('create schema backup')
    for (const table of await tablesOf(client, 'public'))
      await client.query(`create table backup.${table} as table public.${table}`)
    await client.query(
      `create table backup.backup_sequences as
         select sequencename as name, last_value from pg_sequences where schemaname = 'public'`,
    )
    await client.query('commit')
  })
}

/** Makes the tables what they were at the backup. Nothing else may write meanwhile. */
export async function restoreBackup(url: string): Promise<void> {
  await withSession(url, async (client) => {
    await client.query('begin')
    // No trigger and no foreign key looks at what is put back, as with pg_restore.
    await client.query('set local session_replication_role = replica')
    const tables = await tablesOf(client, 'public')
    await client.query(`truncate ${tables.map((table) => `public.${table}`).join(', ')}`)
    for (const table of tables)
      await client.query(`insert into public.${table} overriding system value select * from backup.${table}`)
    await client.query(
      `select setval(format('public.%I', name)::regclass, coalesce(last_value, 1), last_value is not null)
         from backup.backup_sequences`,
    )
    await client.query('commit')
  })
}

async function tablesOf(client: pg.Client, schema: string): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(
    'select tablename as name from pg_tables where schemaname = $1 order by 1',
    [schema],
  )
  return rows.map(({ name }) => pg.escapeIdentifier(name))
}

async function withSession(url: string, work: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 15_000 })
  client.on('error', () => {})
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}
