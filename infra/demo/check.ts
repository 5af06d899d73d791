// Whether the demo has converged: Postgres, the folded changed topic and the folded state topic
// each equal the vendor's truth.
import type { StoredConnection, StoredEvents } from '../oracle/rows.ts'
import type { StreamReader } from '../oracle/stream-reader.ts'
import { readTruth, type Truth } from '../oracle/truth.ts'
import {
  compareHoldings,
  foldChanges,
  foldState,
  type Difference,
  type EventImage,
} from '../oracle/verify.ts'

export interface CheckDeps {
  readonly adminUrl: string
  readonly stored: StoredEvents
  readonly stream: StreamReader
  readonly topics: { readonly changed: string; readonly state: string }
}

export interface Check {
  readonly differences: readonly Difference[]
  readonly connections: readonly StoredConnection[]
  /** Events of these connections at the vendor, inside the window. */
  readonly events: number
  /** Records that came twice with the same bytes. */
  readonly repeats: number
  readonly truth: Truth
}

/**
 * One look at everything. Reads the topics only when Postgres is right: that is the cheaper half,
 * and the first to be wrong.
 */
export async function checkOnce(deps: CheckDeps, emails: ReadonlySet<string>): Promise<Check> {
  const failed = deps.stream.failure()
  if (failed !== null) throw new Error('The reader of the topics failed.', { cause: failed })
  const connections = (await deps.stored.connections()).filter(({ email }) => emails.has(email))
  const truth = await readTruth(deps.adminUrl, connections)
  const rows = await deps.stored.events(connections.map(({ connectionId }) => connectionId))
  const differences = [
    ...unsettled(connections, emails, truth),
    ...compareHoldings('Postgres', truth.holdings, rows, truth.mayDiffer),
  ]
  const base = { connections, events: truth.holdings.size, truth }
  if (differences.length > 0) return { ...base, differences, repeats: 0 }
  const ids = new Set(connections.map(({ connectionId }) => connectionId))
  const changes = foldChanges(deps.stream.records(deps.topics.changed))
  const state = foldState(deps.stream.records(deps.topics.state))
  // A connection whose first record is gone (the topic keeps 7 days) has events there
  // that nothing changed since.
  const begins = (key: string) => changes.firstSequences.get(connectionOf(key)) === 1
  const own = (holdings: ReadonlyMap<string, EventImage>) =>
    new Map([...holdings].filter(([key]) => ids.has(connectionOf(key))))
  const mayLack = (image: EventImage, key: string) => truth.mayDiffer(image) || !begins(key)
  return {
    ...base,
    repeats: changes.repeats,
    differences: [
      ...changes.differences,
      ...state.differences,
      ...compareHoldings(deps.topics.changed, truth.holdings, own(changes.holdings), mayLack),
      ...compareHoldings(deps.topics.state, truth.holdings, own(state.holdings), truth.mayDiffer),
    ],
  }
}

function unsettled(
  connections: readonly StoredConnection[],
  emails: ReadonlySet<string>,
  truth: Truth,
): Difference[] {
  const note = (key: string, story: string): Difference => ({
    place: 'Postgres',
    kind: 'missing',
    key,
    story,
  })
  const known = new Set(connections.map(({ email }) => email))
  return [
    ...[...emails]
      .filter((email) => !known.has(email))
      .map((email) => note(email, 'this account is not connected')),
    ...truth.unknownCalendars.map((calendar) => note(calendar, 'this calendar is not known')),
    ...connections
      .filter(({ lastSyncedAtMs, status }) => lastSyncedAtMs === null || status !== 'active')
      .map(({ email, status, lastError }) =>
        note(email, `${status}, never synced to the end${lastError ? `: ${lastError}` : ''}`),
      ),
  ]
}

function connectionOf(key: string): string {
  return key.slice(0, key.indexOf('/'))
}

/** A difference as a line for a person. */
export function describeDifference({ place, kind, key, story }: Difference): string {
  return `${place}: ${kind} ${key}: ${story}`
}
