// Nothing irreversible follows from one answer of a vendor: who is parked, who is not, and who
// goes on by themselves. Real Postgres, the real adapter before the play vendor; the database
// clock is in the test's hand.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { probeParked } from '../../../services/scheduler/probe-parked.ts'
import { REFUSED_MS_MIN } from '../../../services/sync/unit/judge-refusal.ts'
import { eventually } from '../../support/eventually.ts'
import { openSyncWorld, READ, type SyncWorld } from '../../support/sync-world.ts'
import type { Account } from '../../support/world.ts'

const NEVER = new AbortController().signal
const WAVE = 50
const MINUTE_MS = 60_000

let world: SyncWorld
let shiftMs = 0

beforeAll(async () => {
  world = await openSyncWorld('refusals')
}, 120_000)
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
})
beforeEach(() => world.calm())

/** Lets time pass for the database, and with it every backoff and rest. */
async function pass(ms: number, ...accounts: readonly Account[]): Promise<void> {
  shiftMs += ms
  await world.sql(
    `create or replace function calstream_now() returns timestamptz language sql volatile parallel safe
       as $$ select clock_timestamp() + interval '${shiftMs} milliseconds' $$`,
  )
  for (const account of accounts) await world.endBackoff(account)
}

const refuse = (spec: object) => world.world.admin('POST', '/admin/refusals', { vendor: 'google', ...spec })

const parking = async (account: Account) => {
  const [row] = await world.sql<{ status: string; tokens: number; isProbed: boolean; code: string | null }>(
    `select status, refused_tokens as tokens, probe_at is not null as "isProbed", parked_code as code
       from external_calendar_connections where id = $1`,
    [account.connectionId],
  )
  return row!
}

/** The next unit has to ask for a token. */
const endToken = (account: Account) =>
  world.sql(`update connection_credentials set access_expires_at = now() where connection_id = $1`, [
    account.connectionId,
  ])

describe('an account whose good tokens are refused', () => {
  test('is tried again, parked after half an hour and three tokens, asked about again, and goes on by itself', async () => {
    const account = await world.synced({ calendars: 2 })
    await refuse({ kind: 'unauthorized', accountId: account.accountId })
    for (let tries = 1; tries <= 4; tries += 1) {
      expect(await world.sync(account)).toEqual(failed('vendor/account-refused'))
      expect(await parking(account)).toMatchObject({ status: 'active', tokens: tries })
      await pass(REFUSED_MS_MIN / 5, account)
    }
    expect(await world.connection(account)).toMatchObject({ error_count: 0 })
    await world.told()
    await pass(REFUSED_MS_MIN / 5, account)
    expect(await world.sync(account)).toEqual(failed('vendor/account-refused'))
    const parked = { status: 'needs_reauth', isProbed: true, code: 'vendor/account-refused' }
    expect(await parking(account)).toMatchObject(parked)
    expect((await world.told()).map(({ message }) => message)).toMatchObject([
      { status: 'needs_reauth', previousStatus: 'active', code: 'vendor/account-refused' },
    ])

    // Not yet due, then refused still, then let in.
    expect(await probeParked(world.deps, NEVER)).toBe(0)
    await pass(90 * MINUTE_MS, account)
    expect(await probeParked(world.deps, NEVER)).toBe(0)
    expect(await parking(account)).toMatchObject(parked)
    await world.noFaults()
    expect(await probeParked(world.deps, NEVER)).toBe(0)
    await pass(90 * MINUTE_MS, account)
    expect(await probeParked(world.deps, NEVER)).toBe(1)
    const told = await world.told()
    expect(told.map(({ topic }) => topic)).toEqual([TOPICS.connectionChanged, TOPICS.requestedGoogle])
    expect(told[0]?.message).toMatchObject({
      status: 'active',
      previousStatus: 'needs_reauth',
      code: 'vendor/account-refused',
    })
    expect(await world.sync(account, [{ reason: 'connected' }])).toEqual(READ)
    expect(await world.connection(account)).toMatchObject({ status: 'active', last_error: null })
  })

  test('counts from the beginning after a read in between', async () => {
    const account = await world.synced()
    for (let i = 0; i < 3; i += 1) {
      await refuse({ kind: 'unauthorized', accountId: account.accountId })
      expect(await world.sync(account)).toEqual(failed('vendor/account-refused'))
      await world.noFaults()
      await pass(REFUSED_MS_MIN, account)
      expect(await world.sync(account)).toEqual(READ)
    }
    expect(await parking(account)).toMatchObject({ status: 'active', tokens: 1 })
  })
})

test('one calendar that is refused, for whatever reason and however long, parks nobody', async () => {
  for (const kind of ['unauthorized', 'suspended']) {
    const account = await world.synced({ calendars: 2 })
    await refuse({ kind, accountId: account.accountId, calendarId: account.calendars[1]!.id })
    for (let i = 0; i < 4; i += 1) {
      expect(await world.sync(account)).toMatchObject({ kind: 'partly', code: 'vendor/call-refused' })
      await pass(REFUSED_MS_MIN, account)
    }
    expect(await parking(account)).toMatchObject({ status: 'active', tokens: 0 })
    await world.noFaults()
  }
})

test('an account with one calendar that alone is refused is not parked while the account answers', async () => {
  const account = await world.synced()
  await refuse({ kind: 'unauthorized', accountId: account.accountId, calendarId: account.email })
  await world.noFaults()
  await world.fault({
    match: { accountId: account.accountId },
    respond: { status: 401, reason: 'authError' },
  })
  for (let i = 0; i < 4; i += 1) {
    expect(await world.sync(account)).toEqual(failed('vendor/call-refused'))
    await pass(REFUSED_MS_MIN, account)
  }
  expect(await parking(account)).toMatchObject({ status: 'active', tokens: 0 })
})

test('a suspended user is told of as such, and goes on when let in again', async () => {
  const account = await world.synced()
  await refuse({ kind: 'suspended', accountId: account.accountId })
  expect(await world.sync(account)).toEqual(failed('vendor/no-mailbox'))
  expect(await parking(account)).toMatchObject({ status: 'active', tokens: 1 })
  await world.noFaults()
  await pass(MINUTE_MS, account)
  expect(await world.sync(account)).toEqual(READ)
})

describe('documented words', () => {
  test('park at the first answer; a grant that is gone is not asked about again', async () => {
    const account = await world.synced()
    await world.world.admin('POST', `/admin/accounts/${account.accountId}/revoke`)
    expect(await world.sync(account)).toEqual(failed('vendor/grant-revoked'))
    const gone = { status: 'needs_reauth', isProbed: false, code: 'vendor/grant-revoked' }
    expect(await parking(account)).toMatchObject(gone)
  })

  test('of an organization park, and are asked about again, since the person need not do anything', async () => {
    const account = await world.synced()
    await endToken(account)
    await refuse({ kind: 'tenant', accountId: account.accountId })
    expect(await world.sync(account)).toEqual(failed('vendor/admin-required'))
    expect(await parking(account)).toMatchObject({ status: 'needs_reauth', isProbed: true })
    await world.noFaults()
    await pass(90 * MINUTE_MS, account)
    expect(await probeParked(world.deps, NEVER)).toBe(1)
    expect(await world.sync(account, [{ reason: 'connected' }])).toEqual(READ)
  })
})

test.each(['html', 'json'])('the rate limit of the sign-in told as 403 %s is throttling', async (form) => {
  const account = await world.synced()
  await endToken(account)
  await refuse({ kind: 'token-rate', form, accountId: account.accountId })
  expect(await world.sync(account)).toEqual(failed('vendor/throttled'))
  expect(await world.connection(account)).toMatchObject({ status: 'active', error_count: 0 })
})

describe(`of ${WAVE} connections`, () => {
  let accounts: readonly Account[] = []
  beforeAll(async () => {
    const made: Account[] = []
    for (let i = 0; i < WAVE; i += 1) made.push(await world.connect({ calendars: 1, eventsPerCalendar: 2 }))
    for (const account of made) expect(await world.sync(account)).toEqual(READ)
    accounts = made
  }, 120_000)

  const codes = async () => {
    const ids = accounts.map(({ connectionId }) => connectionId)
    const rows = await world.sql<{ status: string; code: string | null; count: number }>(
      `select status, last_error ->> 'code' as code, count(*)::int as count from external_calendar_connections
        where id = any($1::uuid[]) group by 1, 2 order by 1, 2`,
      [ids],
    )
    return rows
  }

  test.each(['unauthorized', 'project', 'suspended'])(
    'that are refused together for two minutes (%s) nobody is parked, nobody loses an attempt, and all are well soon after',
    async (kind) => {
      await refuse({ kind })
      await world.calls()
      for (let round = 0; round < 4; round += 1) {
        for (const account of accounts) expect((await world.sync(account)).kind).toBe('failed')
        await pass(30_000, ...accounts)
      }
      const calls = await world.calls(undefined, '^/calendar/')
      // Without the breaker it would be two or more for each, in each round.
      expect(calls.length).toBeLessThan(WAVE)
      const refused = await codes()
      expect(refused.every(({ status }) => status === 'active')).toBe(true)
      expect(refused.find(({ code }) => code === 'vendor/refusing-all')?.count).toBeGreaterThan(WAVE / 2)
      const counted = await world.sql(
        'select from external_calendar_connections where error_count > 0 and id = any($1::uuid[])',
        [accounts.map(({ connectionId }) => connectionId)],
      )
      expect(counted).toEqual([])
      await world.noFaults()
      const ill = new Set(accounts)
      await eventually('all to be well', async () => {
        for (const account of ill) {
          await world.endBackoff(account)
          if ((await world.sync(account)).kind === 'done') ill.delete(account)
        }
        return ill.size === 0
      })
      expect(await codes()).toEqual([{ status: 'active', code: null, count: WAVE }])
    },
  )

  test('whose grants all end at once, most are doubted for half an hour and then parked with a way back', async () => {
    await refuse({ kind: 'tenant' })
    for (const account of accounts) await endToken(account)
    for (const account of accounts) await world.sync(account)
    const first = await codes()
    const parked = first.find(({ status }) => status === 'needs_reauth')?.count ?? 0
    expect(parked).toBeGreaterThan(0)
    expect(parked).toBeLessThan(WAVE)
    await world.noFaults()
    for (const account of accounts) await world.endBackoff(account)
    for (const account of accounts) await world.sync(account)
    await pass(90 * MINUTE_MS)
    // So soon after a wave they are let through one by one, by the wall clock: who has no turn yet
    // is asked at a later run.
    let restored = 0
    await eventually('every one that was parked goes on', async () => {
      restored += await probeParked(world.deps, NEVER)
      await pass(15 * MINUTE_MS)
      return restored === parked
    })
    expect((await codes()).map(({ status }) => status)).toEqual(['active'])
  })
})

/** The end of a unit that failed, with a sentence for the log. */
function failed(code: string) {
  return { kind: 'failed', code, problem: expect.stringMatching(/^[A-Z].*\.$/) as string }
}
