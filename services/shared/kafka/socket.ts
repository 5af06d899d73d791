// The socket that KafkaJS reads from: whole responses only.
import { Socket } from 'node:net'
import type { ISocketFactory } from 'kafkajs'

/** Every response begins with its size (https://kafka.apache.org/protocol#protocol_common). */
const SIZE_BYTES = 4
const KEEP_ALIVE_MS = 60_000

/**
 * Gives on only whole responses; what a broken connection leaves of one goes with it. KafkaJS
 * 2.2.4 keeps the half in its connection and puts the first bytes of the next socket behind it:
 * from then on it reads sizes out of the middle of records, and a RangeError in its data listener
 * ended a sync process in a soak.
 */
export class WholeResponses extends Socket {
  #chunks: Buffer[] = []
  #heldBytes = 0
  #needed = SIZE_BYTES

  override push(chunk: Buffer | null, encoding?: BufferEncoding): boolean {
    if (chunk === null) return super.push(null)
    this.#chunks.push(chunk)
    this.#heldBytes += chunk.length
    if (this.#heldBytes < this.#needed) return true
    const all = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks)
    const whole = this.#wholeOf(all)
    if (whole < 0) {
      this.destroy(new Error('This is no answer of a Kafka broker.'))
      return false
    }
    this.#chunks = [all.subarray(whole)]
    this.#heldBytes = all.length - whole
    return whole === 0 || super.push(all.subarray(0, whole), encoding)
  }

  /** How many bytes are whole responses; −1 when a size is none. Notes what the next one needs. */
  #wholeOf(all: Buffer): number {
    let whole = 0
    this.#needed = SIZE_BYTES
    while (all.length - whole >= SIZE_BYTES) {
      const size = all.readInt32BE(whole)
      if (size < 0) return -1
      if (all.length - whole < SIZE_BYTES + size) {
        this.#needed = SIZE_BYTES + size
        break
      }
      whole += SIZE_BYTES + size
    }
    return whole
  }
}

/** For `new Kafka`: plain TCP with keep-alive, as its own factory makes it. */
export const socketFactory: ISocketFactory = ({ host, port, onConnect }) =>
  new WholeResponses().setKeepAlive(true, KEEP_ALIVE_MS).connect({ host, port }, onConnect)
