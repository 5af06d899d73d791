// What sockets may cost the server: one open request each, bounded places, bodies by what arrived.
import { request as httpRequest, Agent } from 'node:http'
import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { GOOGLE_WEBHOOK } from '../../../services/ingress/webhooks/google.ts'
import { MICROSOFT_WEBHOOK } from '../../../services/ingress/webhooks/microsoft.ts'
import { GuardedSocket } from '../../../services/ingress/sockets/guarded-socket.ts'
import { SYNC_API } from '../../../services/ingress/api/sync.ts'
import { eventually } from '../../support/eventually.ts'
import { literalIngressPerTest, notify, post, type LiteralIngress } from '../../support/literal-ingress.ts'
import { rawExchange, rawRequest } from '../../support/raw-http.ts'

const start = literalIngressPerTest()
const sockets: Socket[] = []
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
})

interface Talk {
  readonly socket: Socket
  readonly heard: () => string
  readonly isOver: () => boolean
}

/** A socket that says this and listens; `localAddress` plays another client. */
async function talk(port: number, bytes: string, localAddress = '127.0.0.1'): Promise<Talk> {
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  sockets.push(socket)
  let text = ''
  let isOver = false
  socket.on('data', (chunk) => (text += chunk.toString('latin1')))
  socket.on('error', () => {})
  socket.on('close', () => (isOver = true))
  await new Promise((resolve) => socket.once('connect', resolve))
  if (bytes !== '') socket.write(bytes)
  return { socket, heard: () => text, isOver: () => isOver }
}

const keptAlive = (ingress: LiteralIngress) =>
  rawRequest('POST', GOOGLE_WEBHOOK, { ...ingress.notification(), Connection: 'keep-alive' })
const answers = (text: string) => text.match(/HTTP\/1\.1 \d+/g) ?? []

function batch(ingress: LiteralIngress, padding: number): string {
  const item = {
    subscriptionId: '7f105c7d-2dc5-4530-97cd-4e7ae6534c07',
    clientState: ingress.clientState,
    changeType: 'updated',
    resource: 'x'.repeat(padding),
  }
  return JSON.stringify({ value: [item] })
}

describe('a socket', () => {
  test.each([
    ['good ones', (i: LiteralIngress) => keptAlive(i)],
    ['refused ones', () => 'POST /api/webhooks/calendar/google HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['unknown routes', () => 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    [
      'chunked bodies',
      (i: LiteralIngress) =>
        `${keptAlive(i).replace('Content-Length: 0\r\n', 'Transfer-Encoding: chunked\r\n')}3\r\nabc\r\n0\r\n\r\n`,
    ],
    [
      'bodies',
      (i: LiteralIngress) => keptAlive(i).replace('Content-Length: 0', 'Content-Length: 6') + '\n\n\r\n\r\n',
    ],
    ['empty lines between', (i: LiteralIngress) => `\r\n\r\n${keptAlive(i)}`],
    ['expectations', () => 'POST / HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n'],
  ])('has one request open at a time, of many sent ahead: %s', async (_what, one) => {
    const ingress = await start()
    let open = 0
    let most = 0
    ingress.app.server.prependListener('request', (_request, response) => {
      open += 1
      most = Math.max(most, open)
      response.once('close', () => (open -= 1))
    })
    // Rings of one connection are coalesced, so that each good one takes a moment.
    const count = 12
    const { heard } = await talk(ingress.port, one(ingress).repeat(count))
    await eventually('all are answered', () => answers(heard()).length === count)
    expect(most).toBeLessThanOrEqual(1)
  })

  test('is answered in order, also where its bytes come one by one', async () => {
    const ingress = await start()
    const bytes = keptAlive(ingress) + rawRequest('POST', GOOGLE_WEBHOOK, {})
    const { socket, heard, isOver } = await talk(ingress.port, '')
    for (const byte of bytes) await new Promise((resolve) => socket.write(byte, resolve))
    await eventually('both answers', isOver)
    expect(answers(heard())).toEqual(['HTTP/1.1 202', 'HTTP/1.1 401'])
  })

  test('stays open between requests, and a body of 1 MB goes through it, at once or when asked for', async () => {
    const ingress = await start()
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const ports = new Set<number | undefined>()
    for (const [padding, expectation] of [
      [10, false],
      [1_000_000, false],
      [1_000_000, true],
      [10, false],
    ] as const) {
      const body = batch(ingress, padding)
      const status = await new Promise((resolve, reject) => {
        const headers = { 'content-length': body.length, ...(expectation ? { expect: '100-continue' } : {}) }
        const request = httpRequest(
          { port: ingress.port, host: '127.0.0.1', path: MICROSOFT_WEBHOOK, method: 'POST', agent, headers },
          (response) => {
            ports.add(response.socket.localPort)
            response.resume().on('end', () => resolve(response.statusCode))
          },
        )
        request.on('error', reject)
        if (expectation) request.on('continue', () => request.end(body))
        else request.end(body)
      })
      expect(status).toBe(202)
    }
    agent.destroy()
    expect(ports.size).toBe(1)
  })

  test('that was refused is closed soon, though its client does not', async () => {
    const ingress = await start()
    const half = { allowHalfOpen: true, port: ingress.port, host: '127.0.0.1' }
    const deaf = connect(half)
    sockets.push(deaf)
    deaf.on('error', () => {})
    deaf.write('NONSENSE\r\n\r\n')
    const open = () =>
      new Promise<number>((resolve) => ingress.app.server.getConnections((_e, n) => resolve(n)))
    await eventually('it is in', async () => (await open()) === 1)
    await eventually('its place is free', async () => (await open()) === 0)
    expect((await notify(ingress)).status).toBe(202)
  })

  test.each([
    ['nothing', ''],
    ['half a head', 'POST / HTTP/1.1\r\nHost: x\r\nX-Slow: '],
    ['empty lines', '\r\n\r\n'],
  ])('that has sent %s is let go, and the log has one line for all', async (_what, bytes) => {
    const ingress = await start()
    const all = await Promise.all(Array.from({ length: 30 }, () => talk(ingress.port, bytes)))
    await eventually('they are let go', () => all.every(({ isOver }) => isOver()))
    const told = ingress.logged.filter((line) => line.includes('sockets were turned away'))
    expect(told).toHaveLength(1)
    expect(told[0]).toContain('too_slow')
  })
})

describe('places', () => {
  test.each([
    ['silent', ''],
    ['half open', 'POST / HTTP/1.1\r\nHost: x\r\nX-Slow: '],
    [
      'waiting for a body',
      `POST ${MICROSOFT_WEBHOOK} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\na`,
    ],
  ])('that %s sockets took are given to whoever comes', async (_what, bytes) => {
    const ingress = await start({ sockets: { connectionsMax: 20 } })
    const strangers = await Promise.all(
      Array.from({ length: 40 }, (_, n) => talk(ingress.port, bytes, `127.0.1.${1 + (n % 4)}`)),
    )
    for (let n = 0; n < 5; n += 1) expect((await notify(ingress)).status).toBe(202)
    expect(strangers.filter(({ isOver }) => isOver()).length).toBeGreaterThanOrEqual(20)
  })

  test('of kept-alive sockets are given to whoever comes', async () => {
    const ingress = await start({ sockets: { connectionsMax: 10 } })
    const idle = await Promise.all(Array.from({ length: 10 }, () => talk(ingress.port, keptAlive(ingress))))
    await eventually('all are answered', () => idle.every(({ heard }) => answers(heard()).length === 1))
    expect((await notify(ingress)).status).toBe(202)
    await eventually('one gave way', () => idle.filter(({ isOver }) => isOver()).length === 1)
  })

  test('of pipelines whose next request waits for its turn may be given to others', async () => {
    const ingress = await start()
    const guarded = new Set<GuardedSocket>()
    const answering: number[] = []
    ingress.app.server.prependListener('request', ({ socket }) => {
      if (socket instanceof GuardedSocket) guarded.add(socket)
      answering.push([...guarded].filter(({ activity }) => activity === 'answering').length)
    })
    // Less than one read of 4 kB, so that no socket waits for a rest of its bytes.
    const ahead = 'POST /api/webhooks/calendar/google HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(40)
    await Promise.all(Array.from({ length: 10 }, () => talk(ingress.port, ahead)))
    await eventually('all are answered', () => answering.length === 400)
    // In the middle all ten have come and none has had its last one;
    // the one that begins is none of the nine.
    expect(Math.min(...answering.slice(150, 250))).toBeLessThan(9)
  })

  test('one client has so many and no more, while another gets in', async () => {
    const ingress = await start({ sockets: { connectionsMax: 50, connectionsPerAddressMax: 5 } })
    const mine = await Promise.all(Array.from({ length: 12 }, () => talk(ingress.port, '', '127.0.1.1')))
    await eventually('seven gave way', () => mine.filter(({ isOver }) => isOver()).length === 7)
    const other = await talk(ingress.port, keptAlive(ingress), '127.0.1.2')
    await eventually('the other is answered', () => answers(other.heard()).length === 1)
    expect(mine.filter(({ isOver }) => isOver())).toHaveLength(7)
  })

  test('a trusted proxy has as many as there are', async () => {
    const trusted = { connectionsMax: 50, connectionsPerAddressMax: 5, trustedProxies: ['127.0.1.0/24'] }
    const ingress = await start({ sockets: trusted })
    const all = await Promise.all(
      Array.from({ length: 12 }, () => talk(ingress.port, keptAlive(ingress), '127.0.1.1')),
    )
    await eventually('all are answered', () => all.every(({ heard }) => answers(heard()).length === 1))
    expect(all.some(({ isOver }) => isOver())).toBe(false)
  })
})

describe('behind a trusted proxy', () => {
  const forwarded = (ingress: LiteralIngress, client: string) =>
    notify(ingress, { 'X-Forwarded-For': `203.0.113.9, ${client}` })

  test('a client has so many requests open and no more, while another is answered', async () => {
    const kafka = Promise.withResolvers<void>()
    const ingress = await start({
      send: () => kafka.promise,
      sockets: { connectionsPerAddressMax: 3, trustedProxies: ['127.0.0.1'] },
    })
    const open = Array.from({ length: 3 }, () => forwarded(ingress, '192.0.2.1'))
    await eventually('three are open', async () => (await forwarded(ingress, '192.0.2.1')).status === 503)
    const other = forwarded(ingress, '192.0.2.2')
    kafka.resolve()
    expect((await Promise.all([...open, other])).map(({ status }) => status)).toEqual([202, 202, 202, 202])
    expect((await forwarded(ingress, '192.0.2.1')).status).toBe(202)
  })
})

describe('bodies', () => {
  test.each([
    ['1 MB announced', 'Content-Length: 1048576\r\n\r\na'],
    ['chunked', 'Transfer-Encoding: chunked\r\n\r\n100000\r\na'],
  ])('%s and one byte sent, 90 times: nobody is refused', async (_what, rest) => {
    const ingress = await start()
    for (let n = 0; n < 90; n += 1)
      await talk(ingress.port, `POST ${MICROSOFT_WEBHOOK} HTTP/1.1\r\nHost: x\r\n${rest}`)
    for (const padding of [10, 900_000]) {
      const answer = await post(ingress, MICROSOFT_WEBHOOK, {}, batch(ingress, padding))
      expect(answer.status).toBe(202)
    }
  })

  test.each([GOOGLE_WEBHOOK, MICROSOFT_WEBHOOK, SYNC_API])(
    'that stop coming are answered 408: %s',
    async (path) => {
      const ingress = await start()
      const headers = {
        ...ingress.notification(),
        Authorization: await ingress.bearer({ scope: 'operator' }),
      }
      for (const framing of [{ 'Content-Length': '9' }, { 'Transfer-Encoding': 'chunked' }]) {
        const request = rawRequest('POST', path, { ...headers, ...framing })
        const bytes = 'Content-Length' in framing ? request : request.replace('Content-Length: 0\r\n', '')
        const answer = await rawExchange(ingress.port, `${bytes}`)
        expect(answer.status).toBe(408)
      }
      expect(ingress.sent).toHaveLength(0)
    },
  )

  test('nearly whole large ones that fill the room give way to a whole one', async () => {
    const ingress = await start()
    const whole = batch(ingress, 1_000_000)
    const nearly = `POST ${MICROSOFT_WEBHOOK} HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n${'a'.repeat(1_048_000)}`
    const strangers = await Promise.all(Array.from({ length: 40 }, () => talk(ingress.port, nearly)))
    expect((await post(ingress, MICROSOFT_WEBHOOK, {}, whole)).status).toBe(202)
    expect((await post(ingress, MICROSOFT_WEBHOOK, {}, batch(ingress, 10))).status).toBe(202)
    await eventually('the strangers are given up', () => strangers.every(({ isOver }) => isOver()))
    for (const { heard } of strangers)
      expect([[], ['HTTP/1.1 503'], ['HTTP/1.1 408']]).toContainEqual(answers(heard()))
  })
})
