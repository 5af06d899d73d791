// `calstream doctor --restored`: does a restored database continue where the topics end? Sound
// while services run: the topics are read first, and a number is in Postgres before it is in a
// topic.
import type { ConnectionId } from '#shared/domain/ids.ts'
import type { Database } from '#shared/store/database.ts'
import { countOwed, readVersions } from '#shared/store/restore.ts'
import { cliLogger, kafkaOf, openDatabaseOf } from './open.ts'
import { readTold } from './told.ts'

/** Reading a week of changes takes minutes. */
export const RESTORED_MAX_MS = 3_600_000
const PAGE = 1_000
const NAMED_MAX = 3

export interface RestoredLook {
  readonly found: string
  /** null when nothing is wrong. */
  readonly remedy: string | null
}

/** Compares the numbers of all connections with the topics. Throws Failure `kafka/*`, `store/*`. */
export async function lookAtNumbers(env: NodeJS.ProcessEnv): Promise<RestoredLook> {
  await using db = openDatabaseOf(env, cliLogger(), 'migrate')
  const kafka = kafkaOf(env, 'calstream-doctor')
  const { greatest, ahead } = await readTold(
    { kafka, db, isStill: false },
    AbortSignal.timeout(RESTORED_MAX_MS),
  )
  const versions = await versionsOf(db)
  const behind = [...greatest].filter(([id, sequence]) => (versions.get(id) ?? Infinity) < sequence)
  const unknown = [...ahead.keys()].filter((id) => !versions.has(id))
  const remedy = 'stop all services and run calstream after-restore'
  if (behind.length > 0)
    return {
      found: `${behind.length} of ${versions.size} connections would use numbers again that readers have passed, so their changes would be lost: ${named(behind.map(([id]) => id))}`,
      remedy,
    }
  if (unknown.length > 0)
    return {
      found: `${unknown.length} connections have events in ${kafka.prefix}calendar.event.state.v1 and are not in Postgres: ${named(unknown)}`,
      remedy: `${remedy}; their people connect again`,
    }
  const { owed, all } = await countOwed(db)
  const reads =
    owed === 0 ? `all ${all} calendars have a cursor` : `${owed} of ${all} calendars are being read`
  return {
    found: `${versions.size} connections continue above all that the topics hold; ${reads}`,
    remedy: null,
  }
}

async function versionsOf(db: Database): Promise<ReadonlyMap<ConnectionId, number>> {
  const versions = new Map<ConnectionId, number>()
  for (let after: ConnectionId | null = null; ;) {
    const page: Awaited<ReturnType<typeof readVersions>> = await readVersions(db, after, PAGE)
    for (const { connectionId, version } of page) versions.set(connectionId, version)
    after = page.at(-1)?.connectionId ?? null
    if (page.length < PAGE) return versions
  }
}

function named(ids: readonly string[]): string {
  const first = ids.slice(0, NAMED_MAX).join(', ')
  return ids.length > NAMED_MAX ? `${first} …` : first
}
