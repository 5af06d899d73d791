// Databases that are filled once in a run and copied by all who need such a one: a copy takes
// 0.1 s, filling takes seconds.
import { createHash } from 'node:crypto'
import pg from 'pg'
import { runStatement } from '../../infra/stack/postgres.ts'

/**
 * Makes the template unless it is there. The first file of the run that asks makes it, the others
 * wait for it at a lock. It is filled under another name and renamed, and so whole or absent.
 * @param postgresUrl the superuser's, of the database `postgres`
 * @param fill gets the superuser's URL of the draft, and leaves no session on it
 */
export async function templateDatabase(
  postgresUrl: string,
  template: string,
  fill: (url: string) => Promise<unknown>,
): Promise<void> {
  const lock = createHash('sha256').update(template).digest().readInt32BE()
  const session = new pg.Client({ connectionString: postgresUrl, connectionTimeoutMillis: 5_000 })
  await session.connect()
  try {
    await session.query('SELECT pg_advisory_lock($1)', [lock])
    const { rowCount } = await session.query('SELECT 1 FROM pg_database WHERE datname = $1', [template])
    if (rowCount === 0) await makeTemplate(postgresUrl, template, fill)
  } finally {
    await session.end()
  }
}

async function makeTemplate(
  postgresUrl: string,
  template: string,
  fill: (url: string) => Promise<unknown>,
): Promise<void> {
  const draft = `${template}_draft`
  await runStatement(postgresUrl, `DROP DATABASE IF EXISTS ${draft} WITH (FORCE)`)
  await runStatement(postgresUrl, `CREATE DATABASE ${draft}`)
  await fill(Object.assign(new URL(postgresUrl), { pathname: `/${draft}` }).href)
  await runStatement(postgresUrl, `ALTER DATABASE ${draft} RENAME TO ${template}`)
}
