// The demo's waits: for the first syncs, and for Postgres and both topics to equal the vendor. What
// a check itself runs into (a busy database, a reader that failed) is said and tried again; it is
// never a reason to stop what runs.
import { type Check, checkOnce, describeDifference } from './check.ts'
import { connectionsOf, type DemoStack, type Looking } from './setting.ts'
import type { StoredConnection } from '../oracle/rows.ts'
import { Wait } from '../stack/patience.ts'
import { UserError } from '#shared/process/user-error.ts'
import { seconds } from '../stack/progress.ts'

const SHOWN = 10

export interface Limits {
  readonly say: DemoStack['say']
  readonly withinMs: number
  readonly signal: AbortSignal
}

/**
 * Looks until nothing differs. Throws a UserError with the first differences when
 * the time is over before.
 */
export async function converge(looking: Looking, limits: Limits): Promise<Check> {
  const what = 'Postgres and both topics to equal the vendor'
  const wait = new Wait({ what, ...limits })
  for (;;) {
    const check = await wait.attempt(async () => {
      await looking.setting.mend()
      return checkOnce(looking.setting.check, looking.emails)
    })
    const { differences } = check
    if (differences.length === 0) return check
    if (wait.isOver) {
      const lines = differences.slice(0, SHOWN).map((difference) => `  ${describeDifference(difference)}`)
      const more = differences.length - lines.length
      const head = `${counted(differences.length, 'difference')} from the vendor after ${seconds(limits.withinMs)}:`
      throw new UserError([head, ...lines, ...(more > 0 ? [`  … and ${more} more`] : [])].join('\n'))
    }
    await wait.pause(`${counted(differences.length, 'difference')} left`)
  }
}

/**
 * Says how far the first syncs are, a line for every quarter; resolves with how long each
 * took, once all are done. `connected`: email → the moment in ms since 1970 at which this
 * start began to connect it.
 */
export async function watchFirstSyncs(
  looking: Looking,
  connected: ReadonlyMap<string, number>,
  limits: Limits,
): Promise<number[]> {
  const took = new Map<string, number>()
  const step = Math.max(1, Math.ceil(connected.size / 4))
  const wait = new Wait({ what: 'the first syncs', ...limits })
  for (let said = 0; ;) {
    const connections = await wait.attempt(() => connectionsOf(looking))
    for (const connection of connections) {
      const milliseconds = firstSyncOf(connection, connected.get(connection.email))
      if (milliseconds !== null && !took.has(connection.email)) took.set(connection.email, milliseconds)
    }
    if (took.size >= said + step || (took.size === connected.size && said < took.size)) {
      said = took.size
      const slowest = seconds(Math.max(...took.values()))
      limits.say(
        `  ${said} of ${connected.size} accounts synced, the slowest ${slowest} after it was connected`,
      )
    }
    if (took.size >= connected.size) return [...took.values()]
    if (wait.isOver) throw new UserError(notSynced(connections, took, connected, limits.withinMs))
    await wait.pause(`${took.size} of ${counted(connected.size, 'account')} synced`)
  }
}

/**
 * From connecting to the first sync's end, in ms; null while it lasts, or for an account that was
 * connected before. One that is connected again keeps its row and the time of its last sync: only a
 * sync after that moment counts.
 */
export function firstSyncOf(
  { createdAtMs, lastSyncedAtMs }: Pick<StoredConnection, 'createdAtMs' | 'lastSyncedAtMs'>,
  connectedAtMs: number | undefined,
): number | null {
  if (connectedAtMs === undefined || lastSyncedAtMs === null || lastSyncedAtMs < connectedAtMs) return null
  return lastSyncedAtMs - Math.max(createdAtMs, connectedAtMs)
}

function notSynced(
  connections: readonly StoredConnection[],
  took: ReadonlyMap<string, number>,
  connected: ReadonlyMap<string, number>,
  withinMs: number,
): string {
  const behind = connections.filter(({ email }) => connected.has(email) && !took.has(email))
  const lines = behind
    .slice(0, SHOWN)
    .map(({ email, status, lastError }) => `  ${email} ${status} ${lastError ?? ''}`)
  const count = counted(connected.size - took.size, 'account')
  return [`${count} not synced within ${seconds(withinMs)}:`, ...lines].join('\n')
}

/** `1 account`, `2 accounts` */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
