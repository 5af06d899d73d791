// A TCP proxy that a test or a drill can break: it cuts both sides at a chosen moment, as a cut
// cable or a dying balancer does, and it can be slow, narrow, mute or gone. It looks at bytes; what
// a protocol's messages look like is said by the caller.
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { connect as connectTls, TLSSocket } from 'node:tls'
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
  /**
   * Of a line that ends TLS: shows this certificate to clients from now on, and resets those that
   * are connected. null is the one that it began with.
   */
  show(identity: Pick<LineTls, 'certificate' | 'key'> | null): void
  /**
   * Of a line that ends TLS: whether from now on it leaves TLS alone, so that clients see the
   * certificate of the server itself. Those that are connected are reset.
   */
  leaveTls(isLeft: boolean): void
  /** Connections that ended before the client had said anything, in TLS where there is TLS. */
  wordless(): number
  /** Pieces of what clients said, once TLS is taken off. */
  heard(): number
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

/**
 * Ends TLS on both of its sides, so that what the protocol says can be seen and cut: PEM of a
 * certificate for clients, its key, and of the authority by which the server is known.
 */
export interface LineTls {
  readonly certificate: string
  readonly key: string
  readonly ca: string
  /**
   * What a client says in clear before TLS begins, where a protocol asks for it first. A server
   * that agrees answers with `S`.
   */
  readonly opening?: Buffer
}

/**
 * SSLRequest of Postgres: length and code
 * (https://www.postgresql.org/docs/current/protocol-message-formats.html).
 */
export const POSTGRES_OPENING = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])

/** Listens on a free port and forwards to `target` on loopback. */
export async function startTcpProxy(
  target: number,
  random: () => number = Math.random,
  tls: LineTls | null = null,
): Promise<TcpProxy> {
  const line = new Line(target, random, tls)
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
    show: (identity) => line.show(identity),
    leaveTls: (isLeft) => line.leaveTls(isLeft),
    wordless: () => line.wordless,
    heard: () => line.heard,
    async [Symbol.asyncDispose]() {
      line.set({})
      for (const socket of line.sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/**
 * Several lines as one, for clients that know a server of several addresses. A cut strikes one of
 * them: the n-th match on any.
 */
export function linesAsOne(lines: readonly [TcpProxy, ...TcpProxy[]]): TcpProxy {
  const sum = (of: (line: TcpProxy) => number): number => lines.reduce((all, line) => all + of(line), 0)
  const cutOn = (cut: Cut): void => {
    let matched = 0
    const matches = (chunk: Buffer): boolean => {
      if (!cut.matches(chunk)) return false
      matched += 1
      return matched === (cut.nth ?? 1)
    }
    for (const line of lines) line.cutOn({ forward: cut.forward, matches })
  }
  return {
    port: lines[0].port,
    cutAfter: (bytes) => cutOn({ matches: (chunk) => chunk.includes(bytes), forward: true }),
    cutBefore: (bytes) => cutOn({ matches: (chunk) => chunk.includes(bytes), forward: false }),
    cutOn,
    disarm: () => lines.forEach((line) => line.disarm()),
    cuts: () => sum((line) => line.cuts()),
    set: (toxics) => lines.forEach((line) => line.set(toxics)),
    resetAll: () => sum((line) => line.resetAll()),
    open: () => sum((line) => line.open()),
    refused: () => sum((line) => line.refused()),
    answered: () => sum((line) => line.answered()),
    show: (identity) => lines.forEach((line) => line.show(identity)),
    leaveTls: (isLeft) => lines.forEach((line) => line.leaveTls(isLeft)),
    wordless: () => sum((line) => line.wordless()),
    heard: () => sum((line) => line.heard()),
    async [Symbol.asyncDispose]() {
      await Promise.all(lines.map((line) => line[Symbol.asyncDispose]()))
    },
  }
}

class Line {
  readonly sockets = new Set<Socket>()
  cuts = 0
  refused = 0
  answered = 0
  wordless = 0
  heard = 0
  readonly #target: number
  readonly #random: () => number
  /** What it was given; null in `#tls` while TLS is left alone. */
  readonly #ownTls: LineTls | null
  #tls: LineTls | null
  /** What lies under a socket with TLS. */
  readonly #raw = new WeakMap<Socket, Socket>()
  #shown: Pick<LineTls, 'certificate' | 'key'> | null
  #toxics: Toxics = {}
  #cut: Cut | null = null
  #matched = 0

  constructor(target: number, random: () => number, tls: LineTls | null) {
    this.#target = target
    this.#random = random
    this.#ownTls = tls
    this.#tls = tls
    this.#shown = tls
  }

  leaveTls(isLeft: boolean): void {
    this.#tls = isLeft ? null : this.#ownTls
    this.#shown = this.#tls
    this.resetAll()
  }

  show(identity: Pick<LineTls, 'certificate' | 'key'> | null): void {
    if (this.#tls === null) throw new Error('this line ends no TLS')
    this.#shown = identity ?? this.#tls
    this.resetAll()
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
    // Only TCP can be reset.
    for (const socket of this.sockets) (this.#raw.get(socket) ?? socket).resetAndDestroy()
    return open
  }

  accept(from: Socket): void {
    if (this.#toxics.down) {
      this.refused += 1
      from.on('error', () => {})
      from.resetAndDestroy()
      return
    }
    if (this.#toxics.answer !== undefined) return this.#answer(this.#served(from), this.#toxics.answer)
    const to = connect(this.#target, '127.0.0.1')
    const opening = this.#tls?.opening
    if (opening === undefined) this.#join(this.#served(from), this.#connected(to))
    else this.#open(opening, from, to)
  }

  /** Passes on what is said before TLS begins. Who goes on in clear is let go on. */
  #open(opening: Buffer, from: Socket, to: Socket): void {
    this.#together(from, to)
    from.once('data', (asked: Buffer) => {
      to.once('data', (answer: Buffer) => {
        for (const socket of [from, to]) this.sockets.delete(socket)
        from.write(answer)
        const isTls = asked.equals(opening) && answer.toString('latin1') === 'S'
        if (isTls) this.#join(this.#served(from), this.#connected(to))
        else this.#join(from, to)
      })
      to.write(asked)
    })
  }

  /** Neither outlives the other. */
  #together(client: Socket, upstream: Socket): () => void {
    const drop = () => [client, upstream].forEach((socket) => void socket.destroy())
    for (const socket of [client, upstream]) {
      this.sockets.add(socket)
      socket.on('error', drop)
      socket.on('close', () => {
        this.sockets.delete(socket)
        drop()
      })
    }
    return drop
  }

  #join(client: Socket, upstream: Socket): void {
    let muted = false
    let said = 0
    client.once('close', () => {
      if (said === 0) this.wordless += 1
    })
    const drop = this.#together(client, upstream)
    const up = this.#pump(upstream, 'up')
    const down = this.#pump(client, 'down')
    client.on('data', (chunk: Buffer) => {
      said += 1
      this.heard += 1
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

  #served(raw: Socket): Socket {
    if (this.#shown === null) return raw
    const { certificate: cert, key } = this.#shown
    return this.#over(raw, new TLSSocket(raw, { isServer: true, cert, key }))
  }

  #connected(raw: Socket): Socket {
    if (this.#tls === null) return raw
    return this.#over(raw, connectTls({ socket: raw, ca: this.#tls.ca, servername: 'localhost' }))
  }

  #over(raw: Socket, secured: TLSSocket): Socket {
    raw.on('error', () => secured.destroy())
    this.#raw.set(secured, raw)
    return secured
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
