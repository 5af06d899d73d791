// The socket that KafkaJS reads from: over TLS where the settings say so, and whole responses only.
import { isIP, Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { ISocketFactory } from 'kafkajs'
import { clearHostProblem, type KafkaSecurity } from './security.ts'

/** Every response begins with its size (https://kafka.apache.org/protocol#protocol_common). */
const SIZE_BYTES = 4
const KEEP_ALIVE_MS = 60_000
/**
 * A TLS record of type alert or handshake begins so (RFC 8446 §5.1). As a size it were 352 MB or
 * more, and Kafka answers with 100 MB at most.
 */
const TLS_RECORD = /^(?:15|16)030[0-4]/

export const SPEAKS_TLS = 'The broker speaks TLS on this port.'

/**
 * Lets this socket give on only whole responses; what a broken connection leaves of one goes with
 * it. KafkaJS 2.2.4 keeps the half in its connection and puts the first bytes of the next socket
 * behind it: from then on it reads sizes out of the middle of records, and a RangeError in its data
 * listener ended a sync process in a soak. A socket of TLS is made by Node, so this is no subclass:
 * `push` is how both kinds hand their bytes on.
 */
export function wholeResponses<S extends Socket>(socket: S): S {
  const giveOn = socket.push.bind(socket)
  const splitter = new Splitter()
  socket.push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
    if (chunk === null) return giveOn(null)
    const whole = splitter.take(chunk)
    if (whole instanceof Error) {
      socket.destroy(whole)
      return false
    }
    return whole === null || giveOn(whole, encoding)
  }
  return socket
}

class Splitter {
  #chunks: Buffer[] = []
  #heldBytes = 0
  #needed = SIZE_BYTES

  /** The responses that are whole now; null while none is; an Error for what is no response. */
  take(chunk: Buffer): Buffer | null | Error {
    this.#chunks.push(chunk)
    this.#heldBytes += chunk.length
    if (this.#heldBytes < this.#needed) return null
    const all = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks)
    if (TLS_RECORD.test(all.toString('hex', 0, SIZE_BYTES))) return new Error(SPEAKS_TLS)
    const whole = this.#wholeOf(all)
    if (whole < 0) return new Error('This is no answer of a Kafka broker.')
    this.#chunks = [all.subarray(whole)]
    this.#heldBytes = all.length - whole
    return whole === 0 ? null : all.subarray(0, whole)
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

/**
 * For `new Kafka`: with keep-alive, as its own factory makes it. KafkaJS hands its factory the
 * option `ssl`; ours looks at the settings instead, so no client can be made that sends a password
 * in clear because the option was forgotten. Certificates are read again for each connection. A
 * login in clear goes to no host that the settings do not allow, whatever address a broker
 * advertises. Throws when it may not connect.
 */
export function socketFactoryOf({ tls, login, clearHosts }: KafkaSecurity): ISocketFactory {
  return ({ host, port, onConnect }) => {
    if (tls !== null) {
      const name = isIP(host) === 0 ? { servername: host } : {}
      const options = { host, port, ...name, secureContext: tls.context() }
      return wholeResponses(connectTls(options, onConnect)).setKeepAlive(true, KEEP_ALIVE_MS)
    }
    const problem = login === null ? null : clearHostProblem(host, clearHosts)
    if (problem !== null) throw new Error(problem)
    const socket = wholeResponses(new Socket())
    return socket.setKeepAlive(true, KEEP_ALIVE_MS).connect({ host, port }, onConnect)
  }
}
