// The page at `/` of the ingress: for whoever opens its address in a browser. It is the same for
// everybody and asks nothing.
import { expect, test } from 'vitest'
import { createServer } from '../../../services/ingress/server.ts'
import { registerStartPage } from '../../../services/ingress/start-page.ts'
import { silent } from '../../support/recording-consumer.ts'

test('says what this is and where to go on, under the rules of every page, and leaves other paths alone', async () => {
  const app = createServer({ connectionsMax: 10, connectionsPerAddressMax: 10, trustedProxies: [] }, silent())
  registerStartPage(app)
  const page = await app.inject({ method: 'GET', url: '/', headers: { accept: 'text/html' } })
  expect(page.statusCode).toBe(200)
  expect(page.headers['content-type']).toMatch(/^text\/html/)
  expect(page.headers['content-security-policy']).toContain("default-src 'none'")
  expect(page.headers['x-frame-options']).toBe('DENY')
  expect(page.body).toContain('<h1>Calstream</h1>')
  expect(page.body).toContain('href="/openapi.json"')
  expect((await app.inject({ method: 'GET', url: '/?x=<b>' })).body).toBe(page.body)
  expect((await app.inject({ method: 'GET', url: '/nothing' })).statusCode).toBe(404)
  expect((await app.inject({ method: 'POST', url: '/' })).statusCode).toBe(405)
  await app.close()
})
