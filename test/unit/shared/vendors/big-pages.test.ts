// Pages as big as a vendor may send them: read while they stay under the cap of one answer, cut off beyond it, after one call.
import { describe, expect, test } from 'vitest'
import type { Page } from '#shared/vendors/vendor.ts'
import * as googles from '../../../support/answering-google.ts'
import * as microsofts from '../../../support/answering-microsoft.ts'

const EVENTS = 2000
const { signal } = googles

/** So much text beside each event that all of them come to this many MB. */
function filler(megabytes: number): string {
  return 'x'.repeat((megabytes * 1024 * 1024) / EVENTS)
}

const ids = Array.from({ length: EVENTS }, (_, i) => `e${i}`)

const VENDORS = {
  google: (megabytes: number) => {
    const items = ids.map((id) => ({ ...googles.EVENT, id, description: filler(megabytes) }))
    return { open: () => googles.google(googles.json({ items, nextSyncToken: 's' })), request: googles.FULL }
  },
  microsoft: (megabytes: number) => {
    const value = ids.map((id) => ({ ...microsofts.EVENT, id, body: { content: filler(megabytes) } }))
    return { open: () => microsofts.microsoft(microsofts.page(value)), request: microsofts.FULL }
  },
}

describe.each(Object.entries(VENDORS))('a page of %s', (_name, make) => {
  test('of 50 MB is read whole', async () => {
    const { open, request } = make(50)
    const { vendor } = await open()
    const page = (await vendor.fetchPage('token', request, signal)) as Page
    expect(page.items).toHaveLength(EVENTS)
    expect(page.next.kind).toBe('end')
  })

  test('of 70 MB is cut off', async () => {
    const { open, request } = make(70)
    const { vendor, seen } = await open()
    const failure = await googles.failureOf(vendor.fetchPage('token', request, signal))
    expect(failure.code).toBe('vendor/answer-too-large')
    expect(seen).toHaveLength(1)
  })
})
