// The demo's people: accounts at the play vendors, every other one at Microsoft, their providers on
// the allowlist, and each account connected by consent in a browser. What is there already, from an
// earlier start, is left as it is.
import { connectByConsent } from './consent.ts'
import { askForSync } from './rest.ts'
import type { StoredConnection, StoredEvents } from '../oracle/rows.ts'
import type { Invocation } from '../stack/prepare.ts'
import { addToAllowlist, type AdminAddress } from '#shared/gates/seed-toggles.ts'
import type { DemoAccount, SimulatorAdmin } from '../oracle/simulator-admin.ts'

export interface ConnectDeps {
  readonly simulator: SimulatorAdmin
  readonly stored: StoredEvents
  readonly unleash: AdminAddress
  /** Origin of the ingress. */
  readonly apiUrl: string
  readonly calstream: (invocation: Invocation, signal: AbortSignal) => Promise<string>
  readonly say: (line: string) => void
  /**
   * Filled by this: email of each account that was connected now → when that began, ms since 1970.
   */
  readonly added: Map<string, number>
}

/**
 * Four businesses share the accounts. Fixed, so that a person finds them again in the flag console.
 */
export const DEMO_PROVIDERS = [
  '0198d3a0-0000-7000-8000-000000000001',
  '0198d3a0-0000-7000-8000-000000000002',
  '0198d3a0-0000-7000-8000-000000000003',
  '0198d3a0-0000-7000-8000-000000000004',
] as const
/** Nobody's but the newcomer's: README connects the first account of one's own for it. */
export const YOUR_PROVIDER = '0198d3a0-0000-7000-8000-000000000005'
/** Who is let in when a local stack begins. */
export const LOCAL_PROVIDERS = [...DEMO_PROVIDERS, YOUR_PROVIDER] as const
const CALENDARS = 2
/** 20 accounts hold 5 200 events and series, about 7 000 occurrences. */
const EVENTS_PER_CALENDAR = 130

export interface Connected {
  readonly accounts: readonly DemoAccount[]
  /** How many of them were connected before and are asked to be synced now. */
  readonly asked: number
}

/**
 * Makes sure that this many accounts exist and are connected and let in, and asks for a sync of
 * those that were. Safe to repeat. Throws a UserError when one cannot be connected.
 */
export async function connectDemoAccounts(
  deps: ConnectDeps,
  count: number,
  signal: AbortSignal,
): Promise<Connected> {
  const accounts = await ensureAccounts(deps.simulator, count)
  const before = new Map(
    (await deps.stored.connections()).map((connection) => [connection.email, connection]),
  )
  const missing = accounts.filter(({ email }) => !isHealthy(before.get(email)))
  const known = accounts.filter(({ email }) => !missing.some((one) => one.email === email))
  const earlier = known.filter(({ email }) => !deps.added.has(email))
  const bearers = await bearersOf(deps, [...missing, ...earlier], signal)
  // Notifications die with the vendor's process: what changed while the stack stopped, nobody else
  // would tell before the reconcile.
  if (earlier.length > 0) await askForSyncs(deps, bearers, earlier, signal)
  if (missing.length > 0) {
    deps.say(
      `Connecting ${missing.length} demo accounts of Google and Microsoft, each by consent in a browser …`,
    )
    await addToAllowlist(deps.unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', LOCAL_PROVIDERS, signal)
    await connectAll(deps, bearers, missing, signal)
  }
  const emails = new Set(accounts.map(({ email }) => email))
  const fresh = (await deps.stored.connections()).filter(
    ({ email, lastSyncedAtMs }) => emails.has(email) && lastSyncedAtMs === null,
  )
  // Known only now. What was asked for before is held, and rung as soon as the gate is seen open.
  const ids = fresh.map(({ connectionId }) => connectionId)
  if (ids.length > 0) await addToAllowlist(deps.unleash, 'CALENDAR_ALLOWLIST_CONNECTION_IDS', ids, signal)
  return { accounts, asked: earlier.length }
}

function isHealthy(connection: StoredConnection | undefined): boolean {
  return connection?.status === 'active'
}

async function ensureAccounts(simulator: SimulatorAdmin, count: number): Promise<DemoAccount[]> {
  const known = new Map((await simulator.accounts()).map((account) => [account.email, account]))
  const accounts: DemoAccount[] = []
  for (let index = 0; index < count; index += 1) {
    const email = `demo-${String(index + 1).padStart(2, '0')}@example.com`
    const vendor = index % 2 === 0 ? 'google' : 'microsoft'
    const spec = { vendor, email, calendars: CALENDARS, eventsPerCalendar: EVENTS_PER_CALENDAR } as const
    accounts.push(known.get(email) ?? (await simulator.createAccount(spec)))
  }
  return accounts
}

/** As many at a time as a busy day brings; each waits for the vendor most of the time. */
const CONSENTS_AT_ONCE = 4

async function connectAll(
  deps: ConnectDeps,
  bearers: ReadonlyMap<string, string>,
  missing: readonly DemoAccount[],
  signal: AbortSignal,
): Promise<void> {
  const waiting = [...missing]
  async function next(): Promise<void> {
    for (let person = waiting.shift(); person; person = waiting.shift()) {
      const bearer = bearers.get(providerOf(person.email)) ?? ''
      const began = Date.now()
      await connectByConsent({ url: deps.apiUrl, bearer }, person, signal)
      deps.added.set(person.email, began)
    }
  }
  await Promise.all(Array.from({ length: CONSENTS_AT_ONCE }, next))
}

async function askForSyncs(
  deps: ConnectDeps,
  bearers: ReadonlyMap<string, string>,
  accounts: readonly DemoAccount[],
  signal: AbortSignal,
): Promise<void> {
  const providers = new Set(accounts.map(({ email }) => providerOf(email)))
  const answers = await Promise.all(
    [...providers].map((provider) =>
      askForSync({ url: deps.apiUrl, bearer: bearers.get(provider) ?? '' }, signal),
    ),
  )
  for (const refused of new Set(answers)) if (refused !== null) deps.say(`  ${refused}`)
}

/** A token for each provider of these accounts. */
async function bearersOf(
  deps: ConnectDeps,
  accounts: readonly DemoAccount[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const providers = [...new Set(accounts.map(({ email }) => providerOf(email)))]
  const tokens = await Promise.all(
    providers.map((provider) => deps.calstream({ args: ['token', '--provider', provider] }, signal)),
  )
  return new Map(providers.map((provider, index) => [provider, tokens[index]?.trim() ?? '']))
}

/** By its number, so that the same account belongs to the same provider at every start. */
function providerOf(email: string): string {
  return DEMO_PROVIDERS[Number(/\d+/.exec(email)?.[0] ?? 0) % DEMO_PROVIDERS.length] ?? DEMO_PROVIDERS[0]
}
