// A socket as the HTTP server sees it. Invariants: the parser gets nothing while an answer is open,
// so one request of a socket is open at a time; at most 8 kB of a socket lie here unparsed; after
// its last words it is gone within 250 ms, whatever the other side does.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { leadingLineEnds, nextPiece, type Stage } from './pieces.ts'
import { READ_BYTES_MAX, readInSmall } from './small-reads.ts'
import type { Turns } from './turns.ts'

/** What a socket is doing: by this a place decides which one gives way. */
export type Activity =
  /** Nothing of a request has arrived. */
  | 'idle'
  /** A part of a request has arrived. */
  | 'receiving'
  /** A request is whole and its answer is not. */
  | 'answering'

/**
 * Lets a client that is still sending read why it was refused before the reset
 * that a close would send.
 */
const LAST_WORDS_MS = 250
const NOTHING = Buffer.alloc(0)

/** See above. Emits `activity` when it changes. */
export class GuardedSocket extends Duplex {
  readonly remoteAddress: string
  readonly #raw: Socket
  #kept: Buffer = NOTHING
  #stage: Stage = { kind: 'head' }
  #lineIsEmpty = false
  #isHeadBegun = false
  /** The request that the parser made last. */
  #open: IncomingMessage | null = null
  #unanswered = 0
  #activity: Activity = 'idle'
  #hasEnded = false
  #isLeaving = false
  #leave: NodeJS.Timeout | null = null

  readonly #turns: Turns
  readonly #passLater = () => this.#pass()

  /** @param turns shared with the other sockets of the server */
  constructor(accepted: Socket, turns: Turns) {
    super({ allowHalfOpen: true, readableHighWaterMark: READ_BYTES_MAX })
    this.#turns = turns
    this.remoteAddress = accepted.remoteAddress ?? ''
    this.#raw = readInSmall(accepted, {
      arrived: (count, bytes) => this.#arrived(count, bytes),
      isStreaming: () => this.#stage.kind === 'sized' && this.#open?.readableFlowing === true,
    })
    this.#raw.on('end', () => this.#ended())
    this.#raw.on('timeout', () => this.emit('timeout'))
    this.#raw.on('error', (error) => this.destroy(error))
    this.#raw.on('close', () => this.destroy())
    this.#raw.resume()
  }

  get activity(): Activity {
    return this.#activity
  }

  /** The parser made a request of what it got; called before anything else sees it. */
  opened(request: IncomingMessage, response: ServerResponse): void {
    this.#open = request
    this.#unanswered += 1
    response.once('close', () => {
      this.#unanswered -= 1
      if (this.#kept.length === 0 || !request.complete) return this.#pass()
      // Until its turn it has no answer open and may give way:
      // full pipelines never hold all places.
      this.#tell()
      this.#turns.take(this.#passLater)
    })
  }

  /** As net.Socket: `timeout` is emitted after `ms` without a byte in or out. */
  setTimeout(ms: number, callback?: () => void): this {
    this.#raw.setTimeout(ms)
    if (callback) this.once('timeout', callback)
    return this
  }

  /** As net.Socket: closes once everything is written. */
  destroySoon(): void {
    this.#depart()
    if (this.writable) this.end()
  }

  /** Sends these last bytes instead of an answer and closes. */
  leave(words: string): void {
    this.#depart()
    this.end(words)
  }

  override _read(): void {
    // Not at once: the piece before is on its way to the parser, which may open a request of it.
    process.nextTick(() => this.#pass())
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#raw.write(chunk, encoding, done)
  }

  override _writev(
    chunks: { chunk: Buffer; encoding: BufferEncoding }[],
    done: (error?: Error | null) => void,
  ): void {
    this.#raw.cork()
    for (const { chunk, encoding } of chunks.slice(0, -1)) this.#raw.write(chunk, encoding)
    const last = chunks.at(-1)
    if (last) this.#raw.write(last.chunk, last.encoding, done)
    this.#raw.uncork()
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#raw.end(done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.#leave) clearTimeout(this.#leave)
    this.#kept = NOTHING
    this.#raw.destroy()
    done(error)
  }

  #arrived(count: number, bytes: Uint8Array): boolean {
    if (this.#isLeaving) return true
    const copy = Buffer.allocUnsafeSlow(count)
    copy.set(bytes.subarray(0, count))
    this.#kept = this.#kept.length === 0 ? copy : Buffer.concat([this.#kept, copy])
    this.#pass()
    return this.#kept.length === 0
  }

  #ended(): void {
    this.#hasEnded = true
    if (this.#isLeaving && this.writableFinished) this.destroy()
    else this.#pass()
  }

  /** Hands on what may be handed on, piece by piece, and reads on when nothing is left. */
  #pass(): void {
    if (this.destroyed || this.#isLeaving) return
    while (this.#kept.length > 0 && this.readableLength === 0 && !this.#isAnswering()) this.#passPiece()
    this.#tell()
    if (this.#kept.length > 0 || this.destroyed || this.#isLeaving) return
    if (!this.#hasEnded) this.#raw.resume()
    else if (!this.readableEnded && !this.readableAborted) this.push(null)
  }

  #passPiece(): void {
    if (this.#stage.kind === 'head' && !this.#isHeadBegun) {
      this.#kept = this.#kept.subarray(leadingLineEnds(this.#kept))
      if (this.#kept.length === 0) return
      this.#isHeadBegun = true
      this.#tell()
    }
    const { length, lineIsEmpty } = nextPiece(this.#kept, this.#stage, this.#lineIsEmpty)
    const piece = this.#kept.subarray(0, length)
    this.#kept = length === this.#kept.length ? NOTHING : this.#kept.subarray(length)
    this.#lineIsEmpty = lineIsEmpty
    const before = this.#open
    this.#stage = after(this.#stage, length)
    this.push(piece)
    if (this.#open !== before) this.#stage = bodyOf(this.#open)
  }

  /** Whether an answer is open; forgets a request that is over. */
  #isAnswering(): boolean {
    // More than one: a wrong cut; the rest of the newest waits too.
    if (this.#unanswered > 1) return true
    if (this.#open === null || !this.#open.complete) return false
    if (this.#unanswered > 0) return true
    this.#open = null
    this.#stage = { kind: 'head' }
    this.#lineIsEmpty = false
    this.#isHeadBegun = false
    return false
  }

  #tell(): void {
    const now = this.#isAnswering() ? 'answering' : this.#isHeadBegun ? 'receiving' : 'idle'
    if (now === this.#activity) return
    this.#activity = now
    this.emit('activity')
  }

  #depart(): void {
    if (this.#isLeaving) return
    this.#isLeaving = true
    this.#kept = NOTHING
    // What still arrives is thrown away:
    // a close with unread bytes is a reset, which may overtake the answer.
    this.#raw.resume()
    this.once('finish', () => {
      if (this.#hasEnded) this.destroy()
    })
    this.#leave = setTimeout(() => this.destroy(), LAST_WORDS_MS).unref()
  }
}

function bodyOf(request: IncomingMessage | null): Stage {
  const { headers = {} } = request ?? {}
  const length = Number(headers['content-length'])
  return headers['transfer-encoding'] === undefined && Number.isFinite(length)
    ? { kind: 'sized', left: length }
    : { kind: 'chunked', cuts: 0 }
}

function after(stage: Stage, length: number): Stage {
  if (stage.kind === 'sized') return { kind: 'sized', left: stage.left - length }
  return stage.kind === 'chunked' ? { kind: 'chunked', cuts: stage.cuts + 1 } : stage
}
