// The server under broken, slow and hostile bytes, and while it stops.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GOOGLE_WEBHOOK } from '../../../services/ingress/webhooks/google.ts'
import { rawDialogue, rawExchange, rawRequest } from '../../support/raw-http.ts'
import { SYNC_API } from '../../../services/ingress/api/sync.ts'
import {
  askForSync,
  literalIngressPerTest,
  notify,
  post,
  problemOf,
  startLiteralIngress,
} from '../../support/literal-ingress.ts'

const MB10 = 10 * 1024 * 1024

const start = literalIngressPerTest()

describe('the server', () => {
  test.each(['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'CONNECT'])(
    'answers 405 to %s on a route that takes POST',
    async (method) => {
      const ingress = await start()
      const target = method === 'CONNECT' ? 'localhost:80' : GOOGLE_WEBHOOK
      const answer = await rawExchange(ingress.port, rawRequest(method, target, ingress.notification()))
      expect(answer.status).toBe(405)
      expect(answer.text).not.toContain('X-Goog')
      expect(ingress.sent).toHaveLength(0)
    },
  )

  test('answers 404 to an unknown route, before its body is read, and 405 to TRACE on it', async () => {
    const ingress = await start()
    const unread = `POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\n`
    expect((await rawExchange(ingress.port, unread)).status).toBe(404)
    expect((await rawExchange(ingress.port, rawRequest('TRACE', '/nowhere', {}))).status).toBe(405)
    for (const path of [
      `${GOOGLE_WEBHOOK}/`,
      '/api/webhooks/calendar',
      '/',
      '/metrics',
      '/%zz',
      '/api/%2e%2e/x',
    ]) {
      expect([400, 404], path).toContain((await post(ingress, path, {})).status)
    }
  })

  test('answers 413 to a client that really sends 10 MB, which gets to read it', async () => {
    const ingress = await start()
    const url = `http://127.0.0.1:${ingress.port}${GOOGLE_WEBHOOK}`
    const send = (body: Uint8Array<ArrayBuffer>) =>
      fetch(url, { method: 'POST', headers: ingress.notification(), body })
    expect((await send(new Uint8Array(MB10))).status).toBe(413)
    expect(ingress.sent).toHaveLength(0)
    expect((await send(new Uint8Array(1000))).status).toBe(202)
  })

  test('cuts a body without a length at 64 kB with 413, and takes one of 64 kB', async () => {
    const ingress = await start()
    const chunked = (bytes: number) => {
      const headers = { ...ingress.notification(), 'Transfer-Encoding': 'chunked' }
      const head = rawRequest('POST', GOOGLE_WEBHOOK, headers).replace('Content-Length: 0\r\n', '')
      return `${head}${bytes.toString(16)}\r\n${'a'.repeat(bytes)}\r\n0\r\n\r\n`
    }
    expect((await rawExchange(ingress.port, chunked(65_537))).status).toBe(413)
    expect(ingress.sent).toHaveLength(0)
    expect((await rawExchange(ingress.port, chunked(65_536))).status).toBe(202)
  })

  test('gives a body that stops arriving 408 and closes, and rings nobody', async () => {
    const ingress = await start()
    const headers = { ...ingress.notification(), 'Content-Length': '5' }
    const slow = await rawExchange(ingress.port, rawRequest('POST', GOOGLE_WEBHOOK, headers))
    expect(slow.status).toBe(408)
    expect(ingress.sent).toHaveLength(0)
  })

  test('never answers twice to one that was refused early and then sends its body too slowly', async () => {
    const ingress = await start()
    const headers = { Host: 'x', 'Content-Length': '50000', Connection: 'keep-alive' }
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    const answer = await rawExchange(
      ingress.port,
      `POST ${GOOGLE_WEBHOOK} HTTP/1.1\r\n${lines.join('')}\r\nabc`,
    )
    expect(answer.text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 401'])
  })

  test('refuses ambiguous framing (request smuggling) with 400', async () => {
    const ingress = await start()
    const both = { ...ingress.notification(), 'Transfer-Encoding': 'chunked', 'Content-Length': '5' }
    expect(
      (await rawExchange(ingress.port, rawRequest('POST', GOOGLE_WEBHOOK, both, '0\r\n\r\n'))).status,
    ).toBe(400)
    const twice = rawRequest('POST', GOOGLE_WEBHOOK, ingress.notification()).replace(
      '\r\n\r\n',
      '\r\nContent-Length: 5\r\n\r\nabcde',
    )
    expect((await rawExchange(ingress.port, twice)).status).toBe(400)
    expect(ingress.sent).toHaveLength(0)
  })

  test('answers pipelined and repeated requests on one socket in order', async () => {
    const ingress = await start()
    const first = rawRequest('POST', GOOGLE_WEBHOOK, { ...ingress.notification(), Connection: 'keep-alive' })
    const second = rawRequest('POST', GOOGLE_WEBHOOK, { Connection: 'keep-alive' })
    const last = rawRequest('POST', GOOGLE_WEBHOOK, ingress.notification())
    const answer = await rawExchange(ingress.port, first + second + last)
    expect(answer.text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 202', 'HTTP/1.1 401', 'HTTP/1.1 202'])
  })

  test('answers nothing above 499, keeps running and rings nobody whatever bytes it is sent', async () => {
    const ingress = await start()
    const good = rawRequest('POST', GOOGLE_WEBHOOK, ingress.notification({ 'X-Goog-Channel-Token': 'v1.x' }))
    const mutated = fc
      .tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 3 }), fc.uint8Array({ maxLength: 8 }))
      .map(([at, cut, bytes]) =>
        Buffer.concat([
          Buffer.from(good.slice(0, at)),
          bytes,
          Buffer.from(good.slice(at + cut)),
          Buffer.from('\r\n\r\n'),
        ]),
      )
    const noise = fc
      .uint8Array({ minLength: 1, maxLength: 300 })
      .map((bytes) => Buffer.concat([bytes, Buffer.from('\r\n\r\n')]))
    const talk = async (bytes: Buffer) => {
      // Half closed, so that one which still waits for more bytes ends now
      // instead of at its timeout.
      const answer = await rawDialogue(ingress.port, (socket) => void socket.end(bytes))
      expect(answer.status).toBeLessThan(500)
    }
    await fc.assert(fc.asyncProperty(fc.oneof({ arbitrary: mutated, weight: 4 }, noise), talk), {
      numRuns: 400,
    })
    expect(ingress.sent).toHaveLength(0)
    expect(ingress.logged.filter((line) => line.includes('"level":"error"'))).toEqual([])
    expect((await notify(ingress)).status).toBe(202)
  })
})

describe('a request', () => {
  test.each([
    'a1b2c3d4',
    '0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331',
    '01J9ZQ6W3N5V8T2X4Y7B0C1D2E',
    'Root=1-67891233-abcdef012345678912345678',
    'a'.repeat(128),
  ])('keeps the name that it comes with: %s', async (name) => {
    const answer = await post(await start(), SYNC_API, { 'X-Request-Id': name })
    expect([answer.headers.get('x-request-id'), problemOf(answer)['request_id']]).toEqual([name, name])
  })

  test.each([
    '',
    'short',
    'a'.repeat(129),
    'two words here',
    'a"b"c"d"e',
    '<script>alert',
    'ümläute-überall',
  ])('gets a name of ours where it comes with none that is plain: %j', async (name) => {
    const answer = await post(await start(), SYNC_API, { 'X-Request-Id': name })
    expect(answer.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
    expect(answer.text).not.toContain(name === '' ? 'undefined' : name)
  })

  test('that fails on our side is found in the log by its name, and one that is answered well has it too', async () => {
    const failed = await start({ database: 'down' })
    const answer = await askForSync(failed)
    const { request_id: name } = problemOf(answer)
    expect([answer.status, typeof name]).toEqual([503, 'string'])
    expect(failed.logged.filter((line) => line.includes(`"requestId":"${String(name)}"`))).toHaveLength(1)
    const fine = await notify(await start())
    expect([fine.status, fine.headers.get('x-request-id')]).toEqual([
      202,
      expect.stringMatching(/^[0-9a-f-]{36}$/),
    ])
  })

  test('whose address cannot be read is named too, and its answer is kept nowhere', async () => {
    const answer = await post(await start(), '/%zz', {})
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([400, 'no-store'])
    expect(problemOf(answer)['request_id']).toBe(answer.headers.get('x-request-id'))
  })
})

describe('stopping', () => {
  test('finishes the requests under way with their true answer and takes no new ones', async () => {
    const kafka = Promise.withResolvers<void>()
    const asked = Promise.withResolvers<void>()
    const ingress = await startLiteralIngress({
      send: () => {
        asked.resolve()
        return kafka.promise
      },
    })
    const underWay = notify(ingress, { Connection: 'keep-alive' })
    await asked.promise
    const stopped = ingress[Symbol.asyncDispose]()
    expect((await notify(ingress)).status).toBe(0)
    kafka.resolve()
    expect((await underWay).status).toBe(202)
    await stopped
    expect(ingress.sent).toHaveLength(1)
  })

  test('is not held up by a socket that sends its request for ever', async () => {
    const ingress = await startLiteralIngress()
    const stuck = rawExchange(ingress.port, `POST ${GOOGLE_WEBHOOK} HTTP/1.1\r\nHost: x\r\n`)
    expect((await notify(ingress)).status).toBe(202)
    await ingress[Symbol.asyncDispose]()
    expect([0, 408]).toContain((await stuck).status)
  })
})
