// The breaker that watches for refusals of everybody, with time in the test's hand.
import { describe, expect, test } from 'vitest'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import { connectionId } from '#shared/domain/ids.ts'
import { systemClock } from '#shared/process/clock.ts'
import { createLogger } from '#shared/process/log.ts'
import { Breaker, FAILURES_IN_A_ROW, REFUSALS } from '#shared/vendors/limits/breaker.ts'
import type { Caller } from '#shared/vendors/limits/budget.ts'
import { createGuard } from '#shared/vendors/limits/guard.ts'
import { NEVER_SPENT } from '../../../support/free-mailboxes.ts'
import { loggerTo, type LogLine } from '../../../support/recording-consumer.ts'

const NOW = 1_800_000_000_000_000

function setup() {
  let ms = 1_000
  const changes: string[] = []
  const coolDowns: number[] = []
  const breaker = new Breaker({
    vendor: 'Google',
    watch: REFUSALS,
    clock: { now: () => NOW },
    monotonic: () => ms,
    random: () => 1 - Number.EPSILON,
    changed: (state, cause) => changes.push(`${state} ${cause}`),
    coolDown: (forMs) => coolDowns.push(Math.round(forMs)),
  })
  let calls = 0
  const ask = (caller: string, code?: FailureCode) =>
    breaker
      .run(caller, async () => {
        calls += 1
        if (code) throw new Failure(code)
        return 'ok'
      })
      .catch((error: unknown) => {
        if (error instanceof Failure) return error
        throw error
      })
  const call = async (caller: string, code?: FailureCode) => {
    const answer = await ask(caller, code)
    return answer instanceof Failure ? answer.code : answer
  }
  const wave = async (code: FailureCode = 'vendor/token-rejected', callers = 3) => {
    for (let i = 0; i < REFUSALS.inARow; i += 1) await call(`mailbox ${i % callers}`, code)
  }
  return { ask, call, wave, changes, coolDowns, calls: () => calls, pass: (by: number) => (ms += by) }
}

describe('many accounts that are refused in a row', () => {
  test.each([...REFUSALS.failures])('with %s close the door, once for all to see', async (code) => {
    const { call, wave, changes, calls, coolDowns } = setup()
    await wave(code)
    const made = calls()
    for (let i = 0; i < 50; i += 1) expect(await call(`other ${i}`)).toBe('vendor/refusing-all')
    expect(calls()).toBe(made)
    expect(changes).toEqual([`open ${code}`])
    expect(coolDowns).toEqual([5_000])
  })

  test.each([
    'vendor/throttled',
    'vendor/grant-revoked',
    'vendor/admin-required',
    'vendor/call-refused',
    'vendor/calendar-gone',
    'vendor/unavailable',
  ] as const)('with %s do not: that is about one account, or no refusal', async (code) => {
    const { call, wave } = setup()
    for (let i = 0; i < 5; i += 1) await wave(code)
    expect(await call('a')).toBe('ok')
  })

  test('do not when one of them was let in, nor when they are two', async () => {
    const { call, wave } = setup()
    await wave('vendor/token-rejected', 2)
    await wave('vendor/token-rejected', 2)
    expect(await call('a')).toBe('ok')
    for (let i = 0; i < 20; i += 1) {
      for (let j = 1; j < REFUSALS.inARow; j += 1) await call(`mailbox ${j}`, 'vendor/token-rejected')
      expect(await call('well')).toBe('ok')
    }
  })

  test('silence in between is no answer', async () => {
    const { call } = setup()
    for (let i = 0; i < REFUSALS.inARow; i += 1) {
      await call(`mailbox ${i}`, 'vendor/token-rejected')
      await call(`mailbox ${i}`, 'vendor/unavailable')
    }
    expect(await call('a')).toBe('vendor/refusing-all')
  })
})

test('who is kept back counts no attempt, waits no longer each time, and comes back spread', async () => {
  const { ask, wave } = setup()
  await wave()
  const waits: number[] = []
  for (let i = 0; i < 200; i += 1) {
    const refused = await ask(`mailbox ${i}`)
    if (!(refused instanceof Failure)) return expect.unreachable('the door is closed')
    expect(settlementOf(refused)).toMatchObject({ countsAsAttempt: false, growsBackoff: false })
    waits.push(((refused.retryAt ?? 0) - NOW) / 1000)
  }
  // The pause, and 200 at 20 a second on top.
  expect(waits[0]).toBeLessThan(5_100)
  expect(Math.max(...waits)).toBeGreaterThan(14_000)
  expect(Math.max(...waits)).toBeLessThanOrEqual(15_001)
})

test('who was refused leaves the probe to one that was not, however many come first', async () => {
  const { call, wave, pass, changes } = setup()
  await wave()
  expect(await call('well')).toBe('vendor/refusing-all')
  pass(5_000)
  for (let i = 0; i < 3; i += 1)
    expect(await call(`mailbox ${i}`, 'vendor/token-rejected')).toBe('vendor/refusing-all')
  expect(await call('well')).toBe('ok')
  expect(changes).toEqual(['open vendor/token-rejected', 'closed vendor/token-rejected'])
})

test('who was refused probes all the same when nobody else comes', async () => {
  const { call, wave, pass } = setup()
  await wave()
  expect(await call('well')).toBe('vendor/refusing-all')
  pass(5_000 + 1_999)
  expect(await call('mailbox 0')).toBe('vendor/refusing-all')
  pass(1)
  expect(await call('mailbox 0')).toBe('ok')
})

test('the door opens within 15 s of the end, for 20 calls a second, and is probed by one at a time', async () => {
  const { call, wave, pass, changes } = setup()
  await wave()
  let pause = 5_000
  for (let i = 0; i < 5; i += 1) {
    pass(pause)
    expect(await call(`probe ${i}`, 'vendor/token-rejected')).toBe('vendor/token-rejected')
    expect(await call('b')).toBe('vendor/refusing-all')
    pause = Math.min(REFUSALS.pauseMaxMs, pause * 2)
  }
  pass(REFUSALS.pauseMaxMs)
  expect(await call('a')).toBe('ok')
  let through = 0
  for (let i = 0; i < 100; i += 1) {
    pass(50)
    if ((await call(`mailbox ${i}`)) === 'ok') through += 1
  }
  expect(through).toBeGreaterThan(95)
  expect(changes).toEqual(['open vendor/token-rejected', 'closed vendor/token-rejected'])
})

test('a question about an account counts as its mailbox: two accounts are two, three are three', async () => {
  const guard = createGuard('google', {
    quota: { perMinute: 1_000_000, mailboxPerMinute: 1_000_000 },
    store: NEVER_SPENT,
    clock: systemClock,
    logger: createLogger({ service: 'test', level: 'silent' }),
  })
  const signal = new AbortController().signal
  const refused = (caller: Omit<Caller, 'endpoint' | 'priority'>) =>
    guard
      .run({ ...caller, endpoint: 'api', priority: 'live' }, signal, (each) =>
        each(async () => {
          throw new Failure('vendor/token-rejected')
        }),
      )
      .catch((error: unknown) => (error instanceof Failure ? error.code : error))
  const ids = [1, 2, 3].map((n) => connectionId(`00000000-0000-4000-8000-00000000000${n}`))
  const both = async (id: (typeof ids)[number]) => [
    await refused({ mailbox: id }),
    await refused({ mailbox: null, about: id }),
  ]
  const rejected = Array(2).fill('vendor/token-rejected')
  for (let i = 0; i < 2 * REFUSALS.inARow; i += 1) expect(await both(ids[i % 2]!)).toEqual(rejected)
  await both(ids[2]!)
  expect(await refused({ mailbox: ids[0]! })).toBe('vendor/refusing-all')
})

test('the log has the code when a vendor is left alone, and none when it answers again', async () => {
  const lines: (LogLine & { readonly code?: string })[] = []
  let now = 0
  const guard = createGuard('google', {
    quota: { perMinute: 1_000_000, mailboxPerMinute: 1_000_000 },
    store: NEVER_SPENT,
    clock: systemClock,
    logger: loggerTo(lines),
    monotonic: () => now,
  })
  const signal = new AbortController().signal
  const call = async (n: number, failure?: Failure) => {
    const about = connectionId(`00000000-0000-4000-8000-00000000000${n}`)
    const caller = { mailbox: null, about, endpoint: 'api', priority: 'live' } as const
    await guard.run(caller, signal, (each) => each(async () => Promise.reject(failure))).catch(() => {})
  }
  for (let i = 0; i < FAILURES_IN_A_ROW; i += 1) await call(i % 2, new Failure('vendor/unavailable'))
  now += 60_000
  // An answer of the vendor all the same.
  await call(3, new Failure('vendor/calendar-gone'))
  expect(lines.map(({ level, msg, code }) => ({ level, msg, code }))).toEqual([
    { level: 'warn', msg: 'the vendor is left alone for a moment', code: 'vendor/unavailable' },
    { level: 'info', msg: 'the vendor answers again', code: undefined },
  ])
})
