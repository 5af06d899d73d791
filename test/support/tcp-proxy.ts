// A TCP proxy that a test or a drill can break: it cuts both sides at a chosen moment, as a cut
// cable or a dying balancer does, and it can be slow, narrow, mute or gone. It looks at bytes; what
// a protocol's messages look like is said by the caller.
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** What is wrong with the line; {} is a good line. */
export interface Toxics {
  /** New connections are refused at once and the existing ones reset. */
  readonly down?: boolean
  /** Bytes of this direction vanish while the sockets stay open: a half-open link. */
  readonly mute?: 'up' | 'down' | 'both'
  /**
   * Nobody gets through: whoever says something is told this, and that was it.
   * Connections that are open are reset first.
   */
  readonly answer?: string
  /** Added to each direction. */
  readonly latencyMs?: number
  /** Up to this much more, by `random`. */
  readonly jitterMs?: number
  /** Per connection and direction. */
  readonly bytesPerSecond?: number
  /** Everything is passed on in pieces of at most this size. */
  readonly sliceBytes?: number
}

export interface Cut {
  /** Recognises the message in what the client sends; one chunk at a time. */
  readonly matches: (chunk: Buffer) => boolean
  /** true: the server gets the message and its answer is lost. false: the message is lost. */
  readonly forward: boolean
  /** The n-th match cuts, 1-based. */
  readonly nth?: number
}

export interface TcpProxy extends AsyncDisposable {
  readonly port: number
  /**
   * The next time the client sends these bytes they are passed on, and what the server answers to
   * them is not: both sides are dropped.
   */
  cutAfter(bytes: Buffer): void
  /** The next time the client sends these bytes they are not passed on: both sides are dropped. */
  cutBefore(bytes: Buffer): void
  /** Arms one cut; it is spent when it happened. */
  cutOn(cut: Cut): void
  /** Takes an armed cut back. */
  disarm(): void
  /** How many connections were cut by an armed cut. */
  cuts(): number
  /** Replaces what is wrong with the line. Connections that are down are reset. */
  set(toxics: Toxics): void
  /** Resets every connection now; new ones are as good as the line is. */
  resetAll(): number
  /** Connections that are open now. */
  open(): number
  /** Connections that were refused because the line is down. */
  refused(): number
  /** Connections that got the line's own answer. */
  answered(): number
}

/**
 * 8 bytes of length and API key stand before every Kafka request (KIP-482 leaves them as they are).
 */
const KAFKA_HEAD = 6

/**
 * Recognises a Kafka request by its API key: 0 Produce, 1 Fetch, 8 OffsetCommit, 26 EndTxn.
 * kafka.apache.org/protocol#protocol_api_keys
 */
export function kafkaRequest(apiKey: number): (chunk: Buffer) => boolean {
  return (chunk) => chunk.length >= KAFKA_HEAD && chunk.readInt16BE(4) === apiKey
}

/** Listens on a free port and forwards to `target` on loopback. */
export async function startTcpProxy(target: number, random: () => number = Math.random): Promise<TcpProxy> {
  const line = new Line(target, random)
  const server = createServer((client) => line.accept(client))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    cutAfter: (bytes) => line.arm({ matches: (chunk) => chunk.includes(bytes), forward: true }),
    cutBefore: (bytes) => line.arm({ matches: (chunk) => chunk.includes(bytes), forward: false }),
    cutOn: (cut) => line.arm(cut),
    disarm: () => line.arm(null),
    cuts: () => line.cuts,
    set: (toxics) => line.set(toxics),
    resetAll: () => line.resetAll(),
    open: () => line.sockets.size / 2,
    refused: () => line.refused,
    answered: () => line.answered,
    async [Symbol.asyncDispose]() {
      line.set({})
      for (const socket of line.sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

class Line {
  readonly sockets = new Set<Socket>()
  cuts = 0
  refused = 0
  answered = 0
  readonly #target: number
  readonly #random: () => number
  #toxics: Toxics = {}
  #cut: Cut | null = null
  #matched = 0

  constructor(target: number, random: () => number) {
    this.#target = target
    this.#random = random
  }

  arm(cut: Cut | null): void {
    this.#cut = cut
    this.#matched = 0
  }

  set(toxics: Toxics): void {
    this.#toxics = toxics
    if (toxics.down || toxics.answer !== undefined) this.resetAll()
  }

  resetAll(): number {
    const open = this.sockets.size / 2
    for (const socket of this.sockets) socket.resetAndDestroy()
    return open
  }

  accept(client: Socket): void {
    if (this.#toxics.down) {
      this.refused += 1
      client.on('error', () => {})
      client.resetAndDestroy()
      return
    }
    if (this.#toxics.answer !== undefined) return this.#answer(client, this.#toxics.answer)
    const upstream = connect(this.#target, '127.0.0.1')
    let muted = false
    const drop = () => [client, upstream].forEach((socket) => void socket.destroy())
    for (const socket of [client, upstream]) {
      this.sockets.add(socket)
      socket.on('error', drop)
      socket.on('close', () => {
        this.sockets.delete(socket)
        drop()
      })
    }
    const up = this.#pump(upstream, 'up')
    const down = this.#pump(client, 'down')
    client.on('data', (chunk: Buffer) => {
      const cut = this.#take(chunk)
      if (cut === null) up(chunk)
      else if (cut.forward) {
        // The answer proves that the server has carried it out; the client never sees it.
        muted = true
        upstream.write(chunk)
      } else drop()
    })
    upstream.on('data', (chunk: Buffer) => (muted ? drop() : down(chunk)))
  }

  #answer(client: Socket, text: string): void {
    client.on('error', () => {})
    client.once('data', () => {
      this.answered += 1
      client.end(text)
    })
  }

  #take(chunk: Buffer): Cut | null {
    const cut = this.#cut
    if (cut === null || !cut.matches(chunk)) return null
    this.#matched += 1
    if (this.#matched < (cut.nth ?? 1)) return null
    this.#cut = null
    this.cuts += 1
    return cut
  }

  /** Passes chunks on in their order, as slow and as narrow as the line is at that moment. */
  #pump(into: Socket, direction: 'up' | 'down'): (chunk: Buffer) => void {
    let last = Promise.resolve()
    let waiting = 0
    return (chunk) => {
      const { mute } = this.#toxics
      if (mute === direction || mute === 'both') return
      if (waiting === 0 && this.#isFast()) {
        into.write(chunk)
        return
      }
      waiting += 1
      const dueAt = performance.now() + this.#latency()
      last = last.then(async () => {
        await this.#passSlowly(into, chunk, dueAt)
        waiting -= 1
      })
    }
  }

  #isFast(): boolean {
    const { latencyMs, bytesPerSecond, sliceBytes } = this.#toxics
    return latencyMs === undefined && bytesPerSecond === undefined && sliceBytes === undefined
  }

  #latency(): number {
    const { latencyMs = 0, jitterMs = 0 } = this.#toxics
    return latencyMs + jitterMs * this.#random()
  }

  async #passSlowly(into: Socket, chunk: Buffer, dueAt: number): Promise<void> {
    const wait = dueAt - performance.now()
    if (wait > 0) await delay(wait)
    const { sliceBytes = chunk.length, bytesPerSecond } = this.#toxics
    for (let at = 0; at < chunk.length && !into.destroyed; at += sliceBytes) {
      const piece = chunk.subarray(at, at + sliceBytes)
      into.write(piece)
      if (bytesPerSecond !== undefined) await delay((piece.length / bytesPerSecond) * 1000)
      else if (sliceBytes < chunk.length) await new Promise((resolve) => setImmediate(resolve))
    }
  }
}
