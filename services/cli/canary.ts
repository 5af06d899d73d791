// `calstream canary`: calendars that change once a minute, to see whether the change comes back.
import { deadLegs } from '#shared/domain/canary.ts'
import { connectionId } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import { UserError } from '#shared/process/user-error.ts'
import { addCanary, readCanaries, removeCanary } from '#shared/store/canaries.ts'
import { openDatabaseOf } from './open.ts'
import { uuidOf } from './options.ts'
import type { Output } from './output.ts'

/** Prints each canary with its dead legs. Throws Failure `store/*`. */
export async function listCanaries(env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  await using database = openDatabaseOf(env)
  const canaries = await readCanaries(database)
  const rows = canaries.map((canary) => ({
    connection: canary.connectionId,
    vendor: canary.vendor,
    beat: canary.beat,
    last_arrived: isoOf(canary.lastArrivedBeatAt),
    dead: deadLegs(canary, canary.now).map(({ leg }) => leg),
  }))
  output.rows(
    output.isJson ? rows : rows.map(({ dead, ...row }) => ({ ...row, dead: dead.join(', ') || 'none' })),
    'There are no canaries. calstream canary add <connection> makes one.',
  )
}

/** Makes a canary of a connection, or ends one. Throws UserError when there is nothing to do. */
export async function setCanary(
  verb: 'add' | 'remove',
  id: string,
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<void> {
  const connection = connectionId(uuidOf('<connection>', id))
  await using database = openDatabaseOf(env)
  const isDone = await (verb === 'add' ? addCanary : removeCanary)(database, connection)
  if (!isDone)
    throw new UserError(
      verb === 'add'
        ? 'It is a canary already, or has no calendar that is synced. Look with calstream connections show <id>.'
        : 'It is no canary. calstream canary list names them.',
    )
  output.line(
    verb === 'add'
      ? 'The scheduler changes an event of its own calendar once a minute from now on.'
      : 'It is changed no more. Its event stays at the vendor.',
  )
}
