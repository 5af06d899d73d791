// Puts ids on the allowlists of the shared Unleash. Files run side by side, so reading and writing
// back happens under a lock.
import pg from 'pg'
import { ALLOWLISTS, type AllowlistName } from '#shared/gates/gate-rules.ts'
import { setAllowlist } from '#shared/gates/seed-toggles.ts'
import { eventually } from './eventually.ts'
import { testStack } from './stack.ts'

const LOCK = 720_110
const LIMIT_MS = 30_000

/**
 * Adds ids to the lists; returns when clients are told of them. The server answers clients for up
 * to a second from what it held before: a service that starts at once would refuse these ids.
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
    const added: Record<AllowlistName, readonly string[]> = {
      CALENDAR_ALLOWLIST_PROVIDER_IDS: ids.providerIds,
      CALENDAR_ALLOWLIST_CONNECTION_IDS: ids.connectionIds,
    }
    for (const name of Object.keys(ALLOWLISTS) as AllowlistName[]) {
      const before = await listed(name, signal)
      await setAllowlist(unleash, name, [...new Set([...before, ...added[name]])], signal)
    }
  } finally {
    await session.end()
  }
  const wanted = [...ids.providerIds, ...ids.connectionIds]
  await eventually('clients are told of the admitted ids', async () => {
    const told = await toldToClients()
    return wanted.every((id) => told.has(id))
  })
}

/** All values on the lists, as the server answers the services. */
async function toldToClients(): Promise<ReadonlySet<string>> {
  const { unleash } = testStack()
  const response = await fetch(`${unleash.url}/client/features`, {
    headers: { authorization: unleash.tokens.backend },
    signal: AbortSignal.timeout(LIMIT_MS),
  })
  if (!response.ok) throw new Error(`unleash answered ${response.status} to a client`)
  const { features } = (await response.json()) as {
    features: { name: string; strategies: { constraints?: { values?: string[] }[] }[] }[]
  }
  const lists = features.filter(({ name }) => name in ALLOWLISTS)
  const constraints = lists.flatMap(({ strategies }) => strategies.flatMap((one) => one.constraints ?? []))
  return new Set(constraints.flatMap(({ values }) => values ?? []))
}

async function listed(name: AllowlistName, signal: AbortSignal): Promise<readonly string[]> {
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
