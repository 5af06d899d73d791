// `calstream allow` and `calstream gates`: who is let in and what runs, changed at the flag server
// as an operator would in its console. Invariants: only who was named is let in, so a list
// that is off with others on it is not switched on by the way; what was done is read back and told.
import { GATES } from '#shared/domain/gates.ts'
import { connectionId } from '#shared/domain/ids.ts'
import { readConnectionState } from '#shared/store/connection-status.ts'
import { isAllowlistName, type AllowlistName } from '#shared/gates/gate-rules.ts'
import {
  type AdminAddress,
  letEverybodyIn,
  setAllowlist,
  setToggle,
  standingAllowlist,
  type StandingAllowlist,
} from '#shared/gates/seed-toggles.ts'
import { lookWithin, seenOf, wordsOf } from './look.ts'
import { flagAdminOf, openDatabaseOf } from './open.ts'
import { uuidOf } from './options.ts'
import type { Output } from './output.ts'
import { UserError } from '#shared/process/user-error.ts'
import { describeGates } from '#shared/gates/toggles.ts'
import { readToggles } from './toggles.ts'

const LIMIT_MS = 30_000
const PROVIDERS = 'CALENDAR_ALLOWLIST_PROVIDER_IDS'
const CONNECTIONS = 'CALENDAR_ALLOWLIST_CONNECTION_IDS'

export interface AllowOptions {
  readonly provider?: readonly string[]
  readonly connection?: readonly string[]
  readonly everybody?: boolean
  readonly remove?: boolean
}

/**
 * Lets in or, with `remove`, out. Throws UserError for what cannot be done,
 * ConfigError without the flag server's settings.
 */
export async function allow(options: AllowOptions, env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const asked = askedOf(options)
  const address = flagAdminOf(env)
  const signal = AbortSignal.timeout(LIMIT_MS)
  const isRemoval = options.remove === true
  // All is judged before anything is changed.
  const changes = []
  for (const { list, ids } of asked) {
    const before = await reached(() => standingAllowlist(address, list, signal))
    if (before === null)
      throw new UserError(`The toggle ${list} is not there yet. Make it: calstream toggles apply.`)
    refuseSurprise({ list, ids, before }, isRemoval)
    changes.push({ list, ids, before })
  }
  const done = []
  for (const one of changes) {
    const { list } = one
    await reached(() => change(address, one, isRemoval, signal))
    const after = await reached(() => standingAllowlist(address, list, signal))
    done.push({ list, lets_in: after === null ? 'no one' : whoIsIn(after) })
  }
  output.rows(done)
  for (const line of await stillInTheWay(options, env)) output.line(line)
}

interface Asked {
  readonly list: AllowlistName
  /** null for everybody. */
  readonly ids: readonly string[] | null
}

function askedOf({ provider = [], connection = [], everybody = false }: AllowOptions): readonly Asked[] {
  const idsOf = (option: string, ids: readonly string[]) => [...new Set(ids.map((id) => uuidOf(option, id)))]
  const asked = [
    { list: PROVIDERS, ids: idsOf('--provider', provider) },
    { list: CONNECTIONS, ids: idsOf('--connection', connection) },
  ] as const
  if (everybody && provider.length + connection.length > 0)
    throw new UserError('--everybody goes without --provider and --connection.')
  if (everybody) return asked.map(({ list }) => ({ list, ids: null }))
  const named = asked.filter(({ ids }) => ids.length > 0)
  if (named.length === 0) throw new UserError('Say who: --provider <id>, --connection <id> or --everybody.')
  return named
}

interface Change extends Asked {
  readonly before: StandingAllowlist
}

function refuseSurprise({ list, ids, before }: Change, isRemoval: boolean): void {
  if (ids === null) return
  if (before.form === 'other')
    throw new UserError(
      `${list} is no plain list, so it lets no one in. Put it right in the console of Unleash, or begin anew: calstream allow --everybody --remove.`,
    )
  if (isRemoval && before.form === 'everybody' && before.enabled)
    throw new UserError(
      `${list} lets everybody in, so no one can be taken out alone. Begin a list: calstream allow --everybody --remove, then allow those who stay.`,
    )
  const others = lowered(before).filter((id) => !ids.includes(id))
  if (!isRemoval && !before.enabled && (others.length > 0 || before.form === 'everybody'))
    throw new UserError(
      `${list} is switched off, and switching it on lets ${before.form === 'everybody' ? 'everybody' : `${others.length} more`} in. If that is meant: calstream gates open ${list}. To begin a new list: calstream allow --everybody --remove.`,
    )
}

async function change(
  address: AdminAddress,
  { list, ids, before }: Change,
  isRemoval: boolean,
  signal: AbortSignal,
): Promise<void> {
  if (ids === null)
    return isRemoval ? setAllowlist(address, list, [], signal) : letEverybodyIn(address, list, signal)
  const listed = lowered(before)
  if (isRemoval) {
    const left = listed.filter((id) => !ids.includes(id))
    if (left.length === listed.length) return
    // A list that is off stays off with those who are left on it.
    await setAllowlist(address, list, left, signal)
    if (!before.enabled && left.length > 0) await setToggle(address, list, false, signal)
    return
  }
  if (before.form === 'everybody') return
  if (before.enabled && ids.every((id) => listed.includes(id))) return
  await setAllowlist(address, list, [...new Set([...listed, ...ids])], signal)
}

function lowered({ ids }: StandingAllowlist): readonly string[] {
  return ids.map((id) => id.trim().toLowerCase())
}

function whoIsIn({ enabled, form, ids }: StandingAllowlist): string {
  if (!enabled) return 'no one'
  if (form === 'everybody') return form
  return form === 'list' ? `${ids.length} by id` : 'no one'
}

/**
 * What else keeps them out, since a connection needs the switch and both lists.
 * Only told, and only what can be seen.
 */
async function stillInTheWay(options: AllowOptions, env: NodeJS.ProcessEnv): Promise<readonly string[]> {
  if (options.remove === true || options.everybody === true) return []
  const address = flagAdminOf(env)
  const signal = AbortSignal.timeout(LIMIT_MS)
  const [providers, connections] = await Promise.all(
    ([PROVIDERS, CONNECTIONS] as const).map((list) => standingAllowlist(address, list, signal)),
  )
  const isOpen = (one: StandingAllowlist | null | undefined) =>
    one?.enabled === true && one.form === 'everybody'
  const lines: string[] = []
  if ((options.provider ?? []).length > 0 && !isOpen(connections))
    lines.push(
      `Its connections are let in one by one by ${CONNECTIONS}: calstream connections list --provider <id>, then calstream allow --connection <id>.`,
    )
  if (isOpen(providers)) return lines
  for (const id of options.connection ?? []) {
    const provider = await providerOf(id, env)
    if (provider !== null && !(providers?.enabled && lowered(providers).includes(provider)))
      lines.push(`Its provider is not let in yet: calstream allow --provider ${provider}`)
  }
  return lines
}

async function providerOf(id: string, env: NodeJS.ProcessEnv): Promise<string | null> {
  const found = await lookWithin(async () => {
    await using database = openDatabaseOf(env)
    return readConnectionState(database, null, connectionId(id))
  })
  return seenOf(found)?.providerId ?? null
}

/** Prints every gate as the services read it. */
export async function listGates(env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const lines = describeGates(await reached(() => readToggles(env)))
  output.rows(lines.map(({ gate, state, isOpen }) => ({ gate, open: isOpen, state })))
}

/**
 * Switches one toggle on or off. Throws UserError for a name that is none,
 * and for a list that would let no one in.
 */
export async function switchGate(
  verb: 'open' | 'close',
  name: string,
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const gate = GATES.find((known) => known === name.toUpperCase())
  if (gate === undefined)
    throw new UserError(
      `There is no gate ${name}. There are: ${GATES.join(', ')}. How they are: calstream gates list.`,
    )
  const address = flagAdminOf(env)
  const signal = AbortSignal.timeout(LIMIT_MS)
  if (verb === 'open' && isAllowlistName(gate)) {
    const before = await reached(() => standingAllowlist(address, gate, signal))
    if (before === null || before.form === 'empty')
      throw new UserError(`${gate} has no one on it yet; see calstream allow --help.`)
    if (before.form === 'other')
      throw new UserError(
        `${gate} is no plain list, so it would let no one in. Put it right in the console of Unleash.`,
      )
  }
  await reached(() => setToggle(address, gate, verb === 'open', signal))
  output.object({ gate, toggle: verb === 'open' ? 'on' : 'off', services: 'follow within 2 s' })
}

/** What the flag server refused, or that it is away, in words for the person who asked. */
async function reached<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const text = wordsOf(error)
    if (/^unleash answered 40[13] /.test(text))
      throw new UserError('The flag server refuses UNLEASH_ADMIN_TOKEN. Give it an admin token of Unleash.')
    if (text.startsWith('unleash answered 404 '))
      throw new UserError('The toggle is not there yet. Make it: calstream toggles apply.')
    if (text.startsWith('unleash answered ')) throw new UserError(`The flag server refused: ${text}`)
    throw new UserError(`The flag server cannot be asked: ${text}. Start it or correct UNLEASH_URL.`)
  }
}
