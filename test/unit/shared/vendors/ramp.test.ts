// How a vendor that has come back is asked again:
// at about the rate of before, one by one, until the herd is over.
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { Breaker, FAILURES_IN_A_ROW } from '#shared/vendors/limits/breaker.ts'
import { Ramp, RATE_MIN, TURN_MAX_MS } from '#shared/vendors/limits/ramp.ts'

const MINUTE_MS = 60_000

/**
 * A ramp of a vendor that answered this many calls in each second, was away and is back at 100 s.
 */
function returned(perSecond: number): Ramp {
  const ramp = new Ramp()
  answers(ramp, perSecond, 10, 40)
  ramp.closed(40_000)
  ramp.begin(100_000)
  return ramp
}

function answers(ramp: Ramp, perSecond: number, from: number, to: number): void {
  for (let second = from; second < to; second += 1)
    for (let call = 0; call < perSecond; call += 1) ramp.answered(second * 1_000 + call)
}

/**
 * Callers who all come at `from` and come again when they were told to;
 * @returns when each went.
 */
function herd(ramp: Ramp, callers: number, from: number): readonly number[] {
  const waiting = Array.from({ length: callers }, (_, caller) => ({ caller: `c${caller}`, at: from }))
  const went: number[] = []
  while (waiting.length > 0) {
    waiting.sort((a, b) => a.at - b.at)
    const next = waiting.shift()!
    const waitMs = ramp.waitMs(next.caller, next.at)
    if (waitMs === 0) went.push(next.at)
    else waiting.push({ ...next, at: next.at + waitMs })
  }
  return went
}

function busiest(went: readonly number[]): number {
  return Math.max(...went.map((at) => went.filter((other) => other >= at && other < at + 1_000).length))
}

describe('after an outage', () => {
  test('a herd goes out at one and a half times the usual rate of before, not at once', () => {
    const went = herd(returned(20), 200, 100_000)
    expect(went).toHaveLength(200)
    expect(busiest(went)).toBeLessThanOrEqual(31)
    expect(went.at(-1)! - 100_000).toBeLessThan((200 / 30) * 1_000 + 100)
  })

  test('the control: without an outage nobody waits', () => {
    const ramp = new Ramp()
    answers(ramp, 20, 10, 40)
    expect(busiest(herd(ramp, 200, 40_000))).toBe(200)
  })

  test('a burst, and what came before the last minute, are no measure', () => {
    const ramp = new Ramp()
    answers(ramp, 300, 1, 30)
    answers(ramp, 10, 41, 90)
    answers(ramp, 200, 90, 100)
    ramp.closed(100_500)
    ramp.begin(160_000)
    expect(busiest(herd(ramp, 100, 160_000))).toBeLessThanOrEqual(16)
  })

  test('a quiet installation is asked at the least rate, and twice as fast with every minute that the backlog lasts', () => {
    const ramp = returned(0)
    const went = herd(ramp, 1_000, 100_000)
    const inMinute = (minute: number) =>
      went.filter((at) => Math.floor((at - 100_000) / MINUTE_MS) === minute).length
    expect(inMinute(0)).toBeGreaterThan(RATE_MIN * 60 - 5)
    expect(inMinute(0)).toBeLessThanOrEqual(RATE_MIN * 60 + 1)
    expect(inMinute(1)).toBeGreaterThan(RATE_MIN * 2 * 60 - 20)
  })

  test('24 units at once never wait longer than a unit does', () => {
    const ramp = returned(0)
    const waits = Array.from({ length: 24 }, (_, caller) => ramp.waitMs(`c${caller}`, 100_000))
    expect(Math.max(...waits)).toBeLessThanOrEqual(TURN_MAX_MS)
    expect(new Set(waits).size).toBe(24)
  })

  test('who is told to come later than that takes no turn from others', () => {
    const ramp = returned(0)
    for (let caller = 0; caller < 500; caller += 1)
      expect(ramp.waitMs(`c${caller}`, 100_000)).toBeLessThan(TURN_MAX_MS + 1_000)
  })

  test('who comes too early keeps its turn, who comes too late has lost it', () => {
    const ramp = returned(0)
    ramp.waitMs('first', 100_000)
    const waitMs = ramp.waitMs('a', 100_000)
    expect(ramp.waitMs('a', 100_000 + waitMs / 2)).toBe(waitMs / 2)
    for (let caller = 0; caller < 10; caller += 1) ramp.waitMs(`c${caller}`, 100_100)
    expect(ramp.waitMs('a', 100_000 + waitMs + 1_500)).toBeGreaterThan(0)
  })

  test('it is over when nobody had to wait for a minute, and not before', () => {
    const ramp = returned(0)
    expect(busiest(herd(ramp, 10, 100_000))).toBeLessThanOrEqual(RATE_MIN + 1)
    expect(busiest(herd(ramp, 10, 150_000))).toBeLessThanOrEqual(RATE_MIN + 1)
    expect(busiest(herd(ramp, 200, 150_000 + 2_000 + MINUTE_MS + 1))).toBe(200)
  })
})

test('the breaker lets a herd through in turns once its probe was answered, and says when', async () => {
  let ms = 1_000
  const breaker = new Breaker({
    vendor: 'Google',
    clock: { now: () => ms * 1_000 },
    monotonic: () => ms,
    random: () => 0.5,
  })
  const call = (caller: string, code?: 'vendor/unavailable') =>
    breaker
      .run(caller, async () => {
        if (code) throw new Failure(code)
        return 'ok'
      })
      .catch((error: unknown) => error as Failure)
  for (let n = 0; n < 4; n += 1) expect(await call(`m${n}`)).toBe('ok')
  for (let n = 0; n < FAILURES_IN_A_ROW; n += 1) await call(`m${n}`, 'vendor/unavailable')
  expect(await call('m0')).toMatchObject({ code: 'vendor/circuit-open' })
  ms += 5_000
  expect(await call('probe')).toBe('ok')
  expect(await call('m1')).toBe('ok')
  const refused = await call('m2')
  expect(refused).toMatchObject({ code: 'vendor/recovering', kind: 'throttled' })
  ms = Math.ceil(((refused as Failure).retryAt ?? 0) / 1_000)
  expect(await call('m2')).toBe('ok')
})
