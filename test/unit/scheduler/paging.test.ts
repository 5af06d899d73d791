// How jobs page: closed gates keep nobody else back, and a run takes no more than it may.
import { expect, test } from 'vitest'
import type { GateDecision, Gates } from '#shared/domain/gates.ts'
import type { Database } from '#shared/store/database.ts'
import { allowedPages, allowedRows, type Paging } from '../../../services/scheduler/paging.ts'

const NEVER = new AbortController().signal

/** Rows 1 to `count`, 10 a page, of which a run takes 25; `asked` has what was read from. */
function numbers(count: number, isPageWhole?: true) {
  const asked: (number | null)[] = []
  let isOn = true
  const on: GateDecision = { state: 'on' }
  const off: GateDecision = {
    state: 'off',
    gate: 'CALENDAR_JOBS_ENABLED',
    text: 'Calendar sync not enabled',
  }
  const gates: Gates = { sync: () => on, webhook: () => on, oauth: () => on, jobs: () => (isOn ? on : off) }
  const paging: Paging<{ readonly id: number }, 'id'> = {
    async read(_db, after, limit) {
      asked.push(after)
      const rows = Array.from({ length: count }, (_, index) => ({ id: index + 1 }))
      return rows.filter(({ id }) => id > (after ?? 0)).slice(0, limit)
    },
    by: 'id',
    pageSize: 10,
    perRun: 25,
    ...(isPageWhole && { isPageWhole }),
  }
  // What is paged here lies in no database.
  const deps = { db: undefined as unknown as Database, gates }
  return { deps, paging, asked, close: () => (isOn = false) }
}

test('rows behind closed gates stand before nobody: the pages after them are read in the same run', async () => {
  const { deps, paging, asked } = numbers(35)
  expect(await allowedRows(deps, paging, ({ id }) => id > 20, NEVER)).toHaveLength(15)
  expect(asked).toEqual([null, 10, 20, 30])
})

test('a run takes no more than it may and reads no page beyond that', async () => {
  const { deps, paging, asked } = numbers(100)
  const rows = await allowedRows(deps, paging, () => true, NEVER)
  expect(rows).toHaveLength(25)
  expect(rows.at(-1)?.id).toBe(25)
  expect(asked).toEqual([null, 10, 20])
})

test('a page that is to be taken whole is not cut where the run ends', async () => {
  const { deps, paging, asked } = numbers(100, true)
  expect(await allowedRows(deps, paging, () => true, NEVER)).toHaveLength(30)
  expect(asked).toEqual([null, 10, 20])
})

test('a page that is not full is the last one, and so is an empty one', async () => {
  for (const [count, reads] of [
    [0, 1],
    [9, 1],
    [10, 2],
    [11, 2],
  ] as const) {
    const { deps, paging, asked } = numbers(count)
    expect(await allowedRows(deps, paging, () => true, NEVER)).toHaveLength(count)
    expect(asked).toHaveLength(reads)
  }
})

test('no page is read after the gate of the jobs closed or the process is to end', async () => {
  const world = numbers(100)
  const end = new AbortController()
  for (const stop of [world.close, () => end.abort()]) {
    const { deps, paging, asked } = stop === world.close ? world : numbers(100)
    for await (const page of allowedPages(deps, paging, () => true, end.signal)) {
      expect(page).toHaveLength(10)
      stop()
    }
    expect(asked).toEqual([null])
  }
})
