// Where sockets come in: each gets a place and a guard before HTTP sees it. The server still
// owns what it listens on, its limits of time and its shutdown.
import { ServerResponse, type IncomingMessage, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { inNetworks } from './addresses.ts'
import { GuardedSocket } from './guarded-socket.ts'
import { createPlaces } from './places.ts'
import { createTurns } from './turns.ts'
import type { TurnedAway } from './turned-away.ts'

export interface EntranceOptions {
  /** Sockets open at a time; for one more, the one that keeps us waiting longest is closed. */
  readonly connectionsMax: number
  /** Of one address (IPv6: of its first 64 bits). */
  readonly connectionsPerAddressMax: number
  /** Addresses or networks of proxies in front, whose X-Forwarded-For is believed. */
  readonly trustedProxies: readonly string[]
}

/**
 * For `ServerResponse` of http.createServer: Node makes one for each request, also for those that
 * it refuses on its own without an event, so this is where a guarded socket learns of all.
 */
export class GuardedResponse<R extends IncomingMessage = IncomingMessage> extends ServerResponse<R> {
  constructor(...args: ConstructorParameters<typeof ServerResponse<R>>) {
    super(...args)
    const [request] = args
    if (request.socket instanceof GuardedSocket) request.socket.opened(request, this)
  }
}

/**
 * Puts the guard in front of the server's own listener. The server was made with
 * `ServerResponse: GuardedResponse`.
 */
export function guardEntrance(server: Server, options: EntranceOptions, away: TurnedAway): void {
  const places = createPlaces(
    {
      max: options.connectionsMax,
      perClientMax: options.connectionsPerAddressMax,
      isTrusted: inNetworks(options.trustedProxies),
    },
    away,
  )
  const turns = createTurns()
  const speakHttp = server.listeners('connection')
  server.removeAllListeners('connection')
  server.on('connection', (accepted: Socket) => {
    turns.accepted()
    const socket = new GuardedSocket(accepted, turns)
    if (!places.enter(socket)) {
      socket.destroy()
      return
    }
    for (const listener of speakHttp) listener.call(server, socket)
  })
}
