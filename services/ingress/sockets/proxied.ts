// Behind a proxy all sockets are the proxy's;
// who is behind it is bounded by requests that are open.
import type { FastifyInstance, FastifyReply } from 'fastify'
import { clientOf } from './addresses.ts'

/**
 * Refuses a request that a trusted proxy forwards for a client with `max` requests open. The app
 * was made with `trustProxy`, so that `request.ip` is the last address that no trusted proxy has.
 */
export function boundForwarded(
  app: FastifyInstance,
  max: number,
  refuse: (reply: FastifyReply) => FastifyReply,
): void {
  const open = new Map<string, number>()
  app.addHook('onRequest', async (request, reply) => {
    if (request.ip === request.raw.socket.remoteAddress) return
    const client = clientOf(request.ip)
    const count = open.get(client) ?? 0
    if (count >= max) return refuse(reply)
    open.set(client, count + 1)
    reply.raw.once('close', () => {
      const left = (open.get(client) ?? 1) - 1
      if (left > 0) open.set(client, left)
      else open.delete(client)
    })
  })
}
