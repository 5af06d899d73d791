// A TCP proxy that a test can break: it drops both sides at the moment that the test chooses, as a cut cable or a dying
// balancer does. It looks at bytes, not at protocols.
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

export interface TcpProxy extends AsyncDisposable {
  readonly port: number
  /** The next time the client sends these bytes they are passed on, and what the server answers to them is not: both sides are dropped. */
  cutAfter(bytes: Buffer): void
  /** The next time the client sends these bytes they are not passed on: both sides are dropped. */
  cutBefore(bytes: Buffer): void
  /** How many connections were cut. */
  cuts(): number
}

interface Cut {
  readonly bytes: Buffer
  readonly forward: boolean
}

/** Listens on a free port and forwards to `target` on loopback. */
export async function startTcpProxy(target: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  let cut: Cut | null = null
  let cuts = 0

  function take(chunk: Buffer): Cut | null {
    if (cut === null || !chunk.includes(cut.bytes)) return null
    const taken = cut
    cut = null
    cuts += 1
    return taken
  }

  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    let muted = false
    const drop = () => [client, upstream].forEach((socket) => void socket.destroy())
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', drop)
      socket.on('close', () => {
        sockets.delete(socket)
        drop()
      })
    }
    client.on('data', (chunk: Buffer) => {
      const taken = take(chunk)
      if (taken === null) upstream.write(chunk)
      else if (taken.forward) {
        // The answer proves that the server has carried it out; the client never sees it.
        muted = true
        upstream.write(chunk)
      } else drop()
    })
    upstream.on('data', (chunk: Buffer) => (muted ? drop() : client.write(chunk)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    cutAfter: (bytes) => {
      cut = { bytes, forward: true }
    },
    cutBefore: (bytes) => {
      cut = { bytes, forward: false }
    },
    cuts: () => cuts,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
