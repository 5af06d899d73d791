// What Microsoft's documents leave open, played both ways: whatever a delta tells of deletions,
// cancelled occurrences and dead tokens, and however late, a reader ends up with the truth.
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { connectionId } from '#shared/domain/ids.ts'
import { systemClock } from '#shared/process/clock.ts'
import { createLogger } from '#shared/process/log.ts'
import type { Vendor } from '#shared/vendors/vendor.ts'
import { createGuard } from '#shared/vendors/limits/guard.ts'
import { createMailboxes } from '#shared/vendors/mailbox.ts'
import { eventually } from '../support/eventually.ts'
import { NEVER_SPENT } from '../support/free-mailboxes.ts'
import { openSimulatedMicrosoft } from '../support/simulated-microsoft.ts'
import {
  describeItems,
  eventsOf,
  fold,
  readOn,
  signal,
  WINDOW,
  type TestAccount,
  type VendorWorld,
} from '../support/vendor-world.ts'

const DAY_MS = 86_400_000

/** A reader that follows a calendar and is compared with the truth. */
async function follow(world: VendorWorld, account: TestAccount) {
  const first = await readOn(world.vendor, account, null)
  let { cursor } = first
  const items = [...first.items]
  return {
    async readsTheTruth(what: string) {
      const more = await readOn(world.vendor, account, cursor)
      cursor = more.cursor
      items.push(...more.items)
      expect(fold(items), what).toEqual(await world.truth(account))
      return more
    },
  }
}

/** Everything that can happen to events and series, one after the other. */
async function livesThroughAll(world: VendorWorld): Promise<void> {
  const account = await world.account({ events: 20 })
  const reader = await follow(world, account)
  await reader.readsTheTruth('nothing happened')
  const single = await world.create(account, { title: 'single' })
  const ids = await world.createSeries(account, 8)
  const [seriesId = ''] = ids[0]!.split('_')
  await reader.readsTheTruth('created')
  await world.change(account, ids[1]!, { title: 'an exception' })
  await world.remove(account, ids[2]!)
  await reader.readsTheTruth('an exception and a cancelled occurrence')
  await world.remove(account, ids[1]!)
  await reader.readsTheTruth('the exception is cancelled too')
  await world.change(account, seriesId, { title: 'renamed' })
  await reader.readsTheTruth('the series alone changed')
  await world.change(account, ids[3]!, { at: Date.now() + 730 * DAY_MS })
  await world.change(account, single, { at: Date.now() + 730 * DAY_MS })
  await reader.readsTheTruth('moved out of the window')
  await world.change(account, single, { at: Date.now() + 3 * DAY_MS })
  await reader.readsTheTruth('moved back')
  await world.change(account, seriesId, { at: Date.now() + 730 * DAY_MS })
  await reader.readsTheTruth('the series moved out of the window')
  await world.change(account, seriesId, { at: Date.now() + 4 * DAY_MS })
  await reader.readsTheTruth('the series moved back')
  await world.remove(account, seriesId)
  await world.remove(account, single)
  await reader.readsTheTruth('deleted')
}

describe('a reader', () => {
  test.each([
    { sparseTombstones: true, cancelledOccurrences: 'series' },
    { sparseTombstones: true, cancelledOccurrences: 'removed' },
    { sparseTombstones: false, cancelledOccurrences: 'both' },
    { sparseTombstones: false, cancelledOccurrences: 'removed', repeatedItems: 1 },
    { repeatedItems: 1, concurrencyMax: 2 },
  ])('ends up with the truth when Microsoft has the habits %j', async (knobs) => {
    await using world = await openSimulatedMicrosoft({ repeatedItems: 0, ...knobs })
    await world.smallPages(15, false)
    await livesThroughAll(world)
  })

  test.each(['SyncStateNotFound', 'syncStateNotFound', 'resyncRequired', 'bad-request', 'not-found'])(
    'is told of a dead token by %s as of a value',
    async (expiredDelta) => {
      await using world = await openSimulatedMicrosoft({ expiredDelta })
      const account = await world.account({ events: 5 })
      const { cursor } = await readOn(world.vendor, account, null)
      await world.expireCursors(account)
      const request = { vendorCalendarId: account.calendar, cursor, pageToken: null, window: WINDOW }
      expect(await world.vendor.fetchPage(account.accessToken, request, signal)).toEqual({
        kind: 'cursor-expired',
      })
    },
  )
})

describe('a hint that comes before the change', () => {
  test('finds nothing in the delta yet, and the change once, later', async () => {
    await using world = await openSimulatedMicrosoft({ repeatedItems: 0 })
    const account = await world.account({ events: 3 })
    const settled = await readOn(world.vendor, account, null)
    await world.admin('POST', '/admin/microsoft', { deltaLagMs: 600 })
    const id = await world.create(account, { title: 'late' })
    const early = await readOn(world.vendor, account, settled.cursor)
    expect(eventsOf(early.items)).toEqual([])
    let { cursor } = early
    const told: string[] = []
    await eventually('the change to be readable', async () => {
      const read = await readOn(world.vendor, account, cursor)
      cursor = read.cursor
      told.push(...describeItems(read.items))
      return told.length > 0
    })
    expect(told).toEqual([`event ${id} late`])
    expect(eventsOf((await readOn(world.vendor, account, cursor)).items)).toEqual([])
  })

  test('loses nothing while events cannot be read by their id yet', async () => {
    await using world = await openSimulatedMicrosoft({ repeatedItems: 0, invisibleForMs: 800 })
    const account = await world.account({ events: 0 })
    const { items, cursor } = await readOn(world.vendor, account, null)
    const single = await world.create(account, { title: 'once' })
    const ids = await world.createSeries(account, 3)
    const read = await eventually('the changes to be readable', () =>
      readOn(world.vendor, account, cursor).catch(() => null),
    )
    expect([...fold([...items, ...read.items]).keys()].toSorted()).toEqual([single, ...ids].toSorted())
  })
})

test('refresh tokens rotate with every use, and the one before still works', async () => {
  await using world = await openSimulatedMicrosoft({})
  const account = await world.account({ events: 0 })
  const first = await world.vendor.refresh(account.refreshToken, signal)
  expect(first.refreshToken).not.toBeNull()
  expect((await world.vendor.refresh(account.refreshToken, signal)).accessToken).not.toBe('')
  expect((await world.vendor.refresh(first.refreshToken ?? '', signal)).accessToken).not.toBe('')
})

test('many readers of one mailbox in two processes never make Microsoft throttle, details of series included', async () => {
  await using world = await openSimulatedMicrosoft({ concurrencyMax: 4 })
  const account = await world.account({ events: 40 })
  for (let i = 0; i < 4; i += 1) await world.createSeries(account, 3)
  await world.admin('POST', '/admin/latency', { ms: 20 })
  const truth = await world.truth(account)
  const processes = [limited(world.vendor, account), limited(world.vendor, account)]
  const reads = await Promise.all(Array.from({ length: 12 }, (_, reader) => processes[reader % 2]!()))
  for (const { items } of reads) expect(fold(items)).toEqual(truth)
  // Control: without the limits it does.
  const code = await Promise.all(Array.from({ length: 12 }, () => readOn(world.vendor, account, null))).then(
    () => 'none',
    (error: unknown) => (error instanceof Failure ? error.code : error),
  )
  expect(code).toBe('vendor/throttled')
})

/**
 * A reader of the whole calendar, behind limits as one process has them,
 * with a budget that is never spent.
 */
function limited(adapter: Vendor, account: TestAccount) {
  const guard = createGuard('microsoft', {
    quota: { perMinute: 1_000_000, mailboxPerMinute: 1_000_000 },
    store: NEVER_SPENT,
    clock: systemClock,
    logger: createLogger({ service: 'test', level: 'silent' }),
  })
  const tokens = { of: async () => account.accessToken, invalidate: () => undefined }
  const mailbox = createMailboxes([{ vendor: adapter, guard, tokens }]).of({
    vendor: 'microsoft',
    connectionId: connectionId('00000000-0000-4000-8000-00000000000a'),
  })
  const fetchPage: Vendor['fetchPage'] = (_token, request, until) => mailbox.fetchPage(request, until)
  return () => readOn({ ...adapter, fetchPage }, account, null)
}
