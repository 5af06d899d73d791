// What an address without a route for its method is told.
import { expect, test } from 'vitest'
import { createServer } from '../../../services/ingress/server.ts'
import { silent } from '../../support/recording-consumer.ts'

test('405 names all methods of an address with ids, however it is written; 404 is for no route', async () => {
  const app = createServer({ connectionsMax: 10, connectionsPerAddressMax: 10, trustedProxies: [] }, silent())
  app.delete('/things/:id', async () => '')
  app.get('/things/:id', async () => '')
  app.post('/things/:id/sync', async () => '')
  for (const [url, status, allow] of [
    ['/things/a%2Fb?x=/y', 405, 'GET, DELETE'],
    ['/%74hings/1', 405, 'GET, DELETE'],
    ['/things/1/sync', 405, 'POST'],
    ['/things', 404, undefined],
    ['/things/1/2', 404, undefined],
  ] as const) {
    const answer = await app.inject({ method: 'PUT', url })
    expect([answer.statusCode, answer.headers['allow']], url).toEqual([status, allow])
  }
  await app.close()
})
