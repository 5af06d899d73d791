// Budgets, cool-downs and the breaker around a vendor, on a real database. A "process" here shares
// nothing with another but that database: its own pool under a service's role, its own
// chunks, its own breaker.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { connectionId, type ConnectionId } from '#shared/domain/ids.ts'
import { systemClock } from '#shared/process/clock.ts'
import { Secret } from '#shared/process/secret.ts'
import { createLogger } from '#shared/process/log.ts'
import { openDatabase, type Database } from '#shared/store/database.ts'
import { budgetStore, deleteOldBudgets } from '#shared/store/budgets.ts'
import { createMailboxes } from '#shared/vendors/mailbox.ts'
import type { Tokens } from '#shared/vendors/tokens.ts'
import { sendAtOnce, type PageRequest, type Vendor } from '#shared/vendors/vendor.ts'
import { createGuard, type GuardDeps } from '#shared/vendors/limits/guard.ts'
import { runStatement } from '../../../infra/stack/postgres.ts'
import type { DatabaseRole } from '../../../infra/stack/secrets.ts'
import { freshDatabase, type TestDatabase } from '../../support/stack.ts'
import { callsUntilRefused, openMeter, refusedCall, waitUntil } from '../../support/budget-calls.ts'

const logger = createLogger({ service: 'test', level: 'silent' })
const signal = new AbortController().signal
const ALICE = connectionId('00000000-0000-4000-8000-00000000000a')
const BOB = connectionId('00000000-0000-4000-8000-00000000000b')
const CAROL = connectionId('00000000-0000-4000-8000-00000000000c')
const WINDOW = { from: 0, to: 1 }
const LIVE: PageRequest = { vendorCalendarId: 'c', cursor: 'since', pageToken: null, window: WINDOW }
const BACKFILL: PageRequest = { ...LIVE, cursor: null }
const WIDE = { perMinute: 1_000_000, mailboxPerMinute: 1_000_000 }
const PAGE = { kind: 'page', items: [], unreadable: [], next: { kind: 'end', cursor: 'next' } } as const

let database: TestDatabase
let opened: Database[] = []

beforeAll(async () => {
  database = await freshDatabase('budgets')
})
afterAll(() => database[Symbol.asyncDispose]())
beforeEach(() => runStatement(database.url(), 'truncate call_budgets'))
afterEach(async () => {
  for (const db of opened) await db[Symbol.asyncDispose]()
  opened = []
})

function pool(role: DatabaseRole): Database {
  const db = openDatabase(
    { url: new Secret(database.url(role)), applicationName: 'calstream-test', poolMax: 8 },
    logger,
  )
  opened.push(db)
  return db
}

/** A vendor that notes when it was called and answers what it is told to. */
function playVendor(seen: { readonly by: string; readonly at: number }[], by: string, callsPerPage: number) {
  const answers: (() => Promise<typeof PAGE>)[] = []
  const unused = () => Promise.reject(new Error('not part of this test'))
  const vendor: Vendor = {
    name: 'google',
    consentUrl: () => '',
    exchangeCode: unused,
    revoke: unused,
    account: async () => ({ id: 'x', label: null }),
    listCalendars: unused,
    lookUp: unused,
    fetchPage: async (_token, _request, _signal, each = sendAtOnce) => {
      const [first] = await Promise.all(
        Array.from({ length: callsPerPage }, () =>
          each(async () => {
            seen.push({ by, at: performance.now() })
            return (answers.shift() ?? (async () => PAGE))()
          }),
        ),
      )
      return first ?? PAGE
    },
    refresh: async () => {
      seen.push({ by: `${by} refresh`, at: performance.now() })
      return { accessToken: 't', accessExpiresAt: 0, refreshToken: null, scope: null }
    },
    openChannel: unused,
    renewChannel: unused,
    stopChannel: unused,
  }
  return { vendor, answers }
}

/** Gives everybody the same token: whose call it is does not follow from it. */
const TOKENS: Tokens = { of: async () => 'token', invalidate: () => {} }

/** A vendor as one process has it. */
function limited(vendor: Vendor, deps: Omit<GuardDeps, 'clock' | 'logger'>, tokens = TOKENS) {
  const guard = createGuard(vendor.name, { ...deps, clock: systemClock, logger })
  const mailboxes = createMailboxes([{ vendor, guard, tokens }])
  return {
    mailbox: (id: ConnectionId) => mailboxes.of({ vendor: vendor.name, connectionId: id }),
    login: (mailbox: ConnectionId) =>
      guard.run({ mailbox, endpoint: 'login', priority: 'live' }, signal, (each) =>
        each(() => vendor.refresh('r', signal)),
      ),
  }
}

function startProcess(
  seen: { readonly by: string; readonly at: number }[],
  options: {
    role?: DatabaseRole
    quota?: typeof WIDE
    random?: () => number
    callsPerPage?: number
    tokens?: Tokens
  } = {},
) {
  const role = options.role ?? 'calstream_sync'
  const { vendor, answers } = playVendor(seen, role, options.callsPerPage ?? 1)
  const { random, quota = WIDE, tokens } = options
  const deps = { quota, store: budgetStore(pool(role)), ...(random && { random }) }
  const { mailbox: at, login } = limited(vendor, deps, tokens)
  const call = async (mailbox: ConnectionId, request = LIVE): Promise<Failure | 'page'> => {
    try {
      await at(mailbox).fetchPage(request, signal)
      return 'page'
    } catch (error) {
      if (error instanceof Failure) return error
      throw error
    }
  }
  const answer = (failure: Failure) => answers.push(() => Promise.reject(failure))
  return { call, answer, answers, login }
}

const inMs = (ms: number) => Date.now() * 1000 + ms * 1000

describe('a budget', () => {
  test('of a mailbox is shared by two processes: together they make what one alone could', async () => {
    const quota = { perMinute: 1_000_000, mailboxPerMinute: 100 }
    const alone = startProcess([], { quota })
    const meter = openMeter(100)
    const room = await callsUntilRefused(() => alone.call(BOB), 200)
    // A fifth of the quota at once, and what is earned while the test calls.
    expect(room).toBeGreaterThanOrEqual(20)
    expect(room).toBeLessThanOrEqual(20 + meter.earned())

    const seen: { by: string; at: number }[] = []
    const one = startProcess(seen, { quota })
    const two = startProcess(seen, { quota, role: 'calstream_scheduler' })
    // Both have a connection to the database before they begin to compete.
    await Promise.all([one, two].map(({ call }) => call(CAROL)))
    seen.length = 0
    const both = openMeter(100)
    await Promise.all([one, two].map(({ call }) => callsUntilRefused(() => call(ALICE), 200)))
    const together = seen.filter(({ by }) => !by.includes('refresh')).length
    expect(together).toBeGreaterThanOrEqual(18)
    expect(together).toBeLessThanOrEqual(20 + both.earned())
    expect(new Set(seen.map(({ by }) => by)).size).toBe(2)
  })

  test('of a vendor is shared by all mailboxes and processes', async () => {
    const quota = { perMinute: 200, mailboxPerMinute: 1_000_000 }
    const one = startProcess([], { quota })
    const two = startProcess([], { quota })
    const meter = openMeter(200)
    const made = await Promise.all([
      callsUntilRefused(() => one.call(ALICE), 300),
      callsUntilRefused(() => two.call(BOB), 300),
    ])
    const together = made[0] + made[1]
    expect(together).toBeGreaterThanOrEqual(36)
    expect(together).toBeLessThanOrEqual(40 + meter.earned())
  })

  test('under many calls at once never grants more than its room and what is earned meanwhile', async () => {
    const quota = { perMinute: 1000, mailboxPerMinute: 1_000_000 }
    const seen: { by: string; at: number }[] = []
    const processes = Array.from({ length: 4 }, () => startProcess(seen, { quota }))
    const startedAt = performance.now()
    await Promise.all(
      Array.from({ length: 600 }, (_, i) =>
        processes[i % 4]!.call(connectionId(`00000000-0000-4000-8000-${String(i).padStart(12, '0')}`)),
      ),
    )
    const earned = ((performance.now() - startedAt) / 60_000) * 700
    expect(seen.length).toBeLessThanOrEqual(200 + earned + 1)
    // Chunks that are held and not used count as calls, so it may be a few less.
    expect(seen.length).toBeGreaterThan(150)
  })

  test('says when the next call fits, as throttled and not as an attempt, and then lets it through', async () => {
    const quota = { perMinute: 1_000_000, mailboxPerMinute: 100 }
    const { call } = startProcess([], { quota })
    const { refused, askedAt, answeredAt } = await refusedCall(() => call(ALICE))
    expect(refused).toMatchObject({ code: 'vendor/budget-spent', kind: 'throttled' })
    // One step of 70 calls a minute, from some moment between the question and its answer.
    expect(refused.retryAt).toBeGreaterThan(askedAt * 1000)
    expect(refused.retryAt).toBeLessThanOrEqual((answeredAt + 60_000 / 70 + 1) * 1000)
    const waitMs = (refused.retryAt ?? 0) / 1000 - Date.now()
    await waitUntil(performance.now() + waitMs + 5)
    expect(await call(ALICE)).toBe('page')
    // Control: another mailbox was never affected.
    expect(await call(BOB)).toBe('page')
  })

  test('counts every call of a page, and a page that has begun waits a moment for its other calls', async () => {
    const seen: { by: string; at: number }[] = []
    // One call is earned in 143 ms.
    const quota = { perMinute: 1_000_000, mailboxPerMinute: 600 }
    const { call } = startProcess(seen, { quota, callsPerPage: 4 })
    const meter = openMeter(600)
    const pages = await callsUntilRefused(() => call(ALICE), 200)
    expect(seen.length).toBe(pages * 4)
    // A fifth of the quota, what is earned meanwhile, and the other calls of the last page.
    expect(seen.length).toBeLessThanOrEqual(120 + meter.earned() + 3)
    const { refused } = await refusedCall(() => call(ALICE))
    const before = seen.length
    await waitUntil(performance.now() + ((refused.retryAt ?? 0) / 1000 - Date.now()) + 5)
    expect(await call(ALICE)).toBe('page')
    expect(seen.length).toBe(before + 4)
  })

  test('leaves half of its room to live work however much a backfill takes', async () => {
    const quota = { perMinute: 400, mailboxPerMinute: 1_000_000 }
    const { call } = startProcess([], { quota })
    const meter = openMeter(400)
    const backfilled = await callsUntilRefused(() => call(ALICE, BACKFILL), 200)
    expect(backfilled).toBeGreaterThanOrEqual(38)
    expect(backfilled).toBeLessThanOrEqual(40 + meter.earned())
    const live = await callsUntilRefused(() => call(BOB), 200)
    expect(live).toBeGreaterThanOrEqual(36)
    expect(await call(ALICE, BACKFILL)).toMatchObject({ code: 'vendor/budget-spent' })
  })

  test('of a database whose clock went back is not locked until the clock is there again', async () => {
    const db = pool('calstream_sync')
    const wish = { key: 'x', calls: 1, stepMicros: 1_000, roomMicros: 10_000 }
    await runStatement(
      database.url(),
      `insert into call_budgets values ('x', now() + interval '3 days', now() + interval '3 days')`,
    )
    expect(await budgetStore(db).take([wish])).toEqual([
      { key: 'x', granted: 1, waitMicros: 0, isCoolingDown: false },
    ])
  })

  test('is forgotten after a day without use, a rest that lasts is not', async () => {
    await runStatement(
      database.url(),
      `insert into call_budgets values ('old', now() - interval '2 days', null),
         ('fresh', now(), null), ('resting', now() - interval '2 days', now() + interval '1 hour')`,
    )
    expect(await deleteOldBudgets(pool('calstream_scheduler'), 100)).toBe(1)
    const left = await runStatement(database.url(), 'select key from call_budgets order by key')
    expect(left.map(({ key }) => key)).toEqual(['fresh', 'resting'])
  })
})

describe('a rest', () => {
  test('that one process heard of a mailbox keeps every other from calling it, refresh included, until it ends', async () => {
    const seen: { by: string; at: number }[] = []
    const one = startProcess(seen)
    const two = startProcess(seen, { role: 'calstream_scheduler' })
    // On a busy machine the three questions below take a second.
    const coolDownMs = 4_000
    const until = performance.now() + coolDownMs
    one.answer(new Failure('vendor/throttled', undefined, { retryAt: inMs(coolDownMs) }))
    expect(await one.call(ALICE)).toMatchObject({ code: 'vendor/throttled' })
    const heardAt = performance.now()

    const refused = await two.call(ALICE)
    expect(refused).toMatchObject({ code: 'vendor/throttled', kind: 'throttled' })
    await expect(two.login(ALICE)).rejects.toMatchObject({ code: 'vendor/throttled' })
    const callUntilHeard = async () => {
      for (;;) if ((await two.call(ALICE)) === 'page') return
    }
    // Control: the other mailbox is called meanwhile.
    expect(await two.call(BOB)).toBe('page')
    const others = seen.length
    await callUntilHeard()
    const inside = seen.slice(others).filter(({ at }) => at > heardAt && at < until - 20)
    expect(inside).toEqual([])
    expect(seen.length).toBe(others + 1)
  })

  test('of the whole vendor holds for every mailbox, but not for its login', async () => {
    const one = startProcess([])
    const two = startProcess([])
    one.answer(new Failure('vendor/quota-exhausted', undefined, { retryAt: inMs(60_000) }))
    await one.call(ALICE)
    for (const mailbox of [ALICE, BOB]) {
      const refused = await two.call(mailbox)
      expect(refused).toMatchObject({ code: 'vendor/quota-exhausted', kind: 'throttled' })
      if (refused === 'page') throw new Error('it was called')
      expect((refused.retryAt ?? 0) - Date.now() * 1000).toBeGreaterThan(55_000_000)
    }
    await expect(two.login(BOB)).resolves.toMatchObject({ accessToken: 't' })
  })

  test('is lengthened by a longer one, never shortened, and a refusal of ours does not lengthen it', async () => {
    const one = startProcess([])
    const coolDownMs = async () => {
      const [row] = await runStatement(
        database.url(),
        `select extract(epoch from rest_until - now()) * 1000 as ms from call_budgets where rest_until is not null`,
      )
      return Number(row?.['ms'])
    }
    const fail = async (ms: number) => {
      one.answer(new Failure('vendor/throttled', undefined, { retryAt: inMs(ms) }))
      await one.call(ALICE)
    }
    // Two calls are under way at once: both are answered.
    await Promise.all([fail(30_000), fail(10_000)])
    const first = await coolDownMs()
    expect(first).toBeGreaterThan(25_000)
    for (let i = 0; i < 20; i += 1) await one.call(ALICE)
    expect(await coolDownMs()).toBeLessThan(first)
  })

  test('without Retry-After is none', async () => {
    const one = startProcess([])
    one.answer(new Failure('vendor/throttled'))
    expect(await one.call(ALICE)).toMatchObject({ code: 'vendor/throttled' })
    expect(await one.call(ALICE)).toBe('page')
  })

  test('that cannot be stored does not hide what the vendor said', async () => {
    const { vendor, answers } = playVendor([], 'x', 1)
    answers.push(() => Promise.reject(new Failure('vendor/throttled', undefined, { retryAt: inMs(5_000) })))
    const { mailbox } = limited(vendor, {
      quota: WIDE,
      store: {
        ...budgetStore(pool('calstream_sync')),
        coolDown: () => Promise.reject(new Failure('store/unavailable')),
      },
    })
    await expect(mailbox(ALICE).fetchPage(LIVE, signal)).rejects.toMatchObject({ code: 'vendor/throttled' })
  })
})

describe('a vendor that fails', () => {
  test('for everybody is left alone, probed by one call, and back at once when it answers', async () => {
    const seen: { by: string; at: number }[] = []
    const one = startProcess(seen, { random: () => 0 })
    for (let i = 0; i < 10; i += 1) {
      one.answer(new Failure('vendor/unavailable'))
      await one.call(i % 2 ? ALICE : BOB)
    }
    const calls = seen.length
    expect(calls).toBe(10)
    const refused = await one.call(ALICE)
    if (refused === 'page') throw new Error('it was called')
    expect(refused).toMatchObject({ code: 'vendor/circuit-open', kind: 'throttled' })
    expect(seen.length).toBe(calls)
    // The door to the login has its own breaker.
    await expect(one.login(ALICE)).resolves.toMatchObject({ accessToken: 't' })
    // Control: another process has its own view and may still call.
    expect(await startProcess(seen).call(ALICE)).toBe('page')

    await waitUntil(performance.now() + ((refused.retryAt ?? 0) / 1000 - Date.now()) + 5)
    const answer = Promise.withResolvers<typeof PAGE>()
    one.answers.push(() => answer.promise)
    const probe = one.call(ALICE)
    await expect.poll(() => seen.length).toBe(calls + 3)
    expect(await one.call(BOB)).toMatchObject({ code: 'vendor/circuit-open' })
    answer.resolve(PAGE)
    expect(await probe).toBe('page')
    expect(await one.call(BOB)).toBe('page')
  })
})

describe('calls for one mailbox', () => {
  test('run two at a time in a process, whatever tokens they have; those for another are not held up', async () => {
    const seen: { by: string; at: number }[] = []
    let n = 0
    const one = startProcess(seen, { tokens: { ...TOKENS, of: async () => `token ${n++}` } })
    const answer = Promise.withResolvers<typeof PAGE>()
    for (let i = 0; i < 4; i += 1) one.answers.push(() => answer.promise)
    const calls = Array.from({ length: 6 }, () => one.call(ALICE))
    await expect.poll(() => seen.length).toBe(2)
    const bob = one.call(BOB)
    await expect.poll(() => seen.length).toBe(3)
    answer.resolve(PAGE)
    await Promise.all([...calls, bob])
    expect(seen.length).toBe(7)
  })

  test('that are of one page run two at a time too', async () => {
    const seen: { by: string; at: number }[] = []
    const one = startProcess(seen, { callsPerPage: 5 })
    const answer = Promise.withResolvers<typeof PAGE>()
    for (let i = 0; i < 5; i += 1) one.answers.push(() => answer.promise)
    const pages = Promise.all([one.call(ALICE), one.call(BOB)])
    await expect.poll(() => seen.length).toBe(4)
    answer.resolve(PAGE)
    expect([await pages, seen.length]).toEqual([['page', 'page'], 10])
  })
})
