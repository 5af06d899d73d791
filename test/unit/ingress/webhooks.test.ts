// What the Google webhook answers, and what it leaves behind in Kafka and Postgres.
import { describe, expect, test } from 'vitest'
import { nameless } from '../../support/nameless.ts'
import { Failure } from '#shared/domain/failure.ts'
import { GOOGLE_WEBHOOK } from '../../../services/ingress/webhooks/google.ts'
import { rawDialogue } from '../../support/raw-http.ts'
import {
  decoded,
  notify,
  OFF_WEBHOOK,
  problemOf,
  literalIngressPerTest,
  UNKNOWN,
} from '../../support/literal-ingress.ts'

const start = literalIngressPerTest()

describe('the Google webhook', () => {
  test('rings the connection of its token, under its key, with the delivery key of the message', async () => {
    const ingress = await start()
    expect((await notify(ingress)).status).toBe(202)
    const [record] = ingress.sent
    expect(record).toMatchObject({
      topic: 'calendar.sync.requested.google.v1',
      key: ingress.channel.connectionId,
    })
    expect(record?.headers).toMatchObject({
      ce_type: 'calendar.sync.requested.v1',
      ce_source: '/calstream/ingress',
      ce_subject: ingress.channel.connectionId,
      ce_partitionkey: ingress.channel.connectionId,
    })
    const { vendor: _vendor, ...ids } = ingress.channel
    expect(record && decoded(record)).toMatchObject({
      ...ids,
      vendor: 'google',
      reason: 'webhook',
      deliveryKey: 'g:a0b1c2d3:10',
      asOf: null,
    })
  })

  test("takes Google's own form: an empty body of type `application/json; utf-8`", async () => {
    const ingress = await start()
    const answer = await notify(ingress, {
      'Content-Type': 'application/json; utf-8',
      'User-Agent': 'APIs-Google',
    })
    expect(answer.status).toBe(202)
  })

  test('takes any body of any type, broken JSON included, and looks at none', async () => {
    const ingress = await start()
    for (const type of ['application/json', 'text/plain', 'multipart/form-data; boundary=x', ';;;', '']) {
      expect((await notify(ingress, { 'Content-Type': type }, '{"broken": ')).status, type).toBe(202)
    }
    expect(ingress.sent).toHaveLength(5)
  })

  test.each(['exists', 'not_exists', 'something_new'])('pulls for the resource state %s', async (state) => {
    const ingress = await start()
    expect((await notify(ingress, { 'X-Goog-Resource-State': state })).status).toBe(202)
    expect(ingress.sent).toHaveLength(1)
  })

  test('answers the sync message without ringing', async () => {
    const ingress = await start()
    expect((await notify(ingress, { 'X-Goog-Resource-State': 'sync' })).status).toBe(200)
    expect(ingress.sent).toHaveLength(0)
  })

  test.each([
    ['X-Goog-Channel-ID', ''],
    ['X-Goog-Channel-ID', 'a'.repeat(65)],
    ['X-Goog-Channel-ID', 'a b'],
    ['X-Goog-Message-Number', ''],
    ['X-Goog-Message-Number', '0'],
    ['X-Goog-Message-Number', '-1'],
    ['X-Goog-Message-Number', '1e3'],
    ['X-Goog-Message-Number', '9'.repeat(20)],
    ['X-Goog-Resource-State', ''],
    ['X-Goog-Resource-State', 'a'.repeat(33)],
  ])('answers 400 when %s is "%s"', async (name, value) => {
    const ingress = await start()
    expect((await notify(ingress, { [name]: value })).status).toBe(400)
    expect(ingress.sent).toHaveLength(0)
    expect((await notify(ingress)).status).toBe(202)
  })

  test('gives one and the same 401 to a missing, a malformed, a forged and an altered token', async () => {
    const ingress = await start()
    const other = await start()
    const good = ingress.notification()['X-Goog-Channel-Token'] ?? ''
    const forged = other.notification()['X-Goog-Channel-Token'] ?? ''
    const swapped = good
      .split('.')
      .with(2, forged.split('.')[2] ?? '')
      .join('.')
    const answers = []
    for (const token of ['', 'x', forged, swapped, `${good}A`, good.replace('.k1.', '.k2.')]) {
      answers.push(await notify(ingress, { 'X-Goog-Channel-Token': token }))
    }
    expect(answers.map(({ status }) => status)).toEqual([401, 401, 401, 401, 401, 401])
    expect(new Set(answers.map(({ body }) => nameless(body))).size).toBe(1)
    expect(ingress.sent).toHaveLength(0)
    expect((await notify(ingress, { 'X-Goog-Channel-Token': good })).status).toBe(202)
  })

  test('is refused by a closed gate before its body is read, and without a row when it is not signed', async () => {
    const ingress = await start({ webhook: OFF_WEBHOOK })
    // The body that the length announces is never sent.
    const answer = await rawDialogue(ingress.port, (socket) => {
      socket.write(
        `POST ${GOOGLE_WEBHOOK} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\n`,
      )
    })
    expect(answer.status).toBe(403)
    expect(problemOf(answer)['error']).toBe('Calendar webhooks not enabled')
    expect(ingress.held).toEqual([])
  })

  test('that is signed and meets a closed gate is held before its 403', async () => {
    const ingress = await start({ webhook: OFF_WEBHOOK })
    expect((await notify(ingress)).status).toBe(403)
    expect(ingress.held).toEqual([[[ingress.channel.connectionId], ['CALENDAR_WEBHOOK_ENABLED']]])
    expect(ingress.sent).toHaveLength(0)
  })

  test('gets 503 instead of its 403 while the row cannot be written', async () => {
    const ingress = await start({ webhook: OFF_WEBHOOK, database: 'down' })
    expect((await notify(ingress)).status).toBe(503)
    // Nothing was to be written for a call that is not signed.
    expect((await notify(ingress, { 'X-Goog-Channel-Token': '' })).status).toBe(403)
  })

  test.each([
    ['CALENDAR_SYNC_ENABLED', 'Calendar sync not enabled'],
    ['CALENDAR_ALLOWLIST_PROVIDER_IDS', 'Provider not allowed'],
    ['CALENDAR_ALLOWLIST_CONNECTION_IDS', 'Connection not allowed'],
  ] as const)('is held and refused with the words of %s', async (gate, text) => {
    const ingress = await start({ sync: { state: 'off', gate, text } })
    const answer = await notify(ingress)
    expect(answer.status).toBe(403)
    expect(problemOf(answer)['error']).toBe(text)
    expect(ingress.held).toEqual([[[ingress.channel.connectionId], [gate]]])
  })

  test('gets 503 while the gates are unknown, signed or not, and leaves no row', async () => {
    for (const ports of [{ webhook: UNKNOWN }, { sync: UNKNOWN }]) {
      const ingress = await start(ports)
      const answer = await notify(ingress)
      expect(answer.status).toBe(503)
      expect(answer.headers.has('retry-after')).toBe(true)
      expect([ingress.held, ingress.sent]).toEqual([[], []])
    }
  })

  test('gets 503 when Kafka refuses, and 202 once it takes records again', async () => {
    let down = true
    const ingress = await start({
      send: async () => {
        if (down) throw new Failure('kafka/unavailable')
      },
    })
    const refused = await notify(ingress)
    expect([refused.status, refused.headers.has('retry-after')]).toEqual([503, true])
    down = false
    expect((await notify(ingress)).status).toBe(202)
  })

  test('gets 503 when Kafka does not answer in time', async () => {
    const hang = Promise.withResolvers<void>()
    const ingress = await start({ send: () => hang.promise })
    expect((await notify(ingress)).status).toBe(503)
    hang.resolve()
  })
})
