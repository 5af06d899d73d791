// The strangers of a flood, in a thread of their own: what they send must not slow down the
// measurement of the honest ones. Runs only as a worker of flood.ts.
import { connect, type Socket } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import type { FloodKind, FloodReport, FloodSpec } from './flood.ts'

const KB = 1024
const DRIP_EVERY_MS = 300
const TICK_MS = 50
const PIPELINED_BYTES = 200 * KB
const MICROSOFT = '/api/webhooks/calendar/microsoft'
/** With and without a token's door, known and unknown: every route that a body may be sent to. */
const PATHS = [MICROSOFT, '/api/webhooks/calendar/google', '/api/calendar/sync', '/nowhere']
const CHUNK = 64_000

/** Whose body is read before anybody knows who sends it. */
const isRead = (at: number) =>
  spec.kind === 'announced' ? at % 2 === 0 || pathOf(at >> 1) === MICROSOFT : pathOf(at) === MICROSOFT

/** What a stranger sends once it is connected; `at` is how many came before it. */
type Opening = (at: number) => readonly (string | Buffer)[]

const head = (path: string, lines: string) => `POST ${path} HTTP/1.1\r\nHost: x\r\n${lines}\r\n`
const pathOf = (at: number) => PATHS[at % PATHS.length] ?? MICROSOFT
const pipelined = Buffer.from(
  head(PATHS[1] ?? '', 'Content-Length: 0\r\n').repeat(Math.ceil(PIPELINED_BYTES / 80)),
).subarray(0, PIPELINED_BYTES)
const filler = Buffer.alloc(KB * KB, 'a')
const chunk = Buffer.concat([
  Buffer.from(`${CHUNK.toString(16)}\r\n`),
  filler.subarray(0, CHUNK),
  Buffer.from('\r\n'),
])

const OPENINGS: Record<FloodKind, Opening> = {
  pipelined: () => [pipelined],
  silent: () => [],
  'half a head': (at) => [at % 2 === 0 ? `POST ${pathOf(at)} HTTP/1.1\r\nHost: x\r\nX-Slow: ` : 'P'],
  announced: (at) =>
    at % 2 === 0
      ? [head(MICROSOFT, `Content-Length: ${KB * KB}\r\n`), 'a']
      : [head(pathOf(at >> 1), 'Transfer-Encoding: chunked\r\n'), '10000\r\na'],
  drip: (at) => [head(pathOf(at), `Content-Length: ${60 * KB}\r\n`)],
  'nearly whole': (at) =>
    at % 2 === 0
      ? [head(MICROSOFT, `Content-Length: ${60 * KB}\r\n`), filler.subarray(0, 60 * KB - 1)]
      : [head(MICROSOFT, 'Transfer-Encoding: chunked\r\n'), chunk],
  'nearly whole, large': (at) =>
    at % 2 === 0
      ? [head(MICROSOFT, `Content-Length: ${KB * KB}\r\n`), filler.subarray(0, KB * KB - 1)]
      : [head(MICROSOFT, 'Transfer-Encoding: chunked\r\n'), ...Array.from({ length: 16 }, () => chunk)],
}

const spec = workerData as FloodSpec
const open = new Map<Socket, number>()
/** Who was told that nothing more comes. */
const told = new Set<Socket>()
const lived: number[] = []
const livedRead: number[] = []
const statuses: Record<string, number> = {}
let opened = 0
let connected = 0
let most = 0

function stranger(): void {
  const at = opened
  opened += 1
  const client = at % spec.clients
  const socket = connect({
    port: spec.port,
    host: '127.0.0.1',
    // A stranger never closes because it was told that all is said.
    allowHalfOpen: true,
    // Every address of 127.0.0.0/8 is this machine.
    localAddress: `127.9.${Math.floor(client / 250)}.${1 + (client % 250)}`,
  })
  open.set(socket, performance.now())
  socket.on('error', () => {})
  socket.on('connect', () => {
    connected += 1
    most = Math.max(most, connected)
    for (const part of OPENINGS[spec.kind](at)) socket.write(part)
    if (spec.kind === 'pipelined') return
    socket.on('data', (bytes) => {
      const status = /HTTP\/1\.1 (\d{3})/.exec(bytes.toString('latin1'))?.[1]
      if (status !== undefined) statuses[status] = (statuses[status] ?? 0) + 1
    })
    socket.once('close', () => {
      connected -= 1
    })
    // Only a byte more tells it whether the other side is gone or just silent.
    socket.once('end', () => told.add(socket))
  })
  socket.on('close', () => {
    const ms = performance.now() - (open.get(socket) ?? 0)
    lived.push(ms)
    if (isRead(at)) livedRead.push(ms)
    open.delete(socket)
    told.delete(socket)
  })
}

/** Who reads nothing never hears that it was let go; it comes again after this. */
const DEAF_MS = 4_000
let due = 0
const tick = setInterval(() => {
  due = Math.min(due + (spec.perSecond * TICK_MS) / 1000, spec.perSecond)
  for (const socket of told) socket.write('?')
  for (; due >= 1 && open.size < spec.sockets; due -= 1) stranger()
  if (spec.kind !== 'pipelined') return
  const now = performance.now()
  for (const [socket, since] of open) if (now - since > DEAF_MS) socket.destroy()
}, TICK_MS)
const drip = setInterval(() => {
  if (spec.kind !== 'drip') return
  for (const socket of open.keys()) if (!socket.connecting) socket.write('a')
}, DRIP_EVERY_MS)

parentPort?.once('message', () => {
  clearInterval(tick)
  clearInterval(drip)
  const report: FloodReport = {
    kind: spec.kind,
    opened,
    most,
    lived,
    livedRead,
    statuses,
  }
  for (const socket of open.keys()) socket.destroy()
  parentPort?.postMessage(report)
  parentPort?.close()
})
