// The wait for a turn at a vendor that has just come back:
// short ones behind the gates, longer ones are given up.
import { expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import type { GateDecision } from '#shared/domain/gates.ts'
import { systemClock } from '#shared/process/clock.ts'
import { processRoom, ROOM_LIMITS } from '#shared/vendors/room.ts'
import type { Page } from '#shared/vendors/vendor.ts'
import type { CalendarRun } from '../../../../services/sync/unit/read-run.ts'
import { pageOfRun } from '../../../../services/sync/unit/page-of-run.ts'
import type { Permit } from '../../../../services/sync/lanes.ts'
import type { Unit, UnitDeps } from '../../../../services/sync/unit/unit.ts'
import { freeMailboxes } from '../../../support/free-mailboxes.ts'

const PAGE: Page = {
  kind: 'page',
  items: [],
  unreadable: [],
  next: { kind: 'end', cursor: 'c' },
}

/** A vendor that tells the first call to come back `waitMs` later. */
function setup(waitMs: number) {
  const asked: number[] = []
  /** Bytes in hand when a call begins. */
  const inHand: number[] = []
  let gate: GateDecision = { state: 'on' }
  const google = {
    name: 'google',
    async fetchPage() {
      asked.push(performance.now())
      inHand.push(processRoom.taken())
      const holder = processRoom.holder()
      await holder.take(ROOM_LIMITS.smallMax, null)
      holder.end()
      if (asked.length === 1)
        throw new Failure('vendor/recovering', undefined, { retryAt: systemClock.now() + waitMs * 1_000 })
      return PAGE
    },
  } as const
  const deps = {
    clock: systemClock,
    gates: { sync: () => gate, jobs: () => ({ state: 'on' }) },
    mailboxes: freeMailboxes([google]),
  } as unknown as UnitDeps
  const unit = {
    connection: { vendor: 'google' },
    progress: {},
    startedAt: performance.now(),
  } as unknown as Unit
  const run = { calendar: { vendorCalendarId: 'a' } } as unknown as CalendarRun
  const still = new AbortController().signal
  const permit = { signal: still, stopping: still } as unknown as Permit
  return {
    asked,
    inHand,
    fetch: () => pageOfRun(deps, unit, run, permit),
    close: () => (gate = { state: 'off', gate: 'CALENDAR_SYNC_ENABLED', text: 'Calendar sync not enabled' }),
  }
}

test('a call waits for its turn and goes out then', async () => {
  const { asked, fetch } = setup(80)
  expect(await fetch()).toBe(PAGE)
  expect(asked).toHaveLength(2)
  expect(asked[1]! - asked[0]!).toBeGreaterThan(75)
})

test('a page that is asked for again has nothing of the first try in hand', async () => {
  const { inHand, fetch } = setup(1)
  await processRoom.hold(async () => {
    await fetch()
    // Control: the page itself is in hand until it is stored.
    expect(processRoom.taken()).toBe(ROOM_LIMITS.smallMax)
  })
  expect(inHand).toEqual([0, 0])
  expect(processRoom.taken()).toBe(0)
})

test('a gate that closes while it waits keeps it from going out', async () => {
  const { asked, fetch, close } = setup(300)
  const fetched = fetch()
  // The first call is made within the same turn of the event loop;
  // nothing of a slow machine comes between.
  await new Promise(setImmediate)
  expect(asked).toHaveLength(1)
  close()
  expect(await fetched).toMatchObject({ kind: 'held', gate: 'CALENDAR_SYNC_ENABLED' })
  expect(asked).toHaveLength(1)
})

test('a turn that is far away is not waited for in a slot', async () => {
  const { asked, fetch } = setup(20_000)
  await expect(fetch()).rejects.toMatchObject({ code: 'vendor/recovering' })
  expect(asked).toHaveLength(1)
})
