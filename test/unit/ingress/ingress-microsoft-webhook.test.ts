// What the Microsoft webhook answers, and what it leaves behind in Kafka and Postgres.
import { describe, expect, test } from 'vitest'
import type { SyncRequested } from '#schemas/messages.gen.ts'
import { nameless } from '../../support/nameless.ts'
import { Failure } from '#shared/domain/failure.ts'
import { MICROSOFT_WEBHOOK } from '../../../services/ingress/webhooks/microsoft.ts'
import { rawExchange, rawRequest } from '../../support/raw-http.ts'
import {
  decoded,
  NOT_ALLOWED,
  OFF_WEBHOOK,
  post,
  problemOf,
  literalIngressPerTest,
  UNKNOWN,
  type LiteralIngress,
} from '../../support/literal-ingress.ts'

const start = literalIngressPerTest()
const SUBSCRIPTION = '7F105C7D-2DC5-4530-97CD-4E7AE6534C07'

/** An item as Graph documents it. */
function item(ingress: LiteralIngress, changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: 'lsgTZMr9KwAAA',
    subscriptionId: SUBSCRIPTION,
    subscriptionExpirationDateTime: '2026-11-27T08:00:00.0000000Z',
    clientState: ingress.clientState,
    changeType: 'updated',
    resource: 'Users/abc/Events/AAMkAGI1',
    tenantId: '84bd8158-6d4d-4958-8b9f-9d6445542f95',
    resourceData: {
      '@odata.type': '#Microsoft.Graph.Event',
      '@odata.id': 'Users/abc/Events/AAMkAGI1',
      '@odata.etag': 'W/"CQAAABYAAADkrWGo7bouTKlsgTZMr9KwAAAUWRHf"',
      id: 'AAMkAGI1',
    },
    ...changes,
  }
}

const lifecycle = (ingress: LiteralIngress, lifecycleEvent: string) => ({
  subscriptionId: SUBSCRIPTION,
  clientState: ingress.clientState,
  tenantId: '84bd8158-6d4d-4958-8b9f-9d6445542f95',
  lifecycleEvent,
})

const send = (ingress: LiteralIngress, ...items: readonly unknown[]) =>
  raw(ingress, JSON.stringify({ value: items }))

const raw = (ingress: LiteralIngress, body: string) =>
  post(ingress, MICROSOFT_WEBHOOK, { 'Content-Type': 'application/json' }, body)

const rings = (ingress: LiteralIngress) => ingress.sent.map((record) => decoded(record) as SyncRequested)

const validation = (ingress: LiteralIngress, query: string) =>
  post(ingress, `${MICROSOFT_WEBHOOK}?${query}`, { 'Content-Type': 'text/plain; charset=utf-8' })

describe('a validation', () => {
  test.each([
    [
      'Validation%3a+Testing+client+application+reachability',
      'Validation: Testing client application reachability',
    ],
    ['a%2Bb%20c%26d%3De%25', 'a+b c&d=e%'],
    ['%3Cscript%3Ealert(1)%3C%2Fscript%3E', '<script>alert(1)</script>'],
    ['%C3%BC%E2%82%AC', 'ü€'],
  ])('of %s is answered with the decoded token as plain text and nothing else', async (sent, expected) => {
    const answer = await validation(await start(), `validationToken=${sent}`)
    expect(answer.status).toBe(200)
    expect(Buffer.from(answer.body, 'latin1').toString()).toBe(expected)
    expect(answer.headers.get('content-type')).toBe('text/plain; charset=utf-8')
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
  })

  test.each([
    'validationToken=',
    'validationToken=a&validationToken=b',
    `validationToken=${'x'.repeat(2049)}`,
  ])('that is none is refused (%#)', async (query) => {
    expect((await validation(await start(), query)).status).toBe(400)
  })

  test('is refused while the gate is closed, and put off while it is unknown', async () => {
    const closed = await validation(await start({ webhook: OFF_WEBHOOK }), 'validationToken=x')
    expect([closed.status, problemOf(closed)['error']]).toEqual([403, 'Calendar webhooks not enabled'])
    expect((await validation(await start({ webhook: UNKNOWN }), 'validationToken=x')).status).toBe(503)
  })
})

describe('a batch', () => {
  test('rings the connection of each item, with a key made of subscription, resource, change and etag', async () => {
    const ingress = await start()
    expect((await send(ingress, item(ingress))).status).toBe(202)
    const { vendor: _vendor, ...ids } = ingress.channel
    expect(ingress.sent[0]).toMatchObject({
      topic: 'calendar.sync.requested.microsoft.v1',
      key: ids.connectionId,
    })
    expect(rings(ingress)).toMatchObject([{ ...ids, vendor: 'microsoft', reason: 'webhook', asOf: null }])
    expect(rings(ingress)[0]?.deliveryKey).toMatch(/^m:[A-Za-z0-9_-]{43}$/)
  })

  test('that comes twice has the same keys, however its ids are spelled', async () => {
    const ingress = await start()
    await send(ingress, item(ingress))
    await send(
      ingress,
      item(ingress, {
        subscriptionId: SUBSCRIPTION.toLowerCase(),
        resource: "users('ABC')/events('AAMkAGI1')",
      }),
    )
    const keys = rings(ingress).map((ring) => ring.deliveryKey)
    expect(keys[0]).toBe(keys[1])
  })

  test('of different changes has different keys', async () => {
    const ingress = await start()
    await send(
      ingress,
      item(ingress),
      item(ingress, { changeType: 'deleted' }),
      item(ingress, { resource: 'Users/abc/Events/aamkagi1' }),
      item(ingress, { subscriptionId: 'aaaaaaaa-2dc5-4530-97cd-4e7ae6534c07' }),
      item(ingress, { resourceData: { '@odata.etag': 'W/"other"' } }),
    )
    expect(new Set(rings(ingress).map((ring) => ring.deliveryKey)).size).toBe(5)
  })

  test('rings once for an item that it holds twice, and once for all items without an etag', async () => {
    const ingress = await start()
    const bare = item(ingress, { resourceData: null })
    expect((await send(ingress, item(ingress), item(ingress), bare, bare)).status).toBe(202)
    expect(rings(ingress).map((ring) => ring.deliveryKey === null)).toEqual([false, true])
  })

  test('loses its bad items and rings for the good one', async () => {
    const ingress = await start()
    const forged = `${ingress.clientState.slice(0, -2)}${ingress.clientState.endsWith('AA') ? 'BB' : 'AA'}`
    const answer = await send(
      ingress,
      null,
      7,
      'text',
      [],
      {},
      item(ingress, { clientState: forged }),
      item(ingress, { clientState: 7 }),
      item(ingress, { clientState: undefined, __proto__: { clientState: ingress.clientState } }),
      item(ingress, { tenantId: 'spoofed', resource: undefined, changeType: ['x'] }),
    )
    expect(answer.status).toBe(202)
    expect(rings(ingress)).toHaveLength(1)
  })

  test('without any clientState rings for a channel that proved whose it is, and for no other', async () => {
    const ingress = await start()
    const unsigned = (changes: Record<string, unknown> = {}) =>
      item(ingress, { clientState: null, ...changes })
    const { clientState: _clientState, ...absent } = item(ingress)
    expect((await send(ingress, unsigned())).status).toBe(401)
    expect((await send(ingress, item(ingress))).status).toBe(202)
    expect((await send(ingress, unsigned({ changeType: 'created' }))).status).toBe(202)
    expect((await send(ingress, { ...absent, changeType: 'deleted' })).status).toBe(202)
    expect(rings(ingress)).toMatchObject(
      Array.from({ length: 3 }, () => ({ calendarId: ingress.channel.calendarId })),
    )
    const other = '00000000-2dc5-4530-97cd-4e7ae6534c07'
    expect((await send(ingress, unsigned({ subscriptionId: other }))).status).toBe(401)
    // A wrong token is not none.
    for (const clientState of ['v1.k1.x', '', 7, 'x'.repeat(300)])
      expect((await send(ingress, item(ingress, { clientState }))).status).toBe(401)
    expect(rings(ingress)).toHaveLength(3)
    const removed = { ...lifecycle(ingress, 'subscriptionRemoved'), clientState: null }
    expect((await send(ingress, removed)).status).toBe(202)
    expect(ingress.noticed).toEqual([`removed ${SUBSCRIPTION.toLowerCase()}`])
  })

  test('with a clientState that reads like a known channel is refused beside a good one of that channel', async () => {
    const ingress = await start()
    expect((await send(ingress, item(ingress))).status).toBe(202)
    const id = SUBSCRIPTION.toLowerCase()
    for (const clientState of [id, `of ${id}`, `true ${id}`, `null ${id}`]) {
      const forged = item(ingress, { clientState, changeType: 'forged' })
      const unsigned = item(ingress, { clientState: null })
      ingress.sent.splice(0)
      expect((await send(ingress, forged, unsigned)).status).toBe(202)
      expect((await send(ingress, unsigned, forged)).status).toBe(202)
      expect(ingress.sent).toHaveLength(2)
    }
  })

  test('of a tenant that nobody knows is taken for its token alone, and refused without it', async () => {
    const ingress = await start()
    expect((await send(ingress, item(ingress, { tenantId: 'unknown' }))).status).toBe(202)
    expect((await send(ingress, item(ingress, { clientState: 'unknown' }))).status).toBe(401)
    expect(ingress.sent).toHaveLength(1)
  })

  test("is refused with one 401 when all are bad, also with Google's token of the same channel", async () => {
    const ingress = await start()
    const google = ingress.notification()['X-Goog-Channel-Token']
    const answers = [
      await send(ingress, item(ingress, { clientState: google })),
      await send(ingress, {}),
      await send(ingress, lifecycle(ingress, 'missed')).then(() =>
        send(ingress, { lifecycleEvent: 'missed' }),
      ),
      await raw(ingress, `{"value":[{"__proto__":{"clientState":${JSON.stringify(ingress.clientState)}}}]}`),
    ]
    expect(answers.map((answer) => answer.status)).toEqual([401, 401, 401, 401])
    expect(new Set(answers.map((answer) => nameless(answer.body))).size).toBe(1)
    expect(ingress.sent).toHaveLength(1)
  })

  test.each([
    '',
    '{',
    'null',
    '[]',
    '{}',
    '{"value":null}',
    '{"value":{}}',
    '{"value":[]}',
    '"text"',
    `${'['.repeat(200_000)}`,
    `${'{"value":'.repeat(50_000)}1${'}'.repeat(50_000)}`,
    '{"__proto__":{"value":[{}]}}',
    '{"value":[{"clientState":"\u0000',
  ])('that is none is 400 (%#)', async (body) => {
    const ingress = await start()
    expect((await raw(ingress, body)).status).toBe(400)
    expect((await send(ingress, item(ingress))).status).toBe(202)
  })

  test('that is no UTF-8 is 400', async () => {
    const ingress = await start()
    const body = `{"value":[{"clientState":"\u00ff"}]}`
    const request = rawRequest('POST', MICROSOFT_WEBHOOK, {}, body)
    const latin = request.replace(/content-length: \d+/i, `Content-Length: ${body.length}`)
    expect((await rawExchange(ingress.port, Buffer.from(latin, 'latin1'))).status).toBe(400)
  })

  test('deeply nested in a field that nobody reads is taken', async () => {
    const ingress = await start()
    const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`
    const body = JSON.stringify({ value: [item(ingress)] }).replace('"lsgTZMr9KwAAA"', deep)
    expect((await raw(ingress, body)).status).toBe(202)
  })

  test('of more than 64 kB is taken, of more than 1 MB or 1 000 items not', async () => {
    const ingress = await start()
    const many = Array.from({ length: 300 }, (_one, i) =>
      item(ingress, { resource: `Users/abc/Events/${i}`, id: 'x'.repeat(500) }),
    )
    const body = JSON.stringify({ value: many })
    expect(body.length).toBeGreaterThan(200_000)
    expect((await raw(ingress, body)).status).toBe(202)
    // All of one calendar: some as they come, and the others joined.
    const before = ingress.sent.length
    expect(before).toBeLessThan(60)
    expect(rings(ingress).filter((ring) => ring.deliveryKey !== null).length).toBeGreaterThanOrEqual(20)
    expect(rings(ingress).at(-1)?.deliveryKey).toBeNull()
    expect((await send(ingress, ...Array.from({ length: 1001 }, () => item(ingress)))).status).toBe(413)
    expect((await send(ingress, item(ingress, { id: 'x'.repeat(1_100_000) }))).status).toBe(413)
    expect(ingress.sent).toHaveLength(before)
  })
})

describe('an item whose ids have no shape of Graph', () => {
  const NOT_AN_ID = [
    ['nothing', ''],
    ['NUL', `\u0000${SUBSCRIPTION.slice(1)}`],
    ['a line feed at the end', `${SUBSCRIPTION}\n`],
    ['another word', 'other'],
    ['9 000 characters', 'a'.repeat(9_000)],
    ['a million characters', 'a'.repeat(1_000_000)],
    ['a number', 7],
  ] as const

  test.each(NOT_AN_ID)(
    'a subscription that is %s rings without a key and leaves nothing',
    async (_what, id) => {
      const ingress = await start()
      expect((await send(ingress, item(ingress, { subscriptionId: id }))).status).toBe(202)
      const removed = { ...lifecycle(ingress, 'subscriptionRemoved'), subscriptionId: id }
      expect((await send(ingress, removed)).status).toBe(202)
      expect(rings(ingress).map((ring) => ring.deliveryKey)).toEqual([null, null])
      expect(ingress.noticed).toEqual([])
    },
  )

  test.each([
    ['a resource', { resource: `Users/abc/Events/${'x'.repeat(1024)}` }],
    ['a kind of change', { changeType: 'x'.repeat(1025) }],
    ['an etag', { resourceData: { '@odata.etag': 'x'.repeat(1025) } }],
  ])('%s beyond 1 024 characters counts as missing', async (_what, changes) => {
    const ingress = await start()
    expect((await send(ingress, item(ingress, changes))).status).toBe(202)
    expect(rings(ingress).map((ring) => ring.deliveryKey)).toEqual([null])
  })

  test('rings like any other when it has the longest fields that count', async () => {
    const ingress = await start()
    const whole = item(ingress, { resourceData: { '@odata.etag': 'x'.repeat(1024) } })
    expect((await send(ingress, whole)).status).toBe(202)
    expect(rings(ingress)[0]?.deliveryKey).toMatch(/^m:/)
  })
})

describe('a lifecycle item', () => {
  test('that something was missed rings the whole channel without a key', async () => {
    const ingress = await start()
    expect((await send(ingress, lifecycle(ingress, 'missed'))).status).toBe(202)
    expect(rings(ingress)).toMatchObject([{ connectionId: ingress.channel.connectionId, deliveryKey: null }])
    expect(ingress.noticed).toEqual([])
  })

  test.each([
    ['subscriptionRemoved', 'removed'],
    ['reauthorizationRequired', 'reauthorize'],
  ])('%s rings and leaves the scheduler a notice', async (event, kind) => {
    const ingress = await start()
    expect((await send(ingress, lifecycle(ingress, event))).status).toBe(202)
    expect(rings(ingress)).toMatchObject([{ deliveryKey: null }])
    expect(ingress.noticed).toEqual([`${kind} ${SUBSCRIPTION.toLowerCase()}`])
  })

  test('that nobody knows yet rings', async () => {
    const ingress = await start()
    expect((await send(ingress, lifecycle(ingress, 'somethingNew'))).status).toBe(202)
    expect(rings(ingress)).toMatchObject([{ deliveryKey: null }])
  })

  test('has no key although it carries an etag', async () => {
    const ingress = await start()
    await send(ingress, item(ingress, { lifecycleEvent: 'missed' }))
    expect(rings(ingress)[0]?.deliveryKey).toBeNull()
  })

  test('with a forged token leaves nothing', async () => {
    const ingress = await start()
    const forged = { ...lifecycle(ingress, 'subscriptionRemoved'), clientState: 'v1.k1.x' }
    expect((await send(ingress, forged)).status).toBe(401)
    expect([ingress.noticed, ingress.sent]).toEqual([[], []])
  })

  test('is told to come again while Postgres is away, but a change is not', async () => {
    const ingress = await start({ database: 'down' })
    expect((await send(ingress, lifecycle(ingress, 'subscriptionRemoved'))).status).toBe(503)
    expect((await send(ingress, item(ingress))).status).toBe(202)
  })
})

describe('trouble of ours', () => {
  test('is 503 with Retry-After when Kafka takes nothing', async () => {
    const ingress = await start({ send: async () => Promise.reject(new Failure('kafka/unavailable')) })
    const answer = await send(ingress, item(ingress))
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5'])
  })
})

describe('a closed gate', () => {
  test('keeps what is signed before it says 403, a lifecycle notice too', async () => {
    const ingress = await start({ webhook: OFF_WEBHOOK })
    const answer = await send(ingress, item(ingress), lifecycle(ingress, 'subscriptionRemoved'))
    expect([answer.status, problemOf(answer)['error']]).toEqual([403, 'Calendar webhooks not enabled'])
    expect(ingress.held).toEqual([[[ingress.channel.connectionId], ['CALENDAR_WEBHOOK_ENABLED']]])
    expect(ingress.noticed).toEqual([`removed ${SUBSCRIPTION.toLowerCase()}`])
    expect(ingress.sent).toEqual([])
  })

  test('says 403 to anybody, without a row', async () => {
    const ingress = await start({ webhook: OFF_WEBHOOK })
    for (const body of ['', '{', '{"value":[{}]}']) expect((await raw(ingress, body)).status).toBe(403)
    expect(ingress.held).toEqual([])
  })

  test('of one connection holds its items and refuses a batch of nothing else', async () => {
    const ingress = await start({ sync: NOT_ALLOWED })
    const answer = await send(ingress, item(ingress), item(ingress, { clientState: 'bad' }))
    expect([answer.status, problemOf(answer)['error']]).toEqual([403, 'Connection not allowed'])
    expect(ingress.held).toHaveLength(1)
  })

  test('is 503 when the row cannot be written, and when nobody knows the gate', async () => {
    const ingress = await start({ webhook: OFF_WEBHOOK, database: 'down' })
    expect((await send(ingress, item(ingress))).status).toBe(503)
    const unknown = await start({ webhook: UNKNOWN })
    expect((await send(unknown, item(unknown))).status).toBe(503)
  })
})
