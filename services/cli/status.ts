// `calstream status`: connections, backlog and freshness on one screen.
import { z } from 'zod'
import { postgresEnv, readEnv } from '#shared/platform/env.ts'
import { createLogger } from '#shared/platform/log.ts'
import { openDatabase } from '#shared/platform/postgres.ts'
import { listConnections, readTotals } from '#shared/store/status.ts'
import { urlOf } from './config.ts'
import type { Output } from './output.ts'

/** How many connections in trouble are named. */
const TROUBLES = 10

/** Prints the totals and, for a person, the connections that need a look. */
export async function showStatus(env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const config = readEnv(z.object(postgresEnv), urlOf('ingress', env))
  const logger = createLogger({ service: 'cli', level: 'warn' })
  await using database = openDatabase(
    { url: config.POSTGRES_URL, applicationName: 'calstream-cli', poolMax: 1 },
    logger,
  )
  const totals = await readTotals(database)
  output.object({ ...totals })
  const troubled = (await listConnections(database, TROUBLES)).filter(
    (line) => line.status !== 'active' || line.error_count > 0,
  )
  if (troubled.length === 0) return output.line('\nEvery connection is healthy.')
  output.line('\nConnections in trouble:')
  for (const line of troubled) {
    const until = line.backoff_until ? `, next try ${line.backoff_until.toISOString()}` : ''
    output.line(
      `  ${line.vendor_account_id}  ${line.status}  ${line.last_error_code ?? ''}  ${line.error_count} errors${until}`,
    )
  }
}
