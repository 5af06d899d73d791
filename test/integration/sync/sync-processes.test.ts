// What happens to the sync service as a process: killed in the middle of a page, joined by a second
// one under load, frozen until another has taken over. Each time the tables and the folded topics
// must equal the vendor's own truth.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { converged, expectConverged } from '../../support/converged.ts'
import { eventually } from '../../support/eventually.ts'
import { look, openWorld, type World } from '../../support/world.ts'

let world: World

beforeEach(async () => {
  world = await openWorld({ label: 'sync-processes' })
})
afterEach(async () => {
  await world[Symbol.asyncDispose]()
})

const owner = () => world.env['POSTGRES_URL'] ?? ''

describe('a sync process that is killed with SIGKILL in the middle of a calendar', () => {
  test('loses nothing and doubles nothing: its successor goes on from the checkpoint', async () => {
    await world.admin('POST', '/admin/paging', { pageSizeMax: 60, shortPages: true, emptyPages: true })
    await world.admin('POST', '/admin/latency', { ms: 100 })
    await Promise.all([world.start('relay'), world.start('retry'), world.start('scheduler')])
    const sync = await world.start('sync')
    const accounts = await Promise.all(
      [1, 2, 3].map(() => world.connect({ calendars: 2, eventsPerCalendar: 60 })),
    )
    const middle = await eventually('a run in the middle of a calendar', async () => {
      const [row] = await look<{ runs: number; events: number }>(
        owner(),
        `select count(*) filter (where checkpoint is not null)::int as runs,
                (select count(*)::int from external_calendar_events) as events from external_calendars`,
      )
      return row && row.runs > 0 && row.events > 0 ? row : null
    })
    await sync.kill()
    // The witness: it was killed with pages stored and calendars unfinished.
    expect(middle.runs).toBeGreaterThan(0)
    await sync.restart(AbortSignal.timeout(60_000))
    await expectConverged(world, accounts)
    // It went on from the page tokens: only what had not stored a page before
    // the kill was begun again.
    const begun = (await listings()).filter((request) => !request.pageTokenIn && !request.syncTokenIn)
    const calendars = accounts.flatMap((account) => account.calendars).length
    expect(begun.length).toBeGreaterThanOrEqual(calendars)
    expect(begun.length).toBeLessThanOrEqual(calendars + accounts.length)
  })
})

interface Listing {
  readonly pageTokenIn?: string
  readonly syncTokenIn?: string
}

async function listings(): Promise<readonly Listing[]> {
  const route = `/admin/requests?path=${encodeURIComponent('/events$')}`
  return (await world.admin<{ requests: readonly Listing[] }>('GET', route)).requests
}

describe('two sync processes', () => {
  test('share the work and hand it over under load: nothing lost, nothing doubled, order kept', async () => {
    await Promise.all([
      world.start('relay'),
      world.start('retry'),
      world.start('scheduler'),
      world.start('ingress'),
    ])
    const first = await world.start('sync')
    const accounts = await Promise.all(
      Array.from({ length: 12 }, () => world.connect({ calendars: 1, eventsPerCalendar: 40 })),
    )
    await expectConverged(world, accounts)
    const { loadId } = await world.admin<{ loadId: string }>('POST', '/admin/load', {
      changesPerSecond: 40,
      durationMs: 20_000,
      seed: 7,
    })
    const second = await world.start('sync')
    await eventually(
      'the second process to run units',
      async () => (await world.metric(second, 'calendar_sync_runs_total')) > 0,
    )
    await first.stop()
    await eventually(
      'the load to end',
      async () => (await world.admin<{ done: boolean }>('GET', `/admin/load/${loadId}`)).done,
    )
    await expectConverged(world, accounts)
  })
})

describe('a sync process that freezes with a page in flight', () => {
  test('is overtaken, and when it wakes the fence refuses its write', async () => {
    await Promise.all([
      world.start('relay'),
      world.start('retry'),
      world.start('scheduler'),
      world.start('ingress'),
    ])
    const frozen = await world.start('sync')
    const account = await world.connect({ calendars: 1, eventsPerCalendar: 20 })
    await expectConverged(world, [account])
    const calendar = account.calendars[0]!.id
    await world.admin('POST', '/admin/faults', {
      match: { path: '/events$', accountId: account.accountId },
      times: 1,
      delayMs: 3_000,
    })
    await world.admin(
      'POST',
      `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(calendar)}/events`,
      {},
    )
    await eventually('the slow call to be under way', async () => {
      const { faults } = await world.admin<{ faults: readonly { hits: number }[] }>('GET', '/admin/faults')
      return faults.some((fault) => fault.hits > 0)
    })
    frozen.pause()
    const successor = await world.start('sync')
    await eventually(
      'the successor to have synced the change',
      async () => (await converged(world, [account])).length === 0,
      60_000,
    )
    const [before] = await look<{ epoch: number; version: number }>(
      owner(),
      'select sync_epoch::int as epoch, version::int as version from external_calendar_connections',
    )
    frozen.resume()
    // The witness: it woke, and its unit ended without a write.
    await eventually(
      'the frozen one to give its unit up',
      async () => (await world.metric(frozen, 'calendar_sync_runs_total', 'outcome="abandoned"')) > 0,
    )
    const [after] = await look<{ epoch: number; version: number }>(
      owner(),
      'select sync_epoch::int as epoch, version::int as version from external_calendar_connections',
    )
    expect(after?.version).toBe(before?.version)
    await expectConverged(world, [account])
    expect(successor.running).toBe(true)
  })
})
