// The toggles that the gates ask, made through Unleash's admin API. Only what is missing is made,
// each part judged alone (context field, toggle, strategy, on), so a restart never undoes
// what an operator switched.
import {
  ALLOWLISTS,
  readAllowlist,
  type AllowlistName,
  type SwitchName,
  type ToggleStrategy,
} from './gate-rules.ts'

/** On or off for everybody. */
export const SWITCHES = [
  'CALENDAR_SYNC_ENABLED',
  'CALENDAR_JOBS_ENABLED',
  'CALENDAR_WEBHOOK_ENABLED',
  'CALENDAR_OAUTH_ENABLED',
] as const satisfies readonly SwitchName[]

/** What the toggles are when they are made. */
export interface ToggleSeed {
  readonly switchesOn: boolean
  /** Empty: the toggle is made, but lets no one in until it has a list. */
  readonly providerIds: readonly string[] | 'everybody'
  readonly connectionIds: readonly string[] | 'everybody'
}

/** Where the admin API is and the token that opens it. */
export interface AdminAddress {
  readonly consoleUrl: string
  readonly tokens: { readonly admin: string }
  /** Where the toggles lie; Unleash begins with one project of this name. */
  readonly project?: string | undefined
  /** Of that project: the one that the services' token names. */
  readonly environment?: string | undefined
}

interface Strategy extends ToggleStrategy {
  readonly id: string
}

/** An allowlist as it stands at the flag server. */
export interface StandingAllowlist {
  readonly enabled: boolean
  /** `empty`: no strategy yet; `other`: what an operator made of it, which lets no one in. */
  readonly form: 'list' | 'everybody' | 'empty' | 'other'
  readonly ids: readonly string[]
}

interface Place {
  readonly address: AdminAddress
  readonly signal: AbortSignal
}

/** A toggle, and how it is reached. */
interface At<Name extends SwitchName | AllowlistName = SwitchName | AllowlistName> extends Place {
  readonly name: Name
}

interface ToggleEvent {
  readonly type: string
  readonly environment?: string | null
}

interface Request {
  readonly method?: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly body?: unknown
}

const PROJECT = 'default'
const ENVIRONMENT = 'development'
/** The flag server answers within 0.1 s, and within 10 s where ten processes share a core. */
const TIMEOUT_MS = 60_000

/** Makes what is missing of all toggles; returns the names of those that it made something for. */
export async function seedToggles(
  address: AdminAddress,
  seed: ToggleSeed,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const place = { address, signal }
  for (const name of Object.values(ALLOWLISTS))
    await create(place, '/api/admin/context', { name, stickiness: false })
  const made: string[] = []
  for (const name of SWITCHES) if (await seedSwitch({ ...place, name }, seed.switchesOn)) made.push(name)
  const lists = {
    CALENDAR_ALLOWLIST_PROVIDER_IDS: seed.providerIds,
    CALENDAR_ALLOWLIST_CONNECTION_IDS: seed.connectionIds,
  } satisfies Record<AllowlistName, readonly string[] | 'everybody'>
  for (const name of Object.keys(ALLOWLISTS) as AllowlistName[])
    if (await seedAllowlist({ ...place, name }, lists[name])) made.push(name)
  return made
}

/** Turns a toggle on or off, as an operator does in the console. */
export async function setToggle(
  address: AdminAddress,
  name: SwitchName | AllowlistName,
  on: boolean,
  signal: AbortSignal,
): Promise<void> {
  await switchTo({ address, name, signal }, on)
}

/**
 * Lets exactly these ids in: one strategy with one IN constraint, toggle on. An empty list is the
 * toggle off without a strategy, because Unleash refuses an empty constraint. Whatever else an
 * operator made of the toggle is replaced.
 */
export async function setAllowlist(
  address: AdminAddress,
  name: AllowlistName,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const at = { address, name, signal }
  const strategies = await readStrategies(at)
  if (ids.length === 0) return clear(at, strategies)
  const [only] = strategies
  if (only && formOf(strategies, name) === 'list') {
    const body = [{ op: 'replace', path: '/constraints/0/values', value: ids }]
    await call(at, { method: 'PATCH', path: `${strategiesOf(at)}/${only.id}`, body })
  } else {
    await clear(at, strategies)
    await addStrategy(at, [{ contextName: ALLOWLISTS[name], operator: 'IN', values: ids }])
  }
  await switchTo(at, true)
}

/**
 * Lets everybody in: one strategy without a constraint, toggle on. What the list held is forgotten.
 */
export async function letEverybodyIn(
  address: AdminAddress,
  name: AllowlistName,
  signal: AbortSignal,
): Promise<void> {
  const at = { address, name, signal }
  const strategies = await readStrategies(at)
  if (formOf(strategies, name) !== 'everybody') {
    await clear(at, strategies)
    await addStrategy(at, [])
  }
  await switchTo(at, true)
}

/** What an allowlist is now; null when the toggle is not there. */
export async function standingAllowlist(
  address: AdminAddress,
  name: AllowlistName,
  signal: AbortSignal,
): Promise<StandingAllowlist | null> {
  const answer = await send({ address, signal }, { path: `${featuresOf(address)}/${name}` })
  if (answer.status === 404) return null
  const { environments } = JSON.parse(await textOf(answer, { path: name })) as {
    environments: readonly { name: string; enabled: boolean; strategies: readonly Strategy[] }[]
  }
  const found = environments.find((environment) => environment.name === environmentOf(address))
  const strategies = found?.strategies ?? []
  const form = formOf(strategies, name)
  const ids = form === 'list' ? (strategies[0]?.constraints?.[0]?.values ?? []) : []
  return { enabled: found?.enabled === true, form, ids }
}

/**
 * Lets these ids in beside those that already are, and switches the list on. Does nothing when all
 * are listed already or everybody is, so a list that an operator switched off stays off.
 */
export async function addToAllowlist(
  address: AdminAddress,
  name: AllowlistName,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const strategies = await readStrategies({ address, name, signal })
  if (formOf(strategies, name) === 'everybody') return
  const listed = strategies[0]?.constraints?.[0]?.values ?? []
  if (ids.every((id) => listed.includes(id))) return
  await setAllowlist(address, name, [...new Set([...listed, ...ids])], signal)
}

/** By the rules of the gates themselves. */
function formOf(strategies: readonly Strategy[], name: AllowlistName): StandingAllowlist['form'] {
  if (strategies.length === 0) return 'empty'
  const { problem, everybody } = readAllowlist(name, { name, enabled: true, strategies })
  if (problem !== null) return 'other'
  return everybody ? 'everybody' : 'list'
}

async function switchTo({ name, ...place }: At, on: boolean): Promise<void> {
  const path = `${placeOf(place.address, name)}/${on ? 'on' : 'off'}`
  await call(place, { method: 'POST', path })
}

/** Off first: between two strategies the toggle would let everybody in. */
async function clear(at: At, strategies: readonly Strategy[]): Promise<void> {
  await switchTo(at, false)
  for (const { id } of strategies) await call(at, { method: 'DELETE', path: `${strategiesOf(at)}/${id}` })
}

async function readStrategies(at: At): Promise<readonly Strategy[]> {
  return (await call(at, { path: strategiesOf(at) })) as readonly Strategy[]
}

async function seedSwitch(at: At, on: boolean): Promise<boolean> {
  const made = await makeToggle(at, 'kill-switch')
  const past = made ? [] : await eventsOf(at)
  const needsStrategy = !past.includes('feature-strategy-add')
  if (needsStrategy) await addStrategy(at, [])
  // No one ever switched it: a start that was cut off between the strategy and here.
  const needsOn = on && !past.some((type) => type.startsWith('feature-environment-'))
  if (needsOn) await switchTo(at, true)
  return made || needsStrategy || needsOn
}

async function seedAllowlist(at: At<AllowlistName>, ids: readonly string[] | 'everybody'): Promise<boolean> {
  const made = await makeToggle(at, 'permission')
  const past = made ? [] : await eventsOf(at)
  const touched = past.some((type) => type.startsWith('feature-environment-'))
  if (touched || ids.length === 0) return made
  const { address, name, signal } = at
  await (ids === 'everybody'
    ? letEverybodyIn(address, name, signal)
    : setAllowlist(address, name, ids, signal))
  return true
}

/** false when it exists, archived included. */
function makeToggle({ name, ...place }: At, type: 'permission' | 'kill-switch'): Promise<boolean> {
  return create(place, featuresOf(place.address), { name, type })
}

async function create(place: Place, path: string, body: unknown): Promise<boolean> {
  return (await send(place, { method: 'POST', path, body })).status !== 409
}

async function addStrategy(at: At, constraints: readonly unknown[]): Promise<void> {
  const body = { name: 'default', constraints, parameters: {} }
  await call(at, { method: 'POST', path: strategiesOf(at), body })
}

function featuresOf({ project = PROJECT }: AdminAddress): string {
  return `/api/admin/projects/${encodeURIComponent(project)}/features`
}

function environmentOf({ environment = ENVIRONMENT }: AdminAddress): string {
  return environment
}

/** A toggle in its environment. */
function placeOf(address: AdminAddress, name: At['name']): string {
  return `${featuresOf(address)}/${name}/environments/${encodeURIComponent(environmentOf(address))}`
}

function strategiesOf({ address, name }: At): string {
  return `${placeOf(address, name)}/strategies`
}

/**
 * What happened to a toggle, as event types: the server's own memory of who switched what. What
 * happened in another environment says nothing about this one.
 */
async function eventsOf({ name, ...place }: At): Promise<readonly string[]> {
  const answer = await call(place, { path: `/api/admin/events/${name}` })
  const { events } = answer as { readonly events: readonly ToggleEvent[] }
  const own = environmentOf(place.address)
  return events.filter(({ environment }) => (environment ?? own) === own).map(({ type }) => type)
}

async function call(place: Place, request: Request): Promise<unknown> {
  const text = await textOf(await send(place, request), request)
  return text === '' ? null : JSON.parse(text)
}

async function textOf(response: Response, { method = 'GET', path }: Request): Promise<string> {
  const text = await response.text()
  if (response.ok) return text
  throw new Error(`unleash answered ${response.status} to ${method} ${path}: ${text.slice(0, 300)}`)
}

async function send({ address, signal }: Place, { method = 'GET', path, body }: Request): Promise<Response> {
  const response = await fetch(`${address.consoleUrl}${path}`, {
    method,
    headers: { authorization: address.tokens.admin, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  })
  if (response.status >= 500) throw new Error(`unleash answered ${response.status} to ${path}`)
  return response
}
