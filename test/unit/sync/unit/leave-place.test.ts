// What a page says of the run that it belongs to, where pages of two kinds follow each other.
import { expect, test } from 'vitest'
import type { CalendarEvent } from '#shared/domain/event.ts'
import { systemClock } from '#shared/process/clock.ts'
import type { Page } from '#shared/vendors/vendor.ts'
import type { CalendarRun } from '../../../../services/sync/unit/read-run.ts'
import type { Permit } from '../../../../services/sync/lanes.ts'
import { fetchOrLeave } from '../../../../services/sync/unit/leave-place.ts'
import { NO_PROGRESS_YET } from '../../../../services/sync/unit/run-progress.ts'
import type { Unit, UnitDeps } from '../../../../services/sync/unit/unit.ts'
import { freeMailboxes } from '../../../support/free-mailboxes.ts'

const occurrence = (vendorEventId: string) =>
  ({ vendorEventId, seriesId: 's', etag: 'v' }) as unknown as CalendarEvent
const MORE = { kind: 'more', pageToken: 'on' } as const
const delta = (...ids: string[]): Page => ({
  kind: 'page',
  items: [],
  unreadable: [],
  named: ids.map((id) => ({ id, version: 'v' })),
  next: MORE,
})
/** A series read whole: its occurrences, of which the pages of the delta tell too. */
const details: Page = {
  kind: 'page',
  items: [
    ...['a', 'b', 'c'].map((id) => ({ kind: 'event' as const, event: occurrence(id) })),
    { kind: 'series', seriesId: 's', vendorEventIds: ['a', 'b', 'c'] },
  ],
  unreadable: [],
  completes: true,
  next: MORE,
}

/**
 * @returns how many of the pages a run takes; it is broken off before the end when that is fewer.
 */
async function taken(pages: readonly Page[]): Promise<number> {
  const left = [...pages]
  const db = {
    transaction: (work: (tx: object) => Promise<unknown>) =>
      work({ query: async () => ({ rows: [{ version: 0, now: 0 }] }) }),
  }
  const logger = { warn: () => {}, info: () => {} }
  const deps = {
    db,
    logger,
    clock: systemClock,
    gates: { sync: () => ({ state: 'on' }), jobs: () => ({ state: 'on' }) },
    mailboxes: freeMailboxes([{ name: 'microsoft', fetchPage: async () => left.shift()! }]),
  } as unknown as UnitDeps
  const connection = { vendor: 'microsoft', now: 0 }
  const unit = { connection, progress: {}, startedAt: performance.now() } as unknown as Unit
  const still = new AbortController().signal
  const permit = { signal: still, stopping: still } as unknown as Permit
  const calendar = { reading: 'usual', vendorCalendarId: 'a', calendarId: 'a' }
  let run = {
    calendar,
    reading: 'usual',
    pageToken: null,
    cursor: null,
    progress: NO_PROGRESS_YET,
  } as unknown as CalendarRun
  for (let n = 0; n < pages.length; n += 1) {
    const at = await fetchOrLeave(deps, unit, run, permit).catch((error: unknown) => error)
    if (at instanceof Error) {
      expect(at).toMatchObject({ code: 'vendor/no-progress' })
      return n
    }
    run = (at as Awaited<ReturnType<typeof fetchOrLeave>>).run
  }
  return pages.length
}

test('details that were read before say nothing of a run, however many follow each other', async () => {
  const many = Array.from({ length: 30 }, () => details)
  expect(await taken([delta('a'), ...many, delta('b'), ...many, delta('c')])).toBe(63)
})

test('a delta that tells of what details named before is no repetition', async () => {
  expect(await taken([delta('s'), details, delta('a'), delta('b'), delta('c'), delta('d')])).toBe(6)
  // The control: what the delta itself named.
  expect(await taken([delta('s'), details, delta('a'), delta('a'), delta('a'), delta('d')])).toBe(4)
})

test('between them, pages that name nothing new end a run as ever', async () => {
  expect(await taken([delta('a'), details, delta('a'), details, delta('a'), details])).toBe(4)
  // The control: something new in between.
  expect(await taken([delta('a'), details, delta('a'), details, delta('b'), details])).toBe(6)
})

test('details behind the last page are read, also where that page named nothing new for too long', async () => {
  const last: Page = { ...delta('a'), next: { kind: 'end', cursor: 'c' } }
  expect(await taken([delta('a'), delta('a'), last, details, details])).toBe(5)
  // The control: a page that leads on.
  expect(await taken([delta('a'), delta('a'), delta('a'), details, details])).toBe(2)
})
