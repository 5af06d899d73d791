// How many sockets are open, in all and of one client, and who gives way. Invariants: neither
// bound is ever passed; a newcomer is refused only when every place (of all, or of its
// client) has an answer open, since a socket that keeps us waiting for a request gives way. Pure
// but for the sockets that it closes.
import { clientOf } from './addresses.ts'
import type { Activity } from './guarded-socket.ts'
import type { Reason, TurnedAway } from './turned-away.ts'

/** What is needed of a socket. */
export interface Visitor {
  readonly remoteAddress: string
  readonly activity: Activity
  destroy(): unknown
  on(event: 'activity' | 'close', listener: () => void): unknown
}

export interface PlacesOptions {
  readonly max: number
  readonly perClientMax: number
  /** Proxies, whose sockets belong to many clients: bounded in all alone. */
  readonly isTrusted: (address: string) => boolean
}

interface Client {
  readonly isTrusted: boolean
  open: number
  /** Who keeps us waiting for a request or its rest, longest first. */
  readonly waiting: Set<Visitor>
}

export interface Places {
  readonly open: number
  /** Finds a place for a newcomer, which makes another one give way where there is none. */
  enter(visitor: Visitor): boolean
}

/** Bounds of `options`; who is closed is counted by `away`. */
export function createPlaces(options: PlacesOptions, away: TurnedAway): Places {
  const clients = new Map<string, Client>()
  /** Of all clients, longest first. */
  const waiting = new Set<Visitor>()
  const clientsOf = new Map<Visitor, Client>()

  /**
   * Of the client with the most waiting sockets the one that waits longest; where all have one at
   * most, the one that waits longest of all. A proxy's sockets come last.
   */
  function longest(): Visitor | undefined {
    let most: Client | null = null
    for (const client of clients.values())
      if (!client.isTrusted && client.waiting.size > (most?.waiting.size ?? 1)) most = client
    return first(most?.waiting ?? waiting)
  }

  function leave(visitor: Visitor): void {
    const client = clientsOf.get(visitor)
    if (client === undefined) return
    clientsOf.delete(visitor)
    waiting.delete(visitor)
    client.waiting.delete(visitor)
    client.open -= 1
    if (client.open === 0) clients.delete(clientOf(visitor.remoteAddress))
  }

  function heed(visitor: Visitor, client: Client): void {
    if (!clientsOf.has(visitor)) return
    // Again at the end: a first byte after a long silence is a beginning.
    waiting.delete(visitor)
    client.waiting.delete(visitor)
    if (visitor.activity === 'answering') return
    waiting.add(visitor)
    client.waiting.add(visitor)
  }

  function giveWay(visitor: Visitor | undefined, otherwise: Reason): boolean {
    away.count(visitor ? 'gave_way' : otherwise)
    if (visitor === undefined) return false
    leave(visitor)
    visitor.destroy()
    return true
  }

  function isRoomFor(client: Client): boolean {
    const isOver = !client.isTrusted && client.open >= options.perClientMax
    if (isOver && !giveWay(first(client.waiting), 'address_full')) return false
    return clientsOf.size < options.max || giveWay(longest(), 'full')
  }

  return {
    get open() {
      return clientsOf.size
    },
    enter(visitor) {
      const key = clientOf(visitor.remoteAddress)
      const known = clients.get(key)
      const isTrusted = options.isTrusted(visitor.remoteAddress)
      const client = known ?? { isTrusted, open: 0, waiting: new Set<Visitor>() }
      if (!isRoomFor(client)) return false
      // The socket that gave way may have been this client's last one.
      clients.set(key, client)
      client.open += 1
      clientsOf.set(visitor, client)
      heed(visitor, client)
      visitor.on('activity', () => heed(visitor, client))
      visitor.on('close', () => leave(visitor))
      return true
    },
  }
}

function first<T>(set: ReadonlySet<T>): T | undefined {
  const [one] = set
  return one
}
