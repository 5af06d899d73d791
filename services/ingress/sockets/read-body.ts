// Reads the bodies of requests, of every route that takes one. Invariants: at most the route's
// limit, in a room that all share; what was given up is answered and forgotten at once.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { createBodyRoom, type BodyRoom, type GivenUp } from './body-room.ts'

/** A body that no route will see, and why; the error handler of the server has the words. */
export class BodyRefused extends Error {
  override readonly name = 'BodyRefused'
  readonly why: GivenUp | 'too_large' | 'broken'

  constructor(why: BodyRefused['why']) {
    super(`a body was refused: ${why}`)
    this.why = why
  }
}

const SWEEP_EVERY_MS = 250

/**
 * Lets every route of `app` have its body as a Buffer, whatever its type.
 * @returns the room that they share.
 */
export function readBodies(app: FastifyInstance): BodyRoom {
  const room = createBodyRoom(() => performance.now())
  const timer = setInterval(() => {
    // After the bytes that wait in the kernel have been read: they are no sign of a slow sender.
    if (room.held.arriving > 0) setImmediate(() => room.sweep())
  }, SWEEP_EVERY_MS).unref()
  app.addHook('onClose', async () => clearInterval(timer))
  const answers = new WeakMap<FastifyRequest, ServerResponse>()
  app.addHook('preParsing', async (request, reply) => void answers.set(request, reply.raw))
  app.addContentTypeParser('*', async (request: FastifyRequest, payload: IncomingMessage) => {
    const share = { release: () => {} }
    // Until it is answered, or its socket gone, a body lies in memory.
    answers.get(request)?.once('close', () => share.release())
    return readBody(request, payload, (giveUp) => Object.assign(share, room.open(giveUp)))
  })
  return room
}

/** Rejects with BodyRefused. */
async function readBody(
  request: FastifyRequest,
  payload: IncomingMessage,
  openShare: BodyRoom['open'],
): Promise<Buffer> {
  const limit = request.routeOptions.bodyLimit ?? 0
  if (Number(request.headers['content-length']) > limit) throw new BodyRefused('too_large')
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const chunks: Buffer[] = []
  let length = 0
  const share = openShare(refuse)

  function refuse(why: BodyRefused['why']): void {
    stop()
    chunks.length = 0
    share.release()
    reject(new BodyRefused(why))
  }
  function onData(chunk: Buffer): void {
    length += chunk.length
    if (length > limit) refuse('too_large')
    else if (share.take(chunk.length)) chunks.push(chunk)
    else refuse('no_room')
  }
  function onEnd(): void {
    stop()
    share.complete()
    resolve(Buffer.concat(chunks, length))
  }
  function onBroken(): void {
    refuse('broken')
  }
  function stop(): void {
    payload.off('data', onData).off('end', onEnd).off('error', onBroken).off('close', onBroken)
    // What is still on its way is thrown away, its errors too.
    payload.on('error', () => undefined).resume()
  }

  payload.on('data', onData).on('end', onEnd).on('error', onBroken).on('close', onBroken).resume()
  return promise
}
