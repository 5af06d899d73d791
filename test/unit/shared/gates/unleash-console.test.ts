// The login of the flag server's console, at a server that keeps the end of its answer back until
// the session is stored, as express-session does.
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { closeDefaultLogin } from '#shared/gates/unleash-console.ts'
import { serve } from '../../../support/odd-server.ts'

/** What storing a session takes on a busy machine. */
const STORED_AFTER_MS = 200

test('a session is used once it is stored, however early the head of the answer comes', async () => {
  const stored = new Set<string | undefined>()
  const changes: (string | undefined)[] = []
  const { url } = await serve((request, response) => {
    if (request.url === '/auth/simple/login') {
      response.writeHead(200, { 'set-cookie': 'session=one; Path=/' }).write('{')
      void delay(STORED_AFTER_MS).then(() => {
        stored.add('session=one')
        return response.end('}')
      })
      return
    }
    changes.push(request.url)
    response.writeHead(stored.has(request.headers.cookie) ? 200 : 401).end()
  })
  const console = url.replace(/\/$/, '')
  expect(await closeDefaultLogin(console, 'Our-Own-1', AbortSignal.timeout(20_000))).toBe(true)
  expect(changes).toEqual(['/api/admin/user/change-password'])
})
