// What the sync API answers, and what it leaves behind in Kafka and Postgres.
import { createHmac, randomUUID } from 'node:crypto'
import type { JWTPayload } from 'jose'
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { nameless } from '../../support/nameless.ts'
import { SYNC_API, SYNC_ONE } from '../../../services/ingress/api/sync.ts'
import type { RawAnswer } from '../../support/raw-http.ts'
import {
  A_CONNECTION,
  A_PROVIDER,
  askForSync,
  decoded,
  NOT_ALLOWED,
  OFF_SYNC,
  post,
  problemOf,
  literalIngressPerTest,
  UNKNOWN,
  type LiteralIngress,
} from '../../support/literal-ingress.ts'

const start = literalIngressPerTest()

/** Asks for a sync of one connection, by its own route or in the body. */
async function askForOne(
  ingress: LiteralIngress,
  where: string,
  id: string,
  claims: JWTPayload = { provider_id: A_PROVIDER },
): Promise<RawAnswer> {
  if (where === 'body') return askForSync(ingress, JSON.stringify({ connection_id: id }), claims)
  const Authorization = await ingress.bearer(claims)
  return post(ingress, SYNC_ONE.replace(':id', id), { Authorization })
}

describe('the sync API', () => {
  test('rings every active connection of the provider, of either vendor, and says which were not asked', async () => {
    const graph = { id: randomUUID(), vendor: 'microsoft', status: 'active' }
    const gone = { id: randomUUID(), vendor: 'google', status: 'disconnected' }
    const ingress = await start({ database: [A_CONNECTION, graph, gone] })
    const answer = await askForSync(ingress, JSON.stringify({ provider_id: A_PROVIDER.toUpperCase() }))
    expect(answer.status).toBe(202)
    expect(JSON.parse(answer.body)).toEqual({
      provider_id: A_PROVIDER,
      connections: [A_CONNECTION, graph].map(({ id, vendor }) => ({ id, vendor })),
      not_asked: [{ ...gone, reason: 'The connection was disconnected.' }],
    })
    expect(ingress.sent.map(({ topic, key }) => [topic, key])).toEqual([
      ['calendar.sync.requested.google.v1', A_CONNECTION.id],
      ['calendar.sync.requested.microsoft.v1', graph.id],
    ])
    expect(ingress.sent[0] && decoded(ingress.sent[0])).toMatchObject({
      providerId: A_PROVIDER,
      reason: 'api',
      calendarId: null,
      deliveryKey: null,
      asOf: 1_700_000_000_000_000,
    })
  })

  test('takes a body without a content type, and none at all from a token that names its provider', async () => {
    const ingress = await start({ database: [A_CONNECTION] })
    expect((await askForSync(ingress, JSON.stringify({ provider_id: A_PROVIDER }))).status).toBe(202)
    expect((await askForSync(ingress)).status).toBe(202)
  })

  test('lets an operator ask for any provider, but not for none', async () => {
    const ingress = await start({ database: [A_CONNECTION] })
    const operator = { scope: 'read operator' }
    expect((await askForSync(ingress, JSON.stringify({ provider_id: randomUUID() }), operator)).status).toBe(
      202,
    )
    expect((await askForSync(ingress, '', operator)).status).toBe(400)
  })

  test("gives another provider's id and an unknown one the same 404", async () => {
    const other = await askForSync(
      await start({ database: [A_CONNECTION] }),
      JSON.stringify({ provider_id: randomUUID() }),
    )
    const unknown = await askForSync(await start({ database: [] }))
    expect([other.status, unknown.status]).toEqual([404, 404])
    expect(nameless(other.body)).toBe(nameless(unknown.body))
  })

  test('gives one and the same 401 to every token that is not good', async () => {
    const ingress = await start({ database: [A_CONNECTION] })
    const good = await ingress.bearer({ provider_id: A_PROVIDER })
    const [head = '', payload = '', mac = ''] = good.slice('Bearer '.length).split('.')
    const none = Buffer.from('{"alg":"none"}').toString('base64url')
    const past = Math.floor(Date.now() / 1000) - 60
    const tokens = {
      missing: '',
      basic: 'Basic YTpi',
      empty: 'Bearer ',
      nonsense: 'Bearer x.y.z',
      'alg none': `Bearer ${none}.${payload}.`,
      'alg none with a signature': `Bearer ${none}.${payload}.${mac}`,
      'another key': `Bearer ${head}.${payload}.${createHmac('sha256', 'other').update(`${head}.${payload}`).digest('base64url')}`,
      altered: `Bearer ${head}.${Buffer.from('{"scope":"operator"}').toString('base64url')}.${mac}`,
      expired: await ingress.bearer({ provider_id: A_PROVIDER, exp: past }),
      'without expiry': await ingress.bearer({
        provider_id: A_PROVIDER,
        exp: undefined as unknown as number,
      }),
      'for nobody': await ingress.bearer({ sub: 'someone' }),
      'for no uuid': await ingress.bearer({ provider_id: 'me' }),
      twice: `${good}, ${good}`,
    }
    const bodies = new Set<string>()
    for (const [what, Authorization] of Object.entries(tokens)) {
      const answer = await post(ingress, SYNC_API, { Authorization })
      expect(answer.status, what).toBe(401)
      expect(answer.headers.get('www-authenticate'), what).toMatch(/^Bearer/)
      bodies.add(nameless(answer.body))
    }
    expect(bodies.size).toBe(1)
    expect(ingress.sent).toHaveLength(0)
    expect((await post(ingress, SYNC_API, { Authorization: good })).status).toBe(202)
  })

  test('says to strangers too that it is switched off, and holds nothing for them', async () => {
    const closed = await start({ database: [A_CONNECTION], sync: OFF_SYNC })
    const answer = await post(closed, SYNC_API, {})
    expect(answer.status).toBe(403)
    expect(JSON.parse(answer.body)).toMatchObject({ error: 'Calendar sync not enabled' })
    expect(closed.held).toEqual([])
    // An allowlist is about somebody, so it says nothing to nobody.
    const restricted = await start({ database: [A_CONNECTION], sync: NOT_ALLOWED })
    expect((await post(restricted, SYNC_API, {})).status).toBe(401)
    expect((await post(await start({ sync: UNKNOWN }), SYNC_API, {})).status).toBe(503)
  })

  test.each([
    '{"provider_id":',
    '[]',
    'null',
    '"x"',
    '{}',
    '{"provider_id":7}',
    '{"provider_id":"x"}',
    '{"connection_id":7}',
    '{"connection_id":null,"provider_id":"x"}',
    `{"provider_id":"${A_PROVIDER}","conection_id":"${A_CONNECTION.id}"}`,
    '{"__proto__":{"provider_id":"6f2b9c1e-0000-4000-8000-000000000000"}}',
    '\xff\xfe',
  ])('answers 400 to the body %s', async (body) => {
    const ingress = await start({ database: [A_CONNECTION] })
    expect((await askForSync(ingress, body)).status).toBe(400)
    expect(ingress.sent).toHaveLength(0)
  })

  test.each(['path', 'body'])('asks for one connection alone, named in the %s', async (where) => {
    const ingress = await start({ database: [A_CONNECTION] })
    expect((await askForOne(ingress, where, A_CONNECTION.id)).status).toBe(202)
    expect(ingress.sent.map(({ key }) => key)).toEqual([A_CONNECTION.id])
    expect((await askForOne(ingress, where, A_CONNECTION.id, { scope: 'operator' })).status).toBe(202)
    const unknown = await askForOne(await start({ database: [] }), where, A_CONNECTION.id)
    const malformed = await askForOne(ingress, where, 'x')
    expect([unknown.status, problemOf(unknown)['error']]).toEqual([404, 'Connection not found'])
    expect(nameless(malformed.body)).toBe(nameless(unknown.body))
    expect(ingress.sent).toHaveLength(2)
  })

  test.each(['path', 'body'])(
    'holds one connection, named in the %s, for an operator before the 403',
    async (where) => {
      const closed = await start({ sync: OFF_SYNC, database: [A_CONNECTION] })
      const answer = await askForOne(closed, where, A_CONNECTION.id, { scope: 'operator' })
      expect([answer.status, problemOf(answer)['error']]).toEqual([403, 'Calendar sync not enabled'])
      expect(closed.held).toEqual([[[A_CONNECTION.id], ['CALENDAR_SYNC_ENABLED']]])
      // Of an app's other connections none is held for a request about one,
      // where the path names it.
      const another = { id: randomUUID(), vendor: 'google', status: 'active' }
      const own = await start({ sync: OFF_SYNC, database: [A_CONNECTION, another] })
      expect((await askForOne(own, where, A_CONNECTION.id)).status).toBe(403)
      expect(own.held.flatMap(([ids]) => ids)).toHaveLength(where === 'path' ? 1 : 2)
      const restricted = await start({ sync: NOT_ALLOWED, database: [A_CONNECTION] })
      const refused = await askForOne(restricted, where, A_CONNECTION.id)
      expect([refused.status, problemOf(refused)['error']]).toEqual([403, 'Connection not allowed'])
      expect(problemOf(refused)['detail']).toContain('CALENDAR_ALLOWLIST_CONNECTION_IDS')
      expect(restricted.held).toEqual([[[A_CONNECTION.id], ['CALENDAR_ALLOWLIST_CONNECTION_IDS']]])
    },
  )

  test('says of one connection that is not pulled why, instead of a 202 that did nothing', async () => {
    for (const status of ['needs_reauth', 'disabled', 'disconnected']) {
      const ingress = await start({ database: [{ ...A_CONNECTION, status }] })
      const answer = await askForOne(ingress, 'path', A_CONNECTION.id)
      expect([answer.status, problemOf(answer)['error']]).toEqual([409, 'Connection not active'])
      expect(ingress.sent).toHaveLength(0)
    }
  })

  test('names what is not known, in the query and in the body, and what is', async () => {
    const ingress = await start({ database: [A_CONNECTION] })
    const Authorization = await ingress.bearer({ provider_id: A_PROVIDER })
    const detailOf = async (path: string, body = '') => {
      const answer = await post(ingress, path, { Authorization }, body)
      return [answer.status, problemOf(answer)['detail']]
    }
    expect(await detailOf(SYNC_API, '{"provider":"x"}')).toEqual([
      400,
      '"provider" is not known here. Its body takes provider_id, connection_id.',
    ])
    const inQuery = '"full" is not known here. This route takes nothing in its query.'
    expect(await detailOf(`${SYNC_API}?full=1`)).toEqual([400, inQuery])
    const one = SYNC_ONE.replace(':id', A_CONNECTION.id)
    for (const body of ['[1]', '"full"', 'full=1', '{'])
      expect(await detailOf(one, body)).toEqual([400, 'This route takes nothing in its body.'])
    expect(ingress.sent).toHaveLength(0)
    expect((await detailOf(one, '{}'))[0]).toBe(202)
  })

  test('holds the active connections of the provider before the 403 of a closed gate', async () => {
    const gone = { id: randomUUID(), vendor: 'google', status: 'disconnected' }
    const ingress = await start({ sync: OFF_SYNC, database: [A_CONNECTION, gone] })
    const answer = await askForSync(ingress)
    expect([answer.status, problemOf(answer)['error']]).toEqual([403, 'Calendar sync not enabled'])
    expect(ingress.held).toEqual([[[A_CONNECTION.id], ['CALENDAR_SYNC_ENABLED']]])
    expect(ingress.sent).toHaveLength(0)
  })

  test('answers 503 to all trouble of ours: gates unknown, Kafka away, Postgres away', async () => {
    const send = async () => {
      throw new Failure('kafka/unavailable')
    }
    for (const ports of [
      { sync: UNKNOWN },
      { send, database: [A_CONNECTION] },
      { database: 'down' as const },
    ]) {
      const answer = await askForSync(await start(ports))
      expect([answer.status, answer.headers.has('retry-after')]).toEqual([503, true])
    }
  })
})
