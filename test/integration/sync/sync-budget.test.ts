// Units whose calls do not fit: they wait a little behind their gates, or fail as throttled without
// an attempt; and what one process was told to wait for binds the others.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openSyncWorld, READ, type SyncWorld } from '../../support/sync-world.ts'
import { failedWith } from '../../support/unit-ends.ts'
import type { Account } from '../../support/world.ts'

/** Of 600 calls a minute: earned at 0.7 of that, a fifth at once. */
const ROOM_MS = 120 * (60_000 / (600 * 0.7))

let world: SyncWorld

beforeAll(async () => {
  world = await openSyncWorld('sync budget')
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(() => world.calm())

/**
 * As if all processes together had taken so much of the mailbox's budget that it
 * is used up for `ms` more.
 */
async function spend({ connectionId }: Account, ms: number): Promise<void> {
  await world.sql(
    `insert into call_budgets (key, taken_until) values ('google ' || $1::text, now() + $2 * interval '1 ms')
     on conflict (key) do update set taken_until = excluded.taken_until`,
    [connectionId, ROOM_MS + ms],
  )
}

/**
 * A new process: nothing in hand that it took before.
 * Chunks live for 5 s, so a mailbox of its own does the same.
 */
const fresh = () => world.synced()

describe('a unit whose call does not fit the budget', () => {
  test('waits when it fits soon, and then reads as if nothing had been', async () => {
    const account = await fresh()
    await world.addEvent(account)
    await spend(account, 600)
    const began = performance.now()
    expect(await world.sync(account)).toEqual(READ)
    expect(performance.now() - began).toBeGreaterThan(500)
    expect(await world.differences(account)).toEqual([])
    expect(await world.connection(account)).toMatchObject({ error_count: 0, last_error: null })
  })

  test('is held when its gate closes while it waits, without a call', async () => {
    const account = await fresh()
    await world.calls()
    await spend(account, 1_000)
    const unit = world.sync(account)
    // The claim and the first call have asked; the next to ask is the call after the wait.
    await expect.poll(async () => (await world.connection(account)).sync_epoch, { timeout: 10_000 }).toBe('2')
    world.isGateOpen = false
    expect(await unit).toMatchObject({ kind: 'held' })
    expect(await world.calls()).toEqual([])
  })

  test('fails as throttled when it fits only later: it backs off until then, and no attempt is counted', async () => {
    const account = await fresh()
    await world.calls()
    await spend(account, 30_000)
    expect(await world.sync(account)).toEqual(failedWith('vendor/budget-spent'))
    expect(await world.calls()).toEqual([])
    const after = await world.connection(account)
    expect(after).toMatchObject({ error_count: 0, sync_needed: true, status: 'active' })
    expect(after.backoff_ms).toBeGreaterThan(25_000)
    // Control: another mailbox has its own budget.
    expect(await world.sync(await world.connect())).toEqual(READ)
  })
})

describe('a Retry-After', () => {
  test('is known to every process: no call inside it, though the backoff of the connection is gone', async () => {
    const account = await fresh()
    await world.fault({
      times: 1,
      respond: { status: 429, reason: 'rateLimitExceeded', headers: { 'retry-after': '40' } },
    })
    expect(await world.sync(account)).toEqual(failedWith('vendor/throttled'))
    expect((await world.calls()).length).toBe(1)
    // As a scheduler meets it, which knows no backoff of connections.
    await world.sql('update external_calendar_connections set backoff_until = null where id = $1', [
      account.connectionId,
    ])
    expect(await world.sync(account)).toEqual(failedWith('vendor/throttled'))
    expect(await world.calls()).toEqual([])
    const after = await world.connection(account)
    expect(after).toMatchObject({ error_count: 0 })
    expect(after.backoff_ms).toBeGreaterThan(30_000)
    // Control: once it is over the same unit reads.
    await world.endBackoff(account)
    expect(await world.sync(account)).toEqual(READ)
  })
})
