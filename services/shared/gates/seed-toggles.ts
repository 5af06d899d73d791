// The toggles that the gates ask, made through Unleash's admin API. Only what is missing is made,
// each part judged by itself (context field, toggle, strategy, on), so a restart never undoes
// what an operator switched.

/** On or off for everybody. */
export const SWITCHES = [
  'CALENDAR_SYNC_ENABLED',
  'CALENDAR_JOBS_ENABLED',
  'CALENDAR_WEBHOOK_ENABLED',
  'CALENDAR_OAUTH_ENABLED',
] as const

/** On for the ids of one constraint; the name of the context field that it looks at. */
export const ALLOWLISTS = {
  CALENDAR_ALLOWLIST_PROVIDER_IDS: 'providerId',
  CALENDAR_ALLOWLIST_CONNECTION_IDS: 'connectionId',
} as const

export type Switch = (typeof SWITCHES)[number]
export type Allowlist = keyof typeof ALLOWLISTS

/** What the toggles are when they are made. */
export interface ToggleSeed {
  readonly switchesOn: boolean
  /** Empty: the toggle is made, but lets nobody in until it has a list. */
  readonly providerIds: readonly string[] | 'everybody'
  readonly connectionIds: readonly string[] | 'everybody'
}

/** Where the admin API is and the token that opens it. */
export interface AdminAddress {
  readonly consoleUrl: string
  readonly tokens: { readonly admin: string }
}

interface Strategy {
  readonly id: string
  readonly name: string
  readonly constraints: readonly {
    readonly contextName: string
    readonly operator: string
    readonly inverted?: boolean
    readonly values?: readonly string[]
  }[]
  readonly segments?: readonly unknown[]
}

/** An allowlist as it stands at the flag server. */
export interface StandingAllowlist {
  readonly enabled: boolean
  /** `empty`: no strategy yet; `other`: what an operator made of it, which lets nobody in. */
  readonly form: 'list' | 'everybody' | 'empty' | 'other'
  readonly ids: readonly string[]
}

interface Request {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly body?: unknown
}

const FEATURES = '/api/admin/projects/default/features'
const ENVIRONMENT = 'development'
/** The flag server answers within 0.1 s, and within 10 s where ten processes share a core. */
const TIMEOUT_MS = 60_000

/** Makes what is missing of all toggles; returns the names of those that it made something for. */
export async function seedToggles(
  address: AdminAddress,
  seed: ToggleSeed,
  signal: AbortSignal,
): Promise<readonly string[]> {
  for (const name of Object.values(ALLOWLISTS))
    await create(address, '/api/admin/context', { name, stickiness: false }, signal)
  const made: string[] = []
  for (const name of SWITCHES) if (await seedSwitch(address, name, seed.switchesOn, signal)) made.push(name)
  const lists = {
    CALENDAR_ALLOWLIST_PROVIDER_IDS: seed.providerIds,
    CALENDAR_ALLOWLIST_CONNECTION_IDS: seed.connectionIds,
  } satisfies Record<Allowlist, readonly string[] | 'everybody'>
  for (const name of Object.keys(ALLOWLISTS) as Allowlist[])
    if (await seedAllowlist(address, name, lists[name], signal)) made.push(name)
  return made
}

/** Turns a toggle on or off, as an operator does in the console. */
export async function setToggle(
  address: AdminAddress,
  name: Switch | Allowlist,
  on: boolean,
  signal: AbortSignal,
): Promise<void> {
  const path = `${FEATURES}/${name}/environments/${ENVIRONMENT}/${on ? 'on' : 'off'}`
  await call(address, { method: 'POST', path }, signal)
}

/**
 * Lets exactly these ids in: one strategy with one IN constraint, toggle on. An empty list is the
 * toggle off without a strategy, because Unleash refuses an empty constraint. Whatever else an
 * operator made of the toggle is replaced.
 */
export async function setAllowlist(
  address: AdminAddress,
  name: Allowlist,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const strategies = await strategiesAt(address, name, signal)
  if (ids.length === 0) return clear(address, name, strategies, signal)
  const [only] = strategies
  if (only && isAllowlist(only, name) && strategies.length === 1) {
    const body = [{ op: 'replace', path: '/constraints/0/values', value: ids }]
    await call(address, { method: 'PATCH', path: `${strategiesOf(name)}/${only.id}`, body }, signal)
  } else {
    await clear(address, name, strategies, signal)
    await addStrategy(address, name, [{ contextName: ALLOWLISTS[name], operator: 'IN', values: ids }], signal)
  }
  await setToggle(address, name, true, signal)
}

/**
 * Lets everybody in: one strategy without a constraint, toggle on. What the list held is forgotten.
 */
export async function letEverybodyIn(
  address: AdminAddress,
  name: Allowlist,
  signal: AbortSignal,
): Promise<void> {
  const strategies = await strategiesAt(address, name, signal)
  if (formOf(strategies, name) !== 'everybody') {
    await clear(address, name, strategies, signal)
    await addStrategy(address, name, [], signal)
  }
  await setToggle(address, name, true, signal)
}

/** What an allowlist is now; null when the toggle is not there. */
export async function standingAllowlist(
  address: AdminAddress,
  name: Allowlist,
  signal: AbortSignal,
): Promise<StandingAllowlist | null> {
  const answer = await send(address, { method: 'GET', path: `${FEATURES}/${name}` }, signal)
  if (answer.status === 404) return null
  const { environments } = JSON.parse(await textOf(answer, 'GET', name)) as {
    environments: readonly { name: string; enabled: boolean; strategies: readonly Strategy[] }[]
  }
  const found = environments.find((environment) => environment.name === ENVIRONMENT)
  const strategies = found?.strategies ?? []
  const form = formOf(strategies, name)
  const ids = form === 'list' ? (strategies[0]?.constraints[0]?.values ?? []) : []
  return { enabled: found?.enabled === true, form, ids }
}

/** Off first: between two strategies the toggle would let everybody in. */
async function clear(
  address: AdminAddress,
  name: Allowlist,
  strategies: readonly Strategy[],
  signal: AbortSignal,
): Promise<void> {
  await setToggle(address, name, false, signal)
  for (const { id } of strategies)
    await call(address, { method: 'DELETE', path: `${strategiesOf(name)}/${id}` }, signal)
}

async function strategiesAt(
  address: AdminAddress,
  name: Allowlist,
  signal: AbortSignal,
): Promise<readonly Strategy[]> {
  const request = { method: 'GET', path: strategiesOf(name) } as const
  return (await call(address, request, signal)) as readonly Strategy[]
}

function formOf(strategies: readonly Strategy[], name: Allowlist): StandingAllowlist['form'] {
  const [only] = strategies
  if (!only) return 'empty'
  if (strategies.length > 1) return 'other'
  if (isAllowlist(only, name)) return 'list'
  const isPlain = only.name === 'default' && (only.segments ?? []).length === 0
  return isPlain && only.constraints.length === 0 ? 'everybody' : 'other'
}

/**
 * Lets these ids in beside those that already are, and switches the list on. Does nothing when all
 * are listed already or everybody is, so a list that an operator switched off stays off.
 */
export async function addToAllowlist(
  address: AdminAddress,
  name: Allowlist,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const strategies = await strategiesAt(address, name, signal)
  if (formOf(strategies, name) === 'everybody') return
  const listed = strategies[0]?.constraints[0]?.values ?? []
  if (ids.every((id) => listed.includes(id))) return
  await setAllowlist(address, name, [...new Set([...listed, ...ids])], signal)
}

async function seedSwitch(
  address: AdminAddress,
  name: Switch,
  on: boolean,
  signal: AbortSignal,
): Promise<boolean> {
  const made = await makeToggle(address, name, signal)
  const past = made ? [] : await eventsOf(address, name, signal)
  const needsStrategy = !past.includes('feature-strategy-add')
  if (needsStrategy) await addStrategy(address, name, [], signal)
  // Never switched by anyone: a start that was cut off between the strategy and here.
  const needsOn = on && !past.some((type) => type.startsWith('feature-environment-'))
  if (needsOn) await setToggle(address, name, true, signal)
  return made || needsStrategy || needsOn
}

async function seedAllowlist(
  address: AdminAddress,
  name: Allowlist,
  ids: readonly string[] | 'everybody',
  signal: AbortSignal,
): Promise<boolean> {
  const made = await makeToggle(address, name, signal)
  const past = made ? [] : await eventsOf(address, name, signal)
  const touched = past.some((type) => type.startsWith('feature-environment-'))
  if (touched || ids.length === 0) return made
  await (ids === 'everybody'
    ? letEverybodyIn(address, name, signal)
    : setAllowlist(address, name, ids, signal))
  return true
}

/** false when it exists, archived included. */
function makeToggle(address: AdminAddress, name: Switch | Allowlist, signal: AbortSignal): Promise<boolean> {
  const type = name in ALLOWLISTS ? 'permission' : 'kill-switch'
  return create(address, FEATURES, { name, type }, signal)
}

async function create(
  address: AdminAddress,
  path: string,
  body: unknown,
  signal: AbortSignal,
): Promise<boolean> {
  return (await send(address, { method: 'POST', path, body }, signal)).status !== 409
}

async function addStrategy(
  address: AdminAddress,
  name: Switch | Allowlist,
  constraints: readonly unknown[],
  signal: AbortSignal,
): Promise<void> {
  const body = { name: 'default', constraints, parameters: {} }
  await call(address, { method: 'POST', path: strategiesOf(name), body }, signal)
}

function strategiesOf(name: Switch | Allowlist): string {
  return `${FEATURES}/${name}/environments/${ENVIRONMENT}/strategies`
}

function isAllowlist({ name, constraints, segments = [] }: Strategy, toggle: Allowlist): boolean {
  const [only] = constraints
  return (
    name === 'default' &&
    segments.length === 0 &&
    only?.inverted !== true &&
    constraints.length === 1 &&
    only?.contextName === ALLOWLISTS[toggle] &&
    only.operator === 'IN'
  )
}

/** What happened to a toggle, as event types: the server's own memory of who switched what. */
async function eventsOf(
  address: AdminAddress,
  name: Switch | Allowlist,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const answer = await call(address, { method: 'GET', path: `/api/admin/events/${name}` }, signal)
  return (answer as { readonly events: readonly { readonly type: string }[] }).events.map(({ type }) => type)
}

async function call(address: AdminAddress, request: Request, signal: AbortSignal): Promise<unknown> {
  const text = await textOf(await send(address, request, signal), request.method, request.path)
  return text === '' ? null : JSON.parse(text)
}

async function textOf(response: Response, method: string, path: string): Promise<string> {
  const text = await response.text()
  if (response.ok) return text
  throw new Error(`unleash answered ${response.status} to ${method} ${path}: ${text.slice(0, 300)}`)
}

async function send(address: AdminAddress, request: Request, signal: AbortSignal): Promise<Response> {
  const response = await fetch(`${address.consoleUrl}${request.path}`, {
    method: request.method,
    headers: { authorization: address.tokens.admin, 'content-type': 'application/json' },
    ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  })
  if (response.status >= 500) throw new Error(`unleash answered ${response.status} to ${request.path}`)
  return response
}
