// The way out to a vendor, against a real HTTP server that misbehaves.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ANSWER_BYTES_MAX, ANSWER_VALUES_MAX } from '#shared/domain/page-limits.ts'
import { createBoundedFetch, retryAtOf } from '#shared/vendors/fetch.ts'
import { createLimiter, type Limiter } from '#shared/vendors/limits/limiter.ts'
import { failureOf } from '../../../support/answering-google.ts'
import { serve, serveRaw } from '../../../support/odd-server.ts'

const boundedFetch = (limits: Partial<Parameters<typeof createBoundedFetch>[0]> = {}) =>
  createBoundedFetch({ vendor: 'google', ...limits })

describe('boundedFetch', () => {
  test('hands a whole answer over: status, headers and body', async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(201, { 'x-kept': 'yes' }).end('{"a":1}')
    })
    const response = await boundedFetch()(url)
    expect([response.status, response.headers.get('x-kept')]).toEqual([201, 'yes'])
    expect(await response.json()).toEqual({ a: 1 })
  })

  test('does not follow a redirect, so the token in the request stays with the first host', async () => {
    const other = await serve((_request, response) => response.end('{}'))
    const { url } = await serve((_request, response) => {
      response.writeHead(302, { location: other.url }).end()
    })
    const failure = await failureOf(boundedFetch()(url, { headers: { authorization: 'Bearer x' } }))
    expect(failure.code).toBe('vendor/unreadable-answer')
    expect(other.hits()).toBe(0)
    // Control: the other host would have answered.
    expect((await boundedFetch()(other.url)).status).toBe(200)
  })

  test('asks once: a server error is handed over, not repeated', async () => {
    const { url, hits } = await serve((_request, response) => response.writeHead(503).end())
    expect((await boundedFetch()(url)).status).toBe(503)
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
    const response = await boundedFetch({ bytesMax: 1_000_000 })(url)
    expect((await failureOf(response.text())).code).toBe('vendor/answer-too-large')

    const exact = await serve((_request, answer) => answer.end(Buffer.alloc(1_000_000)))
    const whole = await boundedFetch({ bytesMax: 1_000_000 })(exact.url)
    expect((await whole.arrayBuffer()).byteLength).toBe(1_000_000)
  })

  test('takes an answer of just its default cap, and refuses one that announces a byte more without reading it', async () => {
    const { url } = await serve((_request, response) => response.end(Buffer.alloc(ANSWER_BYTES_MAX)))
    const bytes = await (await boundedFetch()(url)).arrayBuffer()
    expect(bytes.byteLength).toBe(ANSWER_BYTES_MAX)

    const announced = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': ANSWER_BYTES_MAX + 1 }).write('{')
    })
    expect((await failureOf(boundedFetch()(announced.url))).code).toBe('vendor/answer-too-large')
  })

  test('gives up JSON of too many values before it is parsed, and counts none inside of strings', async () => {
    const values = await serve((_request, response) =>
      response.end(`[${'{},'.repeat(ANSWER_VALUES_MAX / 2)}{}]`),
    )
    const response = await boundedFetch()(values.url)
    expect((await failureOf(response.text())).code).toBe('vendor/answer-too-large')

    const text = JSON.stringify([`,"${'[{,'.repeat(ANSWER_VALUES_MAX)}\\`])
    const string = await serve((_request, answer) => answer.end(text))
    expect(await (await boundedFetch()(string.url)).text()).toBe(text)
  })

  test.each([600, 999])('calls status %i unreadable, and 599 a status like others', async (status) => {
    const raw = await serveRaw(`HTTP/1.1 ${status} Odd\r\ncontent-length: 2\r\n\r\n{}`)
    expect((await failureOf(boundedFetch()(raw))).code).toBe('vendor/unreadable-answer')
    const last = await serveRaw('HTTP/1.1 599 Odd\r\ncontent-length: 2\r\n\r\n{}')
    expect(await (await boundedFetch()(last)).text()).toBe('{}')
  })

  test.each([0, 99, 101, 102, 103, 199, 204, 205, 300, 304])(
    'whatever comes with status %i is an answer or a Failure of the vendor',
    async (status) => {
      const code = String(status).padStart(3, '0')
      const url = await serveRaw(`HTTP/1.1 ${code} \u0001\u00ff\r\ncontent-length: 2\r\n\r\n{}`)
      const outcome = await boundedFetch({ timeoutMs: 300 })(url)
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
    const response = await boundedFetch()(url)
    expect((await failureOf(response.text())).code).toBe('vendor/unreadable-answer')
  })

  test('ends a wait for headers and a wait inside the body by the same deadline', async () => {
    const silent = await serve(() => {})
    const bounded = boundedFetch({ timeoutMs: 80 })
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
    const call = boundedFetch()(silent.url, { signal: before.signal })
    before.abort(reason)
    await expect(call).rejects.toBe(reason)

    const stalled = await serve((_request, response) => {
      response.writeHead(200).write('{')
    })
    const inside = new AbortController()
    const response = await boundedFetch()(stalled.url, { signal: inside.signal })
    const body = response.text()
    inside.abort(reason)
    await expect(body).rejects.toBe(reason)
  })

  test('calls a host that refuses connections unavailable', async () => {
    const gone = await serve(() => {})
    await gone.close()
    const failure = await failureOf(boundedFetch()(gone.url))
    expect(failure.code).toBe('vendor/unavailable')
    expect(failure.message).toContain('ECONNREFUSED')
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
  const runIn = async <T>(limiter: Limiter, key: string, signal: AbortSignal, work: () => Promise<T>) => {
    using _place = await limiter.enter(key, signal)
    return await work()
  }

  test('runs four calls of an account at a time, the rest in their order, other accounts beside them', async () => {
    const limiter = createLimiter({ perKey: 4, waitingMax: 100 })
    const { signal } = new AbortController()
    const started: number[] = []
    let running = 0
    let most = 0
    const calls = Array.from({ length: 20 }, (_, index) =>
      runIn(limiter, 'a', signal, async () => {
        started.push(index)
        most = Math.max(most, ++running)
        await new Promise((resolve) => setImmediate(resolve))
        running -= 1
      }),
    )
    const other = runIn(limiter, 'b', signal, async () => running)
    expect(await other).toBeGreaterThan(0)
    await Promise.all(calls)
    expect(most).toBe(4)
    expect(started).toEqual(Array.from({ length: 20 }, (_, index) => index))
  })

  test('refuses beyond its queue, and is free again afterwards', async () => {
    const limiter = createLimiter({ perKey: 1, waitingMax: 1 })
    const { signal } = new AbortController()
    const gate = Promise.withResolvers<void>()
    const first = runIn(limiter, 'a', signal, () => gate.promise)
    const second = runIn(limiter, 'a', signal, async () => 'second')
    expect((await failureOf(runIn(limiter, 'a', signal, async () => 'third'))).code).toBe('vendor/throttled')
    gate.resolve()
    await first
    expect(await second).toBe('second')
    expect(await runIn(limiter, 'a', signal, async () => 'later')).toBe('later')
  })

  test('lets a caller leave the queue: by its signal, or when the wait took too long', async () => {
    const limiter = createLimiter({ perKey: 1, waitingMax: 5, waitMs: 50 })
    const gate = Promise.withResolvers<void>()
    const first = runIn(limiter, 'a', new AbortController().signal, () => gate.promise)
    const controller = new AbortController()
    const leaving = runIn(limiter, 'a', controller.signal, async () => 'never')
    const reason = new Error('stopped')
    controller.abort(reason)
    await expect(leaving).rejects.toBe(reason)
    const late = runIn(limiter, 'a', new AbortController().signal, async () => 'never')
    expect((await failureOf(late)).code).toBe('vendor/timeout')
    gate.resolve()
    await first
    expect(await runIn(limiter, 'a', new AbortController().signal, async () => 'free')).toBe('free')
  })

  test('passes the slot on when a call fails', async () => {
    const limiter = createLimiter({ perKey: 1, waitingMax: 5 })
    const { signal } = new AbortController()
    const failing = runIn(limiter, 'a', signal, () => Promise.reject(new Error('no')))
    const next = runIn(limiter, 'a', signal, async () => 'next')
    await expect(failing).rejects.toThrow('no')
    expect(await next).toBe('next')
  })
})
