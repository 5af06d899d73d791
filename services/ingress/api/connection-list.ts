// Which connections a list holds: a page in the order of their ids, filtered by what is in
// the row (status, vendor) and by the state that the words give it, which depends on the
// gates too and is judged here.
import {
  CONNECTION_STATES,
  CONNECTION_STATUSES,
  type ConnectionStatus,
} from '#shared/domain/connection-facts.ts'
import { connectionWords, type Words } from '#shared/domain/connection-words.ts'
import type { Cause } from '#shared/domain/cause.ts'
import { causesAround } from '#shared/domain/causes-of-installation.ts'
import type { GateDecision } from '#shared/domain/gates.ts'
import {
  connectionId,
  isUuid,
  type ConnectionId,
  type ProviderId,
  type VendorName,
} from '#shared/domain/ids.ts'
import { listConnectionStates, type ConnectionState } from '#shared/store/connection-status.ts'
import { readInstallation } from '#shared/store/installation.ts'
import { placeOf } from '#shared/store/why.ts'
import { badRequest, type ProblemDetails } from '../server.ts'
import type { ApiDeps } from './deps.ts'

export const LIST_QUERY = ['provider_id', 'status', 'state', 'vendor', 'limit', 'after'] as const

const PAGE = 50
const PAGE_MAX = 200
const VENDORS = ['google', 'microsoft'] as const
/**
 * Rows that one answer looks through for a state:
 * a few statements of some ms each, far from the limit of 4 s.
 */
const SCAN_MAX = 2000
const SCAN_AT_A_TIME = 500

interface AskedList {
  readonly after: ConnectionId | null
  readonly count: number
  readonly status: ConnectionStatus | null
  readonly state: Words['state'] | null
  readonly vendor: VendorName | null
}

/** How many of a page a query asks for; null for what is no number from 1 to `most`. */
export function pageSize(limit: unknown, most: number): number | null {
  const count = typeof limit === 'string' && /^\d{1,4}$/.test(limit) ? Number(limit) : 0
  return count < 1 || count > most ? null : count
}

/** The page that a query of LIST_QUERY asks for. */
export function askedList(
  query: Readonly<Record<string, unknown>>,
): AskedList | { readonly problem: ProblemDetails } {
  const { after, limit = String(PAGE) } = query
  const count = pageSize(limit, PAGE_MAX)
  if (count === null) return { problem: badRequest(`limit is a number from 1 to ${PAGE_MAX}.`) }
  if (after !== undefined && (typeof after !== 'string' || !isUuid(after)))
    return { problem: badRequest('after is the next_after of the page before.') }
  const status = oneOf(CONNECTION_STATUSES, query['status'])
  const state = oneOf(CONNECTION_STATES, query['state'])
  const vendor = oneOf(VENDORS, query['vendor'])
  if (status === 'other')
    return { problem: badRequest(`status is one of ${CONNECTION_STATUSES.join(', ')}.`) }
  if (state === 'other') return { problem: badRequest(`state is one of ${CONNECTION_STATES.join(', ')}.`) }
  if (vendor === 'other') return { problem: badRequest(`vendor is one of ${VENDORS.join(', ')}.`) }
  return { after: after === undefined ? null : connectionId(after), count, status, state, vendor }
}

function oneOf<T extends string>(known: readonly T[], asked: unknown): T | null | 'other' {
  if (asked === undefined) return null
  return known.find((one) => one === asked) ?? 'other'
}

export interface Listed {
  readonly connection: ConnectionState
  readonly gate: GateDecision
  /** What holds for all connections, or for its place. */
  readonly around: readonly Cause[]
}

/**
 * A page, with where the next one begins (null on the last). One that is filtered by state
 * may be short, even empty, before the last: it ends where it has looked through SCAN_MAX
 * rows. Throws Failure store/*.
 */
export async function listed(
  deps: Pick<ApiDeps, 'gates' | 'db'>,
  provider: ProviderId,
  { count, state, ...asked }: AskedList,
): Promise<{ readonly page: readonly Listed[]; readonly next: ConnectionId | null }> {
  const status = asked.status ?? statusOf(state)
  // One more than asked for tells whether there is a next page.
  const limit = state === null ? count + 1 : SCAN_AT_A_TIME
  const installation = await readInstallation(deps.db, deps.gates)
  const page: Listed[] = []
  let { after } = asked
  for (let scanned = 0; scanned < SCAN_MAX; scanned += limit) {
    const rows = await listConnectionStates(deps.db, provider, { ...asked, status, after, limit })
    for (const connection of rows) {
      const gate = deps.gates.sync(provider, connection.id)
      const around = causesAround(installation, placeOf({ connection, outboxSince: null }, installation))
      if (state !== null && connectionWords(connection, gate, around).state !== state) continue
      if (page.length === count) return { page, next: page.at(-1)?.connection.id ?? null }
      page.push({ connection, gate, around })
    }
    if (rows.length < limit) return { page, next: null }
    after = rows.at(-1)?.id ?? null
  }
  return { page, next: after }
}

/** The status that a state implies: the others are states of an active connection. */
function statusOf(state: Words['state'] | null): ConnectionStatus | null {
  if (state === null) return null
  return CONNECTION_STATUSES.find((status) => status === state) ?? 'active'
}
