// HTTP by hand: tests that break the protocol need to say exactly which bytes are sent, and when.
import { connect, type Socket } from 'node:net'

export interface RawAnswer {
  /** 0 when the server closed without an answer. */
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
  /** Everything received; more than one answer shows here. */
  readonly text: string
}

const WAIT_MAX_MS = 15_000

/** The bytes of a request whose socket is to be closed after it. */
export function rawRequest(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body = '',
): string {
  const all = { Host: 'localhost', Connection: 'close', 'Content-Length': String(body.length), ...headers }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`
}

/**
 * Sends the bytes as they are, then waits for the server to answer and close.
 * Rejects when it does neither in time.
 */
export async function rawExchange(port: number, bytes: string | Uint8Array): Promise<RawAnswer> {
  return rawDialogue(port, (socket) => void socket.write(bytes))
}

/**
 * As rawExchange, for a talker that sends in its own time;
 * errors of its writes after the server closed are not errors.
 */
export async function rawDialogue(port: number, talk: (socket: Socket) => void): Promise<RawAnswer> {
  const chunks: Buffer[] = []
  const socket = connect({ port, host: '127.0.0.1' })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const timer = setTimeout(() => reject(new Error(`no end of the answer in ${WAIT_MAX_MS} ms`)), WAIT_MAX_MS)
  socket.on('connect', () => talk(socket))
  socket.on('data', (chunk) => chunks.push(chunk))
  socket.on('error', () => resolve())
  socket.on('close', () => resolve())
  try {
    await promise
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
  return parsed(Buffer.concat(chunks).toString('latin1'))
}

function parsed(text: string): RawAnswer {
  const end = text.indexOf('\r\n\r\n')
  const [first = '', ...lines] = text.slice(0, end < 0 ? undefined : end).split('\r\n')
  const headers = new Map(
    lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    }),
  )
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1] ?? 0)
  return { status, headers, body: end < 0 ? '' : text.slice(end + 4), text }
}
