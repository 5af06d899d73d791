// The login of the flag server's console, at a server that keeps the end of its answer back until the session is stored, as
// express-session does.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { closeDefaultLogin } from '#shared/platform/unleash-console.ts'

/** What storing a session takes on a busy machine. */
const STORED_AFTER_MS = 200

test('a session is used once it is stored, however early the head of the answer comes', async () => {
  const stored = new Set<string>()
  const changes: (string | undefined)[] = []
  const server = createServer(async (request, response) => {
    if (request.url === '/auth/simple/login') {
      response.writeHead(200, { 'set-cookie': 'session=one; Path=/' }).write('{')
      await delay(STORED_AFTER_MS)
      stored.add('session=one')
      response.end('}')
      return
    }
    changes.push(request.url)
    response.writeHead(stored.has(request.headers.cookie ?? '') ? 200 : 401).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    expect(await closeDefaultLogin(url, 'Our-Own-1', AbortSignal.timeout(20_000))).toBe(true)
    expect(changes).toEqual(['/api/admin/user/change-password'])
  } finally {
    server.closeAllConnections()
    server.close()
  }
})
