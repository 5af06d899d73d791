// Puts ids on the allowlists of the shared Unleash. Files run side by side, so reading and writing
// back happens under a lock.
import pg from 'pg'
import { ALLOWLISTS, type Allowlist, setAllowlist } from '#shared/platform/seed-toggles.ts'
import { testStack } from './stack.ts'

const LOCK = 720_110
const LIMIT_MS = 30_000

/**
 * Adds ids to the lists; returns when the server holds them (clients see it within about 1.5 s).
 */
export async function admit(ids: {
  readonly providerIds: readonly string[]
  readonly connectionIds: readonly string[]
}): Promise<void> {
  const { postgresUrl, unleash } = testStack()
  const session = new pg.Client({ connectionString: postgresUrl, connectionTimeoutMillis: 5_000 })
  await session.connect()
  try {
    await session.query('SELECT pg_advisory_lock($1)', [LOCK])
    const signal = AbortSignal.timeout(LIMIT_MS)
    const added: Record<Allowlist, readonly string[]> = {
      CALENDAR_ALLOWLIST_PROVIDER_IDS: ids.providerIds,
      CALENDAR_ALLOWLIST_CONNECTION_IDS: ids.connectionIds,
    }
    for (const name of Object.keys(ALLOWLISTS) as Allowlist[]) {
      const before = await listed(name, signal)
      await setAllowlist(unleash, name, [...new Set([...before, ...added[name]])], signal)
    }
  } finally {
    await session.end()
  }
}

async function listed(name: Allowlist, signal: AbortSignal): Promise<readonly string[]> {
  const { unleash } = testStack()
  const route = `/api/admin/projects/default/features/${name}/environments/development/strategies`
  const response = await fetch(unleash.consoleUrl + route, {
    headers: { authorization: unleash.tokens.admin },
    signal,
  })
  if (!response.ok) throw new Error(`unleash answered ${response.status} to ${route}`)
  const strategies = (await response.json()) as { constraints: { values?: string[] }[] }[]
  return strategies[0]?.constraints[0]?.values ?? []
}
