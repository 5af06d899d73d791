// The rate of rings: what is published for how many, with which keys,
// and that nothing is answered before it.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { calendarId, connectionId, providerId } from '#shared/domain/ids.ts'
import {
  createCoalescer,
  JOIN_WAIT_MAX_MS,
  KEYS_MAX,
  REQUESTS_AT_ONCE,
  REQUESTS_PER_SECOND,
  type SyncRequest,
} from '../../../services/ingress/publisher.ts'
import type { Commitment } from '../../../services/ingress/group-commit.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const CALENDAR = {
  connectionId: connectionId(randomUUID()),
  providerId: providerId(randomUUID()),
  vendor: 'google',
  reason: 'webhook',
  calendarId: calendarId(randomUUID()),
  asOf: null,
} as const

const requestOf = (key: string | number | null, changes: Partial<SyncRequest> = {}): SyncRequest => ({
  ...CALENDAR,
  deliveryKey: key === null ? null : `k${key}`,
  ...changes,
})

/** A coalescer whose rings are durable at once unless the test says otherwise. */
function aCoalescer(answer: (ring: SyncRequest) => Promise<Commitment> = async () => 'durable') {
  const published: SyncRequest[] = []
  const coalescer = createCoalescer(async (ring) => {
    published.push(ring)
    return answer(ring)
  })
  const answered: (Commitment | 'rejected')[] = []
  const ring = (one: SyncRequest): void => {
    void coalescer.ring(one).then(
      (commitment) => answered.push(commitment),
      () => answered.push('rejected'),
    )
  }
  /** Uses up what is published as it comes. */
  const exhaust = async (): Promise<void> => {
    for (let n = 0; n < REQUESTS_AT_ONCE; n += 1) ring(requestOf(`first ${n}`))
    await vi.advanceTimersByTimeAsync(0)
    published.splice(0)
    answered.splice(0)
  }
  const keys = () => published.map(({ deliveryKey }) => deliveryKey)
  return { coalescer, published, answered, ring, exhaust, keys }
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)

describe('rings of one calendar', () => {
  test('are published as they come, each under its key, as long as they are no more than at once allowed', async () => {
    const { ring, keys, answered } = aCoalescer()
    for (let n = 0; n < REQUESTS_AT_ONCE; n += 1) ring(requestOf(n))
    await pass(0)
    expect(keys()).toEqual(Array.from({ length: REQUESTS_AT_ONCE }, (_, n) => `k${n}`))
    expect(answered).toHaveLength(REQUESTS_AT_ONCE)
  })

  test('beyond that are answered only when one that was published after them is durable', async () => {
    const kafka = Promise.withResolvers<Commitment>()
    const { ring, exhaust, published, answered } = aCoalescer(({ deliveryKey }) =>
      deliveryKey?.startsWith('kfirst') ? Promise.resolve('durable') : kafka.promise,
    )
    await exhaust()
    ring(requestOf('a'))
    await pass(JOIN_WAIT_MAX_MS / 2)
    ring(requestOf('b'))
    expect(published).toEqual([])
    await pass(JOIN_WAIT_MAX_MS / 2)
    // On its way: what comes now belongs to the next.
    ring(requestOf('c'))
    expect(published.map(({ deliveryKey }) => deliveryKey)).toEqual(['ka', 'kb'])
    await pass(JOIN_WAIT_MAX_MS)
    expect(published.map(({ deliveryKey }) => deliveryKey)).toEqual(['ka', 'kb', 'kc'])
    expect(answered).toEqual([])
    kafka.resolve('durable')
    await pass(0)
    expect(answered).toEqual(['durable', 'durable', 'durable'])
  })

  test('share the fate of the ring that they joined', async () => {
    const fates: Commitment[] = ['failed', 'durable']
    const { ring, exhaust, answered } = aCoalescer(async ({ deliveryKey }) =>
      deliveryKey?.startsWith('kfirst') ? 'durable' : (fates.shift() ?? 'durable'),
    )
    await exhaust()
    // Two keys: one of the two rings fails, so neither caller may go away.
    ring(requestOf('a'))
    ring(requestOf('b'))
    await pass(JOIN_WAIT_MAX_MS)
    expect(answered).toEqual(['failed', 'failed'])
    ring(requestOf('a'))
    await pass(JOIN_WAIT_MAX_MS)
    expect(answered).toEqual(['failed', 'failed', 'durable'])
  })

  test('keep a key that they have in common, and up to four different ones', async () => {
    const { ring, exhaust, keys } = aCoalescer()
    await exhaust()
    for (let n = 0; n < 300; n += 1) ring(requestOf(n % KEYS_MAX))
    await pass(JOIN_WAIT_MAX_MS)
    expect(keys()).toEqual(['k0', 'k1', 'k2', 'k3'])
  })

  test.each([
    ['more different keys', Array.from({ length: KEYS_MAX + 1 }, (_, n) => n)],
    ['one without a key', [1, null, 2, 2]],
  ])('with %s are one ring without, which no unit takes for answered', async (_what, sent) => {
    const { ring, exhaust, keys, answered } = aCoalescer()
    await exhaust()
    for (const key of sent) ring(requestOf(key))
    await pass(JOIN_WAIT_MAX_MS)
    expect(keys()).toEqual([null])
    expect(answered).toHaveLength(sent.length)
  })

  test('5 000 in eight seconds are some 60 records with a few keys; all are answered within the step', async () => {
    const { ring, published, answered } = aCoalescer()
    for (let n = 0; n < 5000; n += 1) {
      ring(requestOf(n))
      await pass(1.6)
    }
    await pass(JOIN_WAIT_MAX_MS)
    expect(answered).toEqual(Array.from({ length: 5000 }, () => 'durable'))
    expect(published.length).toBeLessThanOrEqual(REQUESTS_AT_ONCE + 8 * REQUESTS_PER_SECOND + 2)
    expect(published.filter(({ deliveryKey }) => deliveryKey !== null).length).toBeLessThanOrEqual(
      REQUESTS_AT_ONCE + KEYS_MAX,
    )
  })

  test('are at once again after a pause', async () => {
    const { ring, exhaust, published } = aCoalescer()
    await exhaust()
    await pass(REQUESTS_AT_ONCE * JOIN_WAIT_MAX_MS)
    for (let n = 0; n < REQUESTS_AT_ONCE; n += 1) ring(requestOf(n))
    await pass(0)
    expect(published).toHaveLength(REQUESTS_AT_ONCE)
  })

  test('do not wait for those of another calendar, connection or reason', async () => {
    const { ring, exhaust, published } = aCoalescer()
    await exhaust()
    ring(requestOf(1, { calendarId: calendarId(randomUUID()) }))
    ring(requestOf(1, { calendarId: null }))
    ring(requestOf(1, { connectionId: connectionId(randomUUID()) }))
    ring(requestOf(1, { reason: 'api' }))
    await pass(0)
    expect(published).toHaveLength(4)
    ring(requestOf(1))
    await pass(0)
    expect(published).toHaveLength(4)
  })
})

describe('what the sync API asks for', () => {
  test('is joined with the latest time: a listing between two of them answers the first alone', async () => {
    const { ring, published } = aCoalescer()
    const api = (asOf: number | null) => requestOf(null, { reason: 'api', calendarId: null, asOf })
    for (let n = 0; n < REQUESTS_AT_ONCE; n += 1) ring(api(n))
    await pass(0)
    published.splice(0)
    for (const asOf of [500, 700, 600]) ring(api(asOf))
    await pass(JOIN_WAIT_MAX_MS)
    expect(published.map(({ asOf }) => asOf)).toEqual([700])
    for (const asOf of [800, null, 900]) ring(api(asOf))
    await pass(JOIN_WAIT_MAX_MS)
    expect(published.map(({ asOf }) => asOf)).toEqual([700, null])
  })
})

test('the rate is stated in the interface and in the architecture as it is', () => {
  const stated = `${REQUESTS_AT_ONCE} times at once and ${REQUESTS_PER_SECOND} times a second`
  for (const [page, times] of [
    ['schemas/openapi.yaml', 2],
    ['docs/architecture.md', 1],
  ] as const) {
    const text = readFileSync(new URL(`../../../${page}`, import.meta.url), 'utf8').replaceAll(/\s+/g, ' ')
    expect(text.split(stated), page).toHaveLength(times + 1)
    expect(text).toContain(`at most ${JOIN_WAIT_MAX_MS} ms`)
  }
})

describe('trouble', () => {
  test('of a ring that fits no schema reaches all that joined it', async () => {
    const { ring, exhaust, answered } = aCoalescer(async ({ deliveryKey }) => {
      if (deliveryKey === 'kbad') throw new Error('fits no schema')
      return 'durable'
    })
    await exhaust()
    ring(requestOf('bad'))
    ring(requestOf('bad'))
    await pass(JOIN_WAIT_MAX_MS)
    expect(answered).toEqual(['rejected', 'rejected'])
  })

  test('of 10 000 that wait refuses the next at once, and nobody whose calendar is within its rate', async () => {
    const { ring, exhaust, answered } = aCoalescer()
    await exhaust()
    for (let n = 0; n < 10_001; n += 1) ring(requestOf(1))
    await pass(0)
    expect(answered).toEqual(['overloaded'])
    ring(requestOf(1, { calendarId: null }))
    await pass(0)
    expect(answered).toEqual(['overloaded', 'durable'])
    await pass(JOIN_WAIT_MAX_MS)
    expect(answered.filter((answer) => answer === 'durable')).toHaveLength(10_001)
  })

  test('of an end: what waits is published first', async () => {
    const { coalescer, ring, exhaust, keys, answered } = aCoalescer()
    await exhaust()
    ring(requestOf('last'))
    await coalescer[Symbol.asyncDispose]()
    await pass(0)
    expect([keys(), answered]).toEqual([['klast'], ['durable']])
  })
})
