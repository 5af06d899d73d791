// Pages as big as a vendor may send them: read while they stay under the caps of one answer,
// refused beyond, and asked for again with fewer items.
import { describe, expect, test } from 'vitest'
import { ANSWER_BYTES_MAX, PAGE_ITEMS_MAX, PAGE_SHRINKS_MAX } from '#shared/domain/page-limits.ts'
import type { Page, PageRequest } from '#shared/vendors/vendor.ts'
import * as googles from '../../../support/answering-google.ts'
import * as microsofts from '../../../support/answering-microsoft.ts'

const { signal } = googles

interface Size {
  readonly events: number
  /** Of all events together. */
  readonly bytes?: number
}

/** So much text beside each event that all of them come to this many bytes. */
function filler({ events, bytes = 0 }: Size): string {
  return 'x'.repeat(bytes / events)
}

function ids({ events }: Size): string[] {
  return Array.from({ length: events }, (_, i) => `e${i}`)
}

const VENDORS = {
  google: {
    request: googles.FULL,
    usual: 2500,
    open: (size: Size) => {
      const items = ids(size).map((id) => ({ ...googles.EVENT, id, description: filler(size) }))
      return googles.google(googles.json({ items, nextSyncToken: 's' }))
    },
    askedFor: (seen: googles.Seen) => Number(seen.url.searchParams.get('maxResults')),
  },
  microsoft: {
    request: microsofts.FULL,
    usual: 200,
    open: (size: Size) => {
      const value = ids(size).map((id) => ({ ...microsofts.EVENT, id, body: { content: filler(size) } }))
      return microsofts.microsoft(microsofts.page(value))
    },
    askedFor: (seen: googles.Seen) =>
      Number(/odata\.maxpagesize=(\d+)/.exec(String(seen.headers['prefer']))?.[1]),
  },
}

describe.each(Object.entries(VENDORS))('a page of %s', (_name, { open, request, usual, askedFor }) => {
  const read = async (size: Size, more: Partial<PageRequest> = {}) => {
    const { vendor, seen } = await open(size)
    const page = vendor.fetchPage('token', { ...request, ...more }, signal)
    return { page, seen }
  }

  test('is read whole just under the bound of its bytes', async () => {
    const { page } = await read({ events: 2000, bytes: ANSWER_BYTES_MAX * 0.95 })
    expect(((await page) as Page).items).toHaveLength(2000)
    expect(((await page) as Page).next.kind).toBe('end')
  })

  test('is refused above the bound of its bytes, after one call', async () => {
    const { page, seen } = await read({ events: 2000, bytes: ANSWER_BYTES_MAX * 1.01 })
    expect((await googles.failureOf(page)).code).toBe('vendor/answer-too-large')
    expect(seen).toHaveLength(1)
  })

  test('is read whole at the bound of its items, and refused above it', async () => {
    const whole = await read({ events: PAGE_ITEMS_MAX })
    expect(((await whole.page) as Page).items).toHaveLength(PAGE_ITEMS_MAX)
    const { page } = await read({ events: PAGE_ITEMS_MAX + 1 })
    expect((await googles.failureOf(page)).code).toBe('vendor/answer-too-large')
  })

  test.each([300_000, 1_000_000])('of %i removals is refused', async (events) => {
    const removals = `[${'{"id":"r","status":"cancelled","@removed":{}},'.repeat(events).slice(0, -1)}]`
    const body = `{"items":${removals},"value":${removals},"nextSyncToken":"s","@odata.deltaLink":"x"}`
    const { vendor } = await (_name === 'google' ? googles.google : microsofts.microsoft)((response) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(body),
    )
    const failure = await googles.failureOf(vendor.fetchPage('token', request, signal))
    expect(failure.code).toBe('vendor/answer-too-large')
  })

  test('is asked for with a tenth of its items each time it was too large', async () => {
    for (let shrunk = 0; shrunk <= PAGE_SHRINKS_MAX; shrunk += 1) {
      const { page, seen } = await read({ events: 1 }, { shrunk })
      await page
      expect(seen.map(askedFor)).toEqual([Math.max(1, usual / 10 ** shrunk)])
    }
  })

  test('of calendars is bounded like one of events', async () => {
    const rows = Array.from({ length: PAGE_ITEMS_MAX + 1 }, (_, i) => ({ id: `c${i}` }))
    const { vendor } = await (_name === 'google' ? googles.google : microsofts.microsoft)(
      googles.json({ items: rows, value: rows }),
    )
    expect((await googles.failureOf(vendor.listCalendars('t', signal))).code).toBe('vendor/answer-too-large')
  })
})

test('the occurrences of a series are bounded over all of their pages', async () => {
  const rows = Array.from({ length: PAGE_ITEMS_MAX / 2 + 1 }, (_, i) => microsofts.occurrence('s', i))
  const { vendor } = await microsofts.microsoft((response, seen) => {
    const answer = seen.url.pathname.endsWith('/instances')
      ? googles.json({
          value: rows,
          '@odata.nextLink': `http://${String(seen.headers['host'])}${seen.url.pathname}?page=${Math.random()}`,
        })
      : microsofts.page([microsofts.master('s')])
    answer(response, seen)
  })
  expect((await googles.failureOf(microsofts.readAll(vendor))).code).toBe('vendor/answer-too-large')
})
