// A server over plain HTTP that answers as it is told, also with bytes that are no HTTP.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTcpServer, type AddressInfo } from 'node:net'
import { afterEach } from 'vitest'

const open = new Set<() => Promise<void>>()
afterEach(async () => {
  for (const close of open) await close()
})

/** Answers each request so; `hits` counts them. */
export async function serve(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ url: string; hits: () => number; close: () => Promise<void> }> {
  let hits = 0
  const server = createServer((request, response) => {
    hits += 1
    answer(request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = async () => {
    open.delete(close)
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
  open.add(close)
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, hits: () => hits, close }
}

/** Sends these bytes, whatever is asked, and closes. */
export async function serveRaw(bytes: string): Promise<string> {
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end(Buffer.from(bytes, 'latin1')))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = async () => {
    open.delete(close)
    server.close()
    await once(server, 'close')
  }
  open.add(close)
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}
