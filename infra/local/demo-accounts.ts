// The demo's people: accounts at the play vendor, their providers on the allowlist, and each account connected through the
// command that operators use. What is there already, from an earlier start, is left as it is.
import type { HeldConnection, HeldEvents } from './held-events.ts'
import type { Invocation } from './prepare.ts'
import { addToAllowlist, type AdminAddress } from './seed-toggles.ts'
import type { DemoAccount, SimulatorAdmin } from './simulator-admin.ts'

export interface ConnectDeps {
  readonly simulator: SimulatorAdmin
  readonly held: HeldEvents
  readonly unleash: AdminAddress
  readonly calstream: (invocation: Invocation, signal: AbortSignal) => Promise<string>
  readonly say: (line: string) => void
}

/** Four businesses share the accounts. Fixed, so that a person finds them again in the flag console. */
const PROVIDERS = [
  '0198d3a0-0000-7000-8000-000000000001',
  '0198d3a0-0000-7000-8000-000000000002',
  '0198d3a0-0000-7000-8000-000000000003',
  '0198d3a0-0000-7000-8000-000000000004',
] as const
const CALENDARS = 2
/** 20 accounts hold 5 200 events and series, about 7 000 occurrences. */
const EVENTS_PER_CALENDAR = 130

export interface Connected {
  readonly accounts: readonly DemoAccount[]
  /** How many were connected now; the others were there. */
  readonly added: number
}

/** Makes sure that this many accounts exist and are connected and admitted. Throws a Problem when one cannot be connected. */
export async function connectDemoAccounts(
  deps: ConnectDeps,
  count: number,
  signal: AbortSignal,
): Promise<Connected> {
  const accounts = await ensureAccounts(deps.simulator, count)
  const known = new Map(
    (await deps.held.connections()).map((connection) => [connection.vendorAccountId, connection]),
  )
  const missing = accounts.filter(({ email }) => !isHealthy(known.get(email)))
  if (missing.length > 0) {
    deps.say(`Connecting ${missing.length} demo accounts …`)
    await addToAllowlist(deps.unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', PROVIDERS, signal)
    await Promise.all(PROVIDERS.map((provider) => connectAll(deps, provider, missing, signal)))
  }
  const emails = new Set(accounts.map(({ email }) => email))
  const fresh = (await deps.held.connections()).filter(
    ({ vendorAccountId, lastSyncedAtMs }) => emails.has(vendorAccountId) && lastSyncedAtMs === null,
  )
  // Known only now. What was asked for before is held, and rung as soon as the gate is seen open.
  const ids = fresh.map(({ connectionId }) => connectionId)
  if (ids.length > 0) await addToAllowlist(deps.unleash, 'CALENDAR_ALLOWLIST_CONNECTION_IDS', ids, signal)
  return { accounts, added: missing.length }
}

function isHealthy(connection: HeldConnection | undefined): boolean {
  return connection?.status === 'active'
}

async function ensureAccounts(simulator: SimulatorAdmin, count: number): Promise<DemoAccount[]> {
  const known = new Map((await simulator.accounts()).map((account) => [account.email, account]))
  const accounts: DemoAccount[] = []
  for (let index = 0; index < count; index += 1) {
    const email = `demo-${String(index + 1).padStart(2, '0')}@example.com`
    const spec = { email, calendars: CALENDARS, eventsPerCalendar: EVENTS_PER_CALENDAR }
    accounts.push(known.get(email) ?? (await simulator.createAccount(spec)))
  }
  return accounts
}

/** One command for all accounts of a provider: a process each would take longer to start than the account to connect. */
async function connectAll(
  deps: ConnectDeps,
  provider: string,
  missing: readonly DemoAccount[],
  signal: AbortSignal,
): Promise<void> {
  const own = missing.filter(({ email }) => providerOf(email) === provider)
  if (own.length === 0) return
  const input = own.map(({ refreshToken }) => refreshToken).join('\n')
  await deps.calstream({ args: ['connections', 'add', '--provider', provider], input }, signal)
}

/** By its number, so that the same account belongs to the same provider at every start. */
function providerOf(email: string): string | undefined {
  return PROVIDERS[Number(/\d+/.exec(email)?.[0] ?? 0) % PROVIDERS.length]
}
