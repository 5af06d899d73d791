// `calstream connections list|show`: how the connected accounts are,
// the worst first, in the API's words.
import { STALE_AFTER_MS } from '#shared/domain/connection-facts.ts'
import { calendarWords } from '#shared/domain/connection-words.ts'
import { CAUSE_CODES } from '#shared/domain/causes.ts'
import { connectionId, isUuid, providerId } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import { listByCause } from '#shared/store/cause-counts.ts'
import type { Database } from '#shared/store/database.ts'
import { readCalendarStates, readConnectionState } from '#shared/store/connection-status.ts'
import { listConnections, type StateFilter } from '#shared/store/status.ts'
import { lookWithin, seenOf } from './look.ts'
import { openDatabaseOf } from './open.ts'
import { limitOf, uuidOf, vendorOf } from './options.ts'
import type { Output } from './output.ts'
import { UserError } from '#shared/process/user-error.ts'
import { gateOf, nameOf, type NamedConnection } from './status.ts'
import { WORST } from './status-report.ts'
import { admissionOf, type Toggles } from '#shared/gates/toggles.ts'
import { readToggles } from './toggles.ts'

export interface ListOptions {
  readonly state?: readonly string[]
  readonly cause?: string
  readonly vendor?: string
  readonly provider?: string
  readonly limit: string
}

const STATES = [...WORST, 'first_sync', 'catching_up', 'in_sync', 'disconnected']

/**
 * Prints connections, the worst first.
 * Throws UserError for a filter that makes no sense, Failure `store/*`.
 */
export async function showConnections(
  options: ListOptions,
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const filter = filterOf(options)
  const toggles = seenOf(await lookWithin(() => readToggles(env)))
  await using database = openDatabaseOf(env)
  const ids =
    options.cause === undefined ? undefined : await idsByCause(database, options.cause, filter, toggles)
  const lines = await namedConnections(database, ids === undefined ? filter : { ...filter, ids }, toggles)
  if (output.isJson) return output.rows(lines)
  output.rows(
    lines.map(({ account, vendor, state, code, next_try_at, last_synced_at, id }) => ({
      account,
      vendor,
      state,
      code,
      next_try_at,
      last_synced_at,
      id,
    })),
    filter.states === null && filter.vendor === null && filter.provider === null && ids === undefined
      ? 'No account is connected yet.'
      : 'No connection is like that.',
  )
  if (lines.length === filter.limit) output.line(`These are the first ${filter.limit}; --limit shows more.`)
}

/**
 * Prints one connection and its calendars in the API's words. Throws UserError when there is none.
 */
export async function showConnection(id: string, env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  if (!isUuid(id))
    throw new UserError(
      `A connection is named by its uuid, not "${id}". List them: calstream connections list. By an address: calstream why ${id}.`,
    )
  const toggles = seenOf(await lookWithin(() => readToggles(env)))
  await using database = openDatabaseOf(env)
  const state = await readConnectionState(database, null, connectionId(id))
  const filter = { states: null, vendor: null, provider: null, connection: id.toLowerCase(), limit: 1 }
  const [line] = await namedConnections(database, filter, toggles)
  if (!line || !state)
    throw new UserError(`There is no connection ${id}. List them: calstream connections list.`)
  const gate = gateOf(state, toggles)
  const found = await readCalendarStates(database, connectionId(id), CALENDARS_MAX)
  const calendars = found.map((calendar) => ({
    id: calendar.id,
    name: calendar.name,
    ...calendarWords(calendar, state, gate),
    last_read_at: isoOf(calendar.lastReadAt),
    read_by: calendar.plain === null ? 'changes' : 'plain listing',
    failing_since: isoOf(calendar.ill?.since ?? null),
    code: calendar.ill?.code ?? null,
    next_try_at: isoOf(calendar.ill?.nextTryAt ?? null),
  }))
  const { calendars: _count, ...one } = line
  if (output.isJson) return output.object({ ...one, calendars })
  output.object(one)
  output.line('')
  output.rows(calendars, 'It has no calendars.')
}

/** Of one account; Google lists up to 10 000, people have a few. */
const CALENDARS_MAX = 1000

async function namedConnections(
  database: Database,
  filter: StateFilter,
  toggles: Toggles | null,
): Promise<readonly NamedConnection[]> {
  const judged = { admission: admissionOf(toggles), staleAfterMs: STALE_AFTER_MS }
  return (await listConnections(database, judged, filter)).map((line) => nameOf(line, toggles))
}

/** Those that have a cause; of more than are listed the first by their ids. */
async function idsByCause(
  database: Database,
  cause: string,
  { vendor, provider, limit }: StateFilter,
  toggles: Toggles | null,
): Promise<readonly string[]> {
  const code = CAUSE_CODES.find((known) => known === cause)
  if (code === undefined)
    throw new UserError(`--cause must be one of ${CAUSE_CODES.join(', ')}, not "${cause}".`)
  const filter = {
    cause: code,
    vendor: vendor === null ? null : vendorOf(vendor),
    provider: provider === null ? null : providerId(provider),
    sinceBefore: null,
    after: null,
    limit,
  }
  return (await listByCause(database, admissionOf(toggles), filter)).map(({ id }) => id)
}

function filterOf({ state, vendor, provider, limit }: ListOptions): StateFilter {
  const count = limitOf(limit, 10_000)
  const states = (state ?? []).flatMap((text) => text.split(','))
  const wrong = states.find((name) => !STATES.includes(name))
  if (wrong !== undefined) throw new UserError(`--state must be one of ${STATES.join(', ')}, not "${wrong}".`)
  return {
    states: states.length === 0 ? null : states,
    vendor: vendor === undefined ? null : vendorOf(vendor),
    provider: provider === undefined ? null : uuidOf('--provider', provider),
    connection: null,
    limit: count,
  }
}
