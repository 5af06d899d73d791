// The circuit breaker, with time in the test's hand: what opens it, who may probe, what heals it.
import { describe, expect, test } from 'vitest'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import { Breaker, FAILURES_IN_A_ROW } from '#shared/vendors/limits/breaker.ts'

const NOW = 1_800_000_000_000_000
const PAUSE_MS = 5_000

function setup() {
  let ms = 1_000
  const changes: string[] = []
  const breaker = new Breaker({
    vendor: 'Google',
    clock: { now: () => NOW },
    monotonic: () => ms,
    random: () => 1 - Number.EPSILON,
    changed: (state, cause) => changes.push(`${state} ${cause}`),
  })
  let calls = 0
  const call = async (caller: string, code?: FailureCode) => {
    try {
      return await breaker.run(caller, async () => {
        calls += 1
        if (code) throw new Failure(code)
        return 'ok'
      })
    } catch (error) {
      if (error instanceof Failure) return error.code
      throw error
    }
  }
  const fail = async (times: number, code: FailureCode = 'vendor/unavailable') => {
    for (let i = 0; i < times; i += 1) {
      // Slower than a vendor that has just come back is asked.
      ms += 250
      await call(`mailbox ${i % 3}`, code)
    }
  }
  return { breaker, call, fail, changes, calls: () => calls, pass: (by: number) => (ms += by) }
}

describe('the breaker opens', () => {
  test('at the tenth failure in a row, and lets nothing through then', async () => {
    const { call, fail, changes, calls } = setup()
    await fail(FAILURES_IN_A_ROW - 1)
    expect(await call('a')).toBe('ok')
    await fail(FAILURES_IN_A_ROW)
    const made = calls()
    expect(await call('a')).toBe('vendor/circuit-open')
    expect(calls()).toBe(made)
    expect(changes).toEqual(['open vendor/unavailable'])
  })

  test.each(['vendor/timeout', 'vendor/unreadable-answer'] as const)('for %s as well', async (code) => {
    const { call, fail } = setup()
    await fail(FAILURES_IN_A_ROW, code)
    expect(await call('a')).toBe('vendor/circuit-open')
  })

  test.each([
    'vendor/throttled',
    'vendor/quota-exhausted',
    'vendor/grant-revoked',
    'vendor/token-rejected',
    'vendor/calendar-gone',
    'vendor/rejected',
    'vendor/client-rejected',
    'store/unavailable',
  ] as const)('never for %s: that is an answer, or trouble of ours', async (code) => {
    const { call, fail } = setup()
    await fail(FAILURES_IN_A_ROW * 3, code)
    expect(await call('a')).toBe('ok')
  })

  test('not when an answer of any kind came in between', async () => {
    const { call, fail } = setup()
    for (let i = 0; i < 5; i += 1) {
      await fail(FAILURES_IN_A_ROW - 1)
      expect(await call('b', 'vendor/throttled')).toBe('vendor/throttled')
    }
    expect(await call('a')).toBe('ok')
  })

  test('not for one mailbox alone, however often it fails, but for two', async () => {
    const { call } = setup()
    for (let i = 0; i < FAILURES_IN_A_ROW * 3; i += 1) await call('broken', 'vendor/unreadable-answer')
    expect(await call('broken')).toBe('ok')
    for (let i = 1; i < FAILURES_IN_A_ROW; i += 1) await call('broken', 'vendor/unreadable-answer')
    await call('another', 'vendor/unreadable-answer')
    expect(await call('a')).toBe('vendor/circuit-open')
  })

  test('not for failures that lie far apart', async () => {
    const { call, fail, pass } = setup()
    for (let i = 0; i < FAILURES_IN_A_ROW * 2; i += 1) {
      await call(`mailbox ${i}`, 'vendor/unavailable')
      pass(60_001)
    }
    expect(await call('a')).toBe('ok')
    await fail(FAILURES_IN_A_ROW)
    expect(await call('a')).toBe('vendor/circuit-open')
  })
})

describe('who is refused', () => {
  test('is told when to come back, and it is no attempt', async () => {
    const { breaker, fail, pass } = setup()
    await fail(FAILURES_IN_A_ROW)
    pass(1_000)
    const refused: unknown = await breaker.run('a', async () => 'ok').catch((error: unknown) => error)
    expect(refused).toMatchObject({ kind: 'throttled', code: 'vendor/circuit-open' })
    if (!(refused instanceof Failure)) throw new Error('not a Failure')
    expect(settlementOf(refused).countsAsAttempt).toBe(false)
    expect((refused.retryAt ?? 0) - NOW).toBe((PAUSE_MS - 1_000) * 1_000)
    expect(refused.message).toContain('vendor/unavailable')
  })
})

describe('after the pause', () => {
  test('one call probes while all others stay refused, and its success heals', async () => {
    const { breaker, call, fail, pass, changes } = setup()
    await fail(FAILURES_IN_A_ROW)
    pass(PAUSE_MS)
    const answer = Promise.withResolvers<string>()
    const probe = breaker.run('a', () => answer.promise)
    expect(await call('b')).toBe('vendor/circuit-open')
    answer.resolve('alive')
    expect(await probe).toBe('alive')
    expect(await call('b')).toBe('ok')
    expect(changes).toEqual(['open vendor/unavailable', 'closed vendor/unavailable'])
  })

  test('a probe that is answered with a refusal heals too', async () => {
    const { call, fail, pass } = setup()
    await fail(FAILURES_IN_A_ROW)
    pass(PAUSE_MS)
    expect(await call('a', 'vendor/token-rejected')).toBe('vendor/token-rejected')
    expect(await call('b')).toBe('ok')
  })

  test('a probe that fails doubles the pause up to a minute, and a healed one begins anew', async () => {
    const { call, fail, pass } = setup()
    await fail(FAILURES_IN_A_ROW)
    let pause = PAUSE_MS
    for (const next of [10_000, 20_000, 40_000, 60_000, 60_000]) {
      pass(pause - 1)
      expect(await call('a')).toBe('vendor/circuit-open')
      pass(1)
      expect(await call('a', 'vendor/unavailable')).toBe('vendor/unavailable')
      pause = next
    }
    pass(pause)
    expect(await call('a')).toBe('ok')
    await fail(FAILURES_IN_A_ROW)
    pass(PAUSE_MS)
    expect(await call('a')).toBe('ok')
  })

  test('a probe that was cut off from our side says nothing: the next call probes', async () => {
    const { breaker, call, fail, pass } = setup()
    await fail(FAILURES_IN_A_ROW)
    pass(PAUSE_MS)
    await expect(
      breaker.run('a', () => Promise.reject(new DOMException('stopped', 'AbortError'))),
    ).rejects.toThrow('stopped')
    expect(await call('b', 'vendor/unavailable')).toBe('vendor/unavailable')
    expect(await call('b')).toBe('vendor/circuit-open')
  })

  test('a call that began before it opened changes nothing, whatever its end', async () => {
    const { breaker, call, fail } = setup()
    const late = [Promise.withResolvers<string>(), Promise.withResolvers<string>()] as const
    const calls = late.map(({ promise }) => breaker.run('slow', () => promise).catch(() => 'failed'))
    await fail(FAILURES_IN_A_ROW)
    late[0].resolve('old news')
    late[1].reject(new Failure('vendor/unavailable'))
    await Promise.all(calls)
    expect(await call('a')).toBe('vendor/circuit-open')
  })
})
