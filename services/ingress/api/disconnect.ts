// `DELETE /api/calendar/connections/:id`: the end of a connection, in one transaction:
// disconnected under a new epoch, cursors gone, event rows gone and told as removed, the news in
// the outbox. Channels, the grant and the credentials end afterwards, in the scheduler, because
// vendors may be away. No gate closes it: a person who takes back consent is never told to wait.
// Repeating it changes nothing.
import type { FastifyInstance } from 'fastify'
import { connectionId, isUuid, type ConnectionId, type ProviderId } from '#shared/domain/ids.ts'
import { connectionChanged } from '#shared/messages/connection-changed.ts'
import { sentBy } from '#shared/messages/message.ts'
import type { Queryable } from '#shared/store/database.ts'
import { endConnection, lockConnection, type LockedConnection } from '#shared/store/disconnect.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import { allowLongAnswer, sendProblem } from '../server.ts'
import { callerIn, CONNECTION_NOT_FOUND, identify, ownerFor } from './caller.ts'
import { CONNECTION } from './connections.ts'
import type { ApiDeps } from './deps.ts'
import { takes } from './members.ts'
import { removeEvents } from './removals.ts'

/** 204, also when it was disconnected before · 401 · 404 · 503. */
export function registerDisconnect(app: FastifyInstance, deps: ApiDeps): void {
  app.delete(CONNECTION, {
    onRequest: identify(deps.bearer),
    preHandler: takes({}),
    handler: async (request, reply) => {
      allowLongAnswer(request)
      const { id } = request.params as { id: string }
      const owner = ownerFor(callerIn(request))
      const outcome = isUuid(id) ? await disconnect(deps, owner, connectionId(id)) : 'unknown'
      return outcome === 'unknown' ? sendProblem(reply, CONNECTION_NOT_FOUND) : reply.code(204).send()
    },
  })
}

/**
 * Disconnects a provider's connection (of any provider for null).
 * Throws Failure store/*: nothing was changed.
 */
async function disconnect(
  deps: ApiDeps,
  owner: ProviderId | null,
  connection: ConnectionId,
): Promise<'disconnected' | 'was-disconnected' | 'unknown'> {
  const outcome = await deps.db.transaction(async (tx) => {
    const locked = await lockConnection(tx, owner, connection)
    if (locked === null) return 'unknown'
    return locked.status === 'disconnected' ? 'was-disconnected' : end(deps, tx, locked)
  })
  if (typeof outcome === 'string') return outcome
  deps.logger.info({ connectionId: connection, ...outcome }, 'a connection was disconnected')
  return 'disconnected'
}

async function end({ codec }: ApiDeps, tx: Queryable, connection: LockedConnection) {
  const removed = await removeEvents(codec, tx, { connection, calendar: null, reason: 'disconnected' })
  await endConnection(tx, connection.connectionId, removed)
  const change = { status: 'disconnected', previousStatus: connection.status, at: connection.now } as const
  await insertOutbox(tx, [connectionChanged(connection, change, sentBy('api', codec))])
  return { removed }
}
