// The way out to a vendor, against a real HTTP server that misbehaves.
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTcpServer, type AddressInfo } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { ANSWER_BYTES_MAX, ANSWER_VALUES_MAX } from '#shared/domain/page-limits.ts'
import { createBoundedFetch, createLimiter, retryAtOf } from '#shared/vendors/fetch.ts'
import { createRoom, ROOM_LIMITS } from '#shared/vendors/room.ts'

const open: AsyncDisposable[] = []
afterEach(async () => {
  for (const server of open.splice(0)) await server[Symbol.asyncDispose]()
})

async function serve(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ url: string; hits: () => number }> {
  let hits = 0
  const server = createServer((request, response) => {
    hits += 1
    answer(request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push({
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, hits: () => hits }
}

/** Sends these bytes, whatever is asked, and closes. */
async function serveRaw(bytes: string): Promise<string> {
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end(Buffer.from(bytes, 'latin1')))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push({
    async [Symbol.asyncDispose]() {
      server.close()
      await once(server, 'close')
    },
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(
    () => expect.unreachable('the call should have failed'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(Failure)
  return error as Failure
}

describe('boundedFetch', () => {
  test('hands a whole answer over: status, headers and body', async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(201, { 'x-kept': 'yes' }).end('{"a":1}')
    })
    const response = await createBoundedFetch()(url)
    expect([response.status, response.headers.get('x-kept')]).toEqual([201, 'yes'])
    expect(await response.json()).toEqual({ a: 1 })
  })

  test('does not follow a redirect, so the token in the request stays with the first host', async () => {
    const other = await serve((_request, response) => response.end('{}'))
    const { url } = await serve((_request, response) => {
      response.writeHead(302, { location: other.url }).end()
    })
    const failure = await failureOf(createBoundedFetch()(url, { headers: { authorization: 'Bearer x' } }))
    expect(failure.code).toBe('vendor/unreadable-answer')
    expect(other.hits()).toBe(0)
    // Control: the other host would have answered.
    expect((await createBoundedFetch()(other.url)).status).toBe(200)
  })

  test('asks once: a server error is handed over, not repeated', async () => {
    const { url, hits } = await serve((_request, response) => response.writeHead(503).end())
    expect((await createBoundedFetch()(url)).status).toBe(503)
    expect(hits()).toBe(1)
  })

  test('cuts a body that never ends at its cap, and lets one of just the cap pass', async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200)
      const chunk = Buffer.alloc(64 * 1024, 'x')
      const more = () => {
        while (!response.destroyed && response.write(chunk));
      }
      response.on('drain', more)
      more()
    })
    const response = await createBoundedFetch({ bytesMax: 1_000_000 })(url)
    expect((await failureOf(response.text())).code).toBe('vendor/answer-too-large')

    const exact = await serve((_request, answer) => answer.end(Buffer.alloc(1_000_000)))
    const whole = await createBoundedFetch({ bytesMax: 1_000_000 })(exact.url)
    expect((await whole.arrayBuffer()).byteLength).toBe(1_000_000)
  })

  test('takes an answer of just its default cap, and refuses one that announces a byte more without reading it', async () => {
    const { url } = await serve((_request, response) => response.end(Buffer.alloc(ANSWER_BYTES_MAX)))
    const bytes = await (await createBoundedFetch()(url)).arrayBuffer()
    expect(bytes.byteLength).toBe(ANSWER_BYTES_MAX)

    const announced = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': ANSWER_BYTES_MAX + 1 }).write('{')
    })
    expect((await failureOf(createBoundedFetch()(announced.url))).code).toBe('vendor/answer-too-large')
  })

  test('gives up JSON of too many values before it is parsed, and counts none inside of strings', async () => {
    const values = await serve((_request, response) =>
      response.end(`[${'{},'.repeat(ANSWER_VALUES_MAX / 2)}{}]`),
    )
    const response = await createBoundedFetch()(values.url)
    expect((await failureOf(response.text())).code).toBe('vendor/answer-too-large')

    const text = JSON.stringify([`,"${'[{,'.repeat(ANSWER_VALUES_MAX)}\\`])
    const string = await serve((_request, answer) => answer.end(text))
    expect(await (await createBoundedFetch()(string.url)).text()).toBe(text)
  })

  test.each([600, 999, 100_0])('calls status %i unreadable, and 599 a status like others', async (status) => {
    const raw = await serveRaw(`HTTP/1.1 ${status} Odd\r\ncontent-length: 2\r\n\r\n{}`)
    expect(['vendor/unreadable-answer', 'vendor/unavailable']).toContain(
      (await failureOf(createBoundedFetch()(raw))).code,
    )
    const last = await serveRaw('HTTP/1.1 599 Odd\r\ncontent-length: 2\r\n\r\n{}')
    expect(await (await createBoundedFetch()(last)).text()).toBe('{}')
  })

  test.each([0, 99, 101, 102, 103, 199, 204, 205, 300, 304])(
    'whatever comes with status %i is an answer or a Failure of the vendor',
    async (status) => {
      const code = String(status).padStart(3, '0')
      const url = await serveRaw(`HTTP/1.1 ${code} \u0001\u00ff\r\ncontent-length: 2\r\n\r\n{}`)
      const outcome = await createBoundedFetch({ timeoutMs: 300 })(url)
        .then((response) => response.text())
        .catch((error: unknown) => error)
      if (typeof outcome !== 'string')
        expect(outcome).toMatchObject({ code: expect.stringMatching(/^vendor\//) })
    },
  )

  test('calls a body that breaks off unreadable', async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('{"items":[')
      setTimeout(() => response.destroy(), 20)
    })
    const response = await createBoundedFetch()(url)
    expect((await failureOf(response.text())).code).toBe('vendor/unreadable-answer')
  })

  test('ends a wait for headers and a wait inside the body by the same deadline', async () => {
    const silent = await serve(() => {})
    const bounded = createBoundedFetch({ timeoutMs: 80 })
    expect((await failureOf(bounded(silent.url))).code).toBe('vendor/timeout')

    const stalled = await serve((_request, response) => {
      response.writeHead(200).write('{')
    })
    const response = await bounded(stalled.url)
    expect((await failureOf(response.text())).code).toBe('vendor/timeout')
  })

  test("rejects with the reason of the caller's signal, before headers and inside the body", async () => {
    const reason = new Error('the gate closed')
    const silent = await serve(() => {})
    const before = new AbortController()
    const call = createBoundedFetch()(silent.url, { signal: before.signal })
    before.abort(reason)
    await expect(call).rejects.toBe(reason)

    const stalled = await serve((_request, response) => {
      response.writeHead(200).write('{')
    })
    const inside = new AbortController()
    const response = await createBoundedFetch()(stalled.url, { signal: inside.signal })
    const body = response.text()
    inside.abort(reason)
    await expect(body).rejects.toBe(reason)
  })

  test('calls a host that refuses connections unavailable', async () => {
    const gone = await serve(() => {})
    await open.splice(0)[0]?.[Symbol.asyncDispose]()
    const failure = await failureOf(createBoundedFetch()(gone.url))
    expect(failure.code).toBe('vendor/unavailable')
    expect(failure.message).toContain('ECONNREFUSED')
  })
})

describe('the room for answers', () => {
  const MB = 1024 * 1024
  const LIMITS = {
    ...ROOM_LIMITS,
    smallMax: MB,
    smallBytes: 4 * MB,
    largeMax: 4 * MB,
    largeBytes: 4 * MB,
    waitMs: 60_000,
  }
  const served = (bytes: number) => serve((_request, response) => response.end(Buffer.alloc(bytes, ' ')))

  test('is taken while an answer is read and given back at its end, whatever that is', async () => {
    const room = createRoom(LIMITS)
    const bounded = createBoundedFetch({ room })
    const whole = await served(3 * MB)
    expect((await (await bounded(whole.url)).text()).length).toBe(3 * MB)
    const tooLarge = await served(5 * MB)
    expect((await failureOf(bounded(tooLarge.url).then((response) => response.text()))).code).toBe(
      'vendor/answer-too-large',
    )
    const left = await bounded(whole.url)
    await left.body?.cancel()
    expect(room.taken()).toBe(0)
  })

  test('inside of a page is kept until the page is done, and the next waits for it; small answers do not', async () => {
    const room = createRoom(LIMITS)
    const bounded = createBoundedFetch({ room })
    const [large, small] = [await served(2 * MB), await served(1000)]
    const read = async (url: string) => (await (await bounded(url)).text()).length
    const stored = Promise.withResolvers<void>()
    const isRead = Promise.withResolvers<void>()
    const first = room.hold(async () => {
      await read(large.url)
      isRead.resolve()
      await stored.promise
    })
    await isRead.promise
    expect(room.taken()).toBe(LIMITS.largeMax)
    let isSecondRead = false
    const second = room.hold(async () => {
      await read(large.url)
      isSecondRead = true
    })
    for (let i = 0; i < 20; i += 1) expect(await room.hold(() => read(small.url))).toBe(1000)
    expect(isSecondRead).toBe(false)
    stored.resolve()
    await Promise.all([first, second])
    expect(isSecondRead).toBe(true)
    expect(room.taken()).toBe(0)
  })

  test("that is not there in time is our trouble: the vendor's time stands still meanwhile", async () => {
    const room = createRoom(LIMITS)
    const timeoutMs = LIMITS.waitMs / 2
    const blocker = room.holder().holder
    await blocker.take(2 * MB, null)
    const { url } = await served(2 * MB)
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    try {
      const read = (at: string) =>
        failureOf(createBoundedFetch({ room, timeoutMs })(at).then((response) => response.text()))
      const refused = read(url)
      while (room.waiting() === 0) await nextTurn()
      vi.advanceTimersByTime(LIMITS.waitMs)
      expect((await refused).code).toBe('sync/no-room')
      // Control: time that passes after the wait is the vendor's again.
      const stalled = await serve((_request, response) => {
        response.writeHead(200).write(Buffer.alloc(2 * MB))
      })
      const cut = read(stalled.url)
      while (room.waiting() === 0) await nextTurn()
      vi.advanceTimersByTime(timeoutMs * 1.5)
      blocker.end()
      let isOver = false
      void cut.then(() => (isOver = true))
      while (!isOver) {
        await nextTurn()
        vi.advanceTimersByTime(timeoutMs / 10)
      }
      expect((await cut).code).toBe('vendor/timeout')
    } finally {
      vi.useRealTimers()
    }
    expect(room.taken()).toBe(0)
  })

  test('for which a vendor does not wait is our trouble too', async () => {
    const room = createRoom(LIMITS)
    const blocker = room.holder().holder
    await blocker.take(2 * MB, null)
    const hangUp = Promise.withResolvers<void>()
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 3 * MB }).write(Buffer.alloc(2 * MB))
      void hangUp.promise.then(() => response.destroy())
    })
    const cut = failureOf(createBoundedFetch({ room })(url).then((response) => response.text()))
    while (room.waiting() === 0) await nextTurn()
    hangUp.resolve()
    blocker.end()
    expect((await cut).code).toBe('sync/no-room')
    expect(room.taken()).toBe(0)
  })

  test('is waited for no longer than the caller wants', async () => {
    const room = createRoom(LIMITS)
    const blocker = room.holder().holder
    await blocker.take(2 * MB, null)
    const { url } = await served(2 * MB)
    const reason = new Error('the gate closed')
    const stop = new AbortController()
    const body = createBoundedFetch({ room })(url, { signal: stop.signal }).then((response) =>
      response.text(),
    )
    setTimeout(() => stop.abort(reason), 50)
    await expect(body).rejects.toBe(reason)
    blocker.end()
    expect(room.taken()).toBe(0)
  })
})

describe('retryAtOf', () => {
  const now = Date.UTC(2026, 10, 20, 12, 0, 0) * 1000
  const at = (value: string) => retryAtOf(new Headers({ 'retry-after': value }), now)

  test.each([
    ['seconds', '120', now + 120_000_000],
    ['zero seconds', '0', now],
    ['an HTTP date', 'Fri, 20 Nov 2026 12:05:00 GMT', now + 300_000_000],
    ['an HTTP date that is over', 'Fri, 20 Nov 2026 11:00:00 GMT', now],
    ['a year, cut to a day', String(365 * 86_400), now + 86_400_000_000],
    ['a date in a hundred years, cut to a day', 'Fri, 20 Nov 2126 12:05:00 GMT', now + 86_400_000_000],
  ])('reads %s', (_what, value, expected) => {
    expect(at(value)).toBe(expected)
  })

  test.each(['', 'soon', '-5', '1.5', '2026-11-20'])('ignores %j', (value) => {
    expect(at(value)).toBeUndefined()
  })

  test('never names a moment in the past or more than a day away, whatever the header says', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.nat().map(String),
          fc.date({ noInvalidDate: true }).map((d) => d.toUTCString()),
        ),
        (text) => {
          const moment = at(text)
          if (moment === undefined) return
          expect(moment).toBeGreaterThanOrEqual(now)
          expect(moment).toBeLessThanOrEqual(now + 86_400_000_000)
        },
      ),
    )
  })
})

describe('the limiter', () => {
  test('runs four calls of an account at a time, the rest in their order, other accounts beside them', async () => {
    const limiter = createLimiter({ perKey: 4, waitingMax: 100 })
    const { signal } = new AbortController()
    const started: number[] = []
    let running = 0
    let most = 0
    const calls = Array.from({ length: 20 }, (_, index) =>
      limiter.run('a', signal, async () => {
        started.push(index)
        most = Math.max(most, ++running)
        await new Promise((resolve) => setImmediate(resolve))
        running -= 1
      }),
    )
    const other = limiter.run('b', signal, async () => running)
    expect(await other).toBeGreaterThan(0)
    await Promise.all(calls)
    expect(most).toBe(4)
    expect(started).toEqual(Array.from({ length: 20 }, (_, index) => index))
  })

  test('refuses beyond its queue, and is free again afterwards', async () => {
    const limiter = createLimiter({ perKey: 1, waitingMax: 1 })
    const { signal } = new AbortController()
    const gate = Promise.withResolvers<void>()
    const first = limiter.run('a', signal, () => gate.promise)
    const second = limiter.run('a', signal, async () => 'second')
    expect((await failureOf(limiter.run('a', signal, async () => 'third'))).code).toBe('vendor/throttled')
    gate.resolve()
    await first
    expect(await second).toBe('second')
    expect(await limiter.run('a', signal, async () => 'later')).toBe('later')
  })

  test('lets a caller leave the queue: by its signal, or when the wait took too long', async () => {
    const limiter = createLimiter({ perKey: 1, waitingMax: 5, waitMs: 50 })
    const gate = Promise.withResolvers<void>()
    const first = limiter.run('a', new AbortController().signal, () => gate.promise)
    const controller = new AbortController()
    const leaving = limiter.run('a', controller.signal, async () => 'never')
    const reason = new Error('stopped')
    controller.abort(reason)
    await expect(leaving).rejects.toBe(reason)
    const late = limiter.run('a', new AbortController().signal, async () => 'never')
    expect((await failureOf(late)).code).toBe('vendor/timeout')
    gate.resolve()
    await first
    expect(await limiter.run('a', new AbortController().signal, async () => 'free')).toBe('free')
  })

  test('passes the slot on when a call fails', async () => {
    const limiter = createLimiter({ perKey: 1, waitingMax: 5 })
    const { signal } = new AbortController()
    const failing = limiter.run('a', signal, () => Promise.reject(new Error('no')))
    const next = limiter.run('a', signal, async () => 'next')
    await expect(failing).rejects.toThrow('no')
    expect(await next).toBe('next')
  })
})
