// The socket that KafkaJS reads from: over TLS where the settings say so, and whole responses only.
import { isIP, Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { ISocketFactory } from 'kafkajs'
import { tlsTroubleOf } from '#shared/process/tls-words.ts'
import { LoginWatch } from './login-watch.ts'
import { RefusalBackoff } from './refusal-backoff.ts'
import { clearHostProblem, credentialsOf, type KafkaSecurity } from './security.ts'
import { heldError, SPEAKS_TLS } from './trouble.ts'

/** Every response begins with its size (https://kafka.apache.org/protocol#protocol_common). */
const SIZE_BYTES = 4
const KEEP_ALIVE_MS = 60_000
/**
 * A TLS record of type alert or handshake begins so (RFC 8446 §5.1). As a size it were 352 MB or
 * more, and Kafka answers with 100 MB at most.
 */
const TLS_RECORD = /^(?:15|16)030[0-4]/

/**
 * Lets this socket give on only whole responses; what a broken connection leaves of one goes with
 * it. KafkaJS 2.2.4 keeps the half in its connection and puts the first bytes of the next socket
 * behind it: from then on it reads sizes out of the middle of records, and a RangeError in its data
 * listener ended a sync process in a soak. A socket of TLS is made by Node, so this is no subclass:
 * `push` is how both kinds hand their bytes on. `watch` sees each of them too, and each request.
 */
export function wholeResponses<S extends Socket>(socket: S, watch?: LoginWatch): S {
  const giveOn = socket.push.bind(socket)
  const splitter = new Splitter()
  socket.push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
    if (chunk === null) return giveOn(null)
    const whole = splitter.take(chunk)
    if (whole instanceof Error) {
      socket.destroy(whole)
      return false
    }
    if (whole === null) return true
    watch?.answered(whole)
    return giveOn(whole, encoding)
  }
  if (watch !== undefined) watchRequests(socket, watch)
  return socket
}

type Done = (error?: Error | null) => void

/** KafkaJS writes a request in one piece. */
function watchRequests(socket: Socket, watch: LoginWatch): void {
  const write = socket.write.bind(socket)
  socket.write = (request: Uint8Array | string, second?: BufferEncoding | Done, done?: Done): boolean => {
    if (typeof request !== 'string') watch.asked(request)
    return typeof second === 'function' ? write(request, undefined, second) : write(request, second, done)
  }
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
 * advertises. A broker that refused us is left in peace for a while: the socket fails with what the
 * broker said. Throws when it may not connect.
 */
export function socketFactoryOf(security: KafkaSecurity, backoff = new RefusalBackoff()): ISocketFactory {
  const { tls, login, clearHosts } = security
  return ({ host, port, onConnect }) => {
    if (tls === null && login === null)
      return wholeResponses(new Socket()).setKeepAlive(true, KEEP_ALIVE_MS).connect({ host, port }, onConnect)
    const problem = tls === null ? clearHostProblem(host, clearHosts) : null
    if (problem !== null) throw new Error(problem)
    const broker = `${host}:${port}`
    const credentials = credentialsOf(security)
    const held = refusalOfToken(security) ?? backoff.enter(broker, credentials)
    if (held !== null) return new Socket().destroy(held)
    const watch = new LoginWatch({
      // A login is repeated on a connection that lives long, with the password of that time.
      refused: (error) => backoff.refused(broker, credentialsOf(security), heldError(error)),
      taken: () => backoff.taken(broker),
    })
    if (tls !== null) {
      const name = isIP(host) === 0 ? { servername: host } : {}
      const options = { host, port, ...name, secureContext: tls.context() }
      const socket = wholeResponses(connectTls(options, onConnect), watch)
      // With TLS 1.3 a server refuses a client certificate after we have connected.
      socket.on('error', (error: Error & { code?: unknown }) => {
        const trouble = tlsTroubleOf(error.code)
        if (trouble !== null && trouble.kind !== 'no-tls') backoff.refused(broker, credentials, error)
      })
      return socket.setKeepAlive(true, KEEP_ALIVE_MS)
    }
    const socket = wholeResponses(new Socket(), watch)
    return socket.setKeepAlive(true, KEEP_ALIVE_MS).connect({ host, port }, onConnect)
  }
}

/** No broker is asked for a login while there is no token for it. */
function refusalOfToken({ login }: KafkaSecurity): Error | null {
  if (login?.mechanism !== 'OAUTHBEARER') return null
  const refusal = login.token.refusal()
  return refusal === null ? null : heldError(refusal)
}
