// What every vendor adapter promises about reading: each change once, whatever the pages look like and whenever it breaks off.
import { expect, test } from 'vitest'
import {
  dayFromNow,
  describeItems,
  etagOf,
  fold,
  idOf,
  onePage,
  readOn,
  signal,
  singlesOf,
  tokenOf,
  WINDOW,
  type VendorWorld,
} from '../support/vendor-world.ts'

/** Declares the tests of reading for one vendor. */
export function declareReading(world: () => VendorWorld): void {
  test('lists every calendar of the account once, one of them primary', async () => {
    const account = await world().account({ events: 1, calendars: 3 })
    const calendars = await world().vendor.listCalendars(account.accessToken, signal)
    expect(calendars.map(({ vendorCalendarId }) => vendorCalendarId).toSorted()).toEqual(
      account.calendars.toSorted(),
    )
    expect(calendars.filter(({ primary }) => primary)).toHaveLength(1)
  })

  test('a full read brings every event once over short and empty pages, and ends with a cursor', async () => {
    await world().smallPages(7, true)
    const account = await world().account({ events: 60 })
    const { pages, items } = await readOn(world().vendor, account, null)
    expect(pages.length).toBeGreaterThan(8)
    const ids = items.map(idOf)
    expect(new Set(ids).size).toBe(ids.length)
    expect(new Map(items.map((item) => [idOf(item), etagOf(item)]))).toEqual(await world().truth(account))
  })

  test('the changes since a cursor bring what was created, changed and removed, each once, and nothing else', async () => {
    const account = await world().account({ events: 30 })
    const { cursor, items } = await readOn(world().vendor, account, null)
    const nothing = await readOn(world().vendor, account, cursor)
    expect(nothing.items).toEqual([])
    const [changed, removed] = singlesOf(items)
    const created = await world().create(account, { title: 'new' })
    await world().change(account, changed!, 'changed')
    await world().change(account, changed!, 'changed again')
    await world().remove(account, removed!)
    const increment = await readOn(world().vendor, account, nothing.cursor)
    expect(describeItems(increment.items)).toEqual(
      describeItems([]).concat(
        [`event ${created} new`, `event ${changed} changed again`, `removed ${removed}`].toSorted(),
      ),
    )
  })

  test('a change made while somebody pages is in the next increment at the latest, never lost', async () => {
    await world().smallPages(5, false)
    const account = await world().account({ events: 40 })
    const first = await onePage(world().vendor, account, null, null)
    const victims = singlesOf(first.items)
    const created = await world().create(account)
    await world().change(account, victims[0]!, 'changed meanwhile')
    await world().remove(account, victims[1]!)
    const rest = await readOn(world().vendor, account, null, first)
    const increment = await readOn(world().vendor, account, rest.cursor)
    const held = fold([...first.items, ...rest.items, ...increment.items])
    expect(held).toEqual(await world().truth(account))
    expect(held.has(created)).toBe(true)
    expect(held.has(victims[1]!)).toBe(false)
  })

  test('a run goes on from a stored page token, in a new process, as if nothing had happened', async () => {
    await world().smallPages(5, false)
    const account = await world().account({ events: 40 })
    const { vendor } = world()
    const first = await onePage(vendor, account, null, null)
    const second = await onePage(vendor, account, null, tokenOf(first))
    // The crash: the second page was read but not kept. The first page's token is all there is.
    const resumed = await readOn(vendor, account, null, first)
    expect(resumed.items.map(idOf)).toEqual(expect.arrayContaining(second.items.map(idOf)))
    expect(fold([...first.items, ...resumed.items])).toEqual(await world().truth(account))
  })

  test('the same cursor may be read twice and tells the same', async () => {
    const account = await world().account({ events: 10 })
    const { cursor } = await readOn(world().vendor, account, null)
    await world().create(account, { title: 'once' })
    const one = await readOn(world().vendor, account, cursor)
    const two = await readOn(world().vendor, account, cursor)
    expect(describeItems(two.items)).toEqual(describeItems(one.items))
    expect(one.items).toHaveLength(1)
  })

  test('a discarded cursor is a value, and a full read after it is whole', async () => {
    const account = await world().account({ events: 20 })
    const { cursor } = await readOn(world().vendor, account, null)
    await world().expireCursors(account)
    const request = { vendorCalendarId: account.calendar, cursor, pageToken: null, window: WINDOW }
    expect(await world().vendor.fetchPage(account.accessToken, request, signal)).toEqual({
      kind: 'cursor-expired',
    })
    const again = await readOn(world().vendor, account, null)
    expect(fold(again.items)).toEqual(await world().truth(account))
  })

  test('a cursor that the vendor never gave is discarded like an old one', async () => {
    const account = await world().account({ events: 1 })
    const request = { vendorCalendarId: account.calendar, cursor: 'made-up', pageToken: null, window: WINDOW }
    expect(await world().vendor.fetchPage(account.accessToken, request, signal)).toEqual({
      kind: 'cursor-expired',
    })
  })

  test('an event of whole days is dates, its end the day after the last', async () => {
    const account = await world().account({ events: 0 })
    const [start, end] = [dayFromNow(10), dayFromNow(13)]
    const id = await world().create(account, { title: 'holiday', allDay: { start, end } })
    const { items } = await readOn(world().vendor, account, null)
    const found = items.find((item) => idOf(item) === id)
    expect(found).toMatchObject({
      kind: 'event',
      event: { allDay: true, start: { at: null, date: start }, end: { at: null, date: end } },
    })
  })

  test('a series comes as its occurrences, which name it; one cancelled occurrence is one removal', async () => {
    const account = await world().account({ events: 0 })
    const ids = await world().createSeries(account, 5)
    const { items, cursor } = await readOn(world().vendor, account, null)
    expect(items.map(idOf).toSorted()).toEqual(ids.toSorted())
    const series = new Set(items.map((item) => (item.kind === 'event' ? item.event.seriesId : null)))
    expect(series.size).toBe(1)
    expect(series.has(null)).toBe(false)
    await world().remove(account, ids[2]!)
    const increment = await readOn(world().vendor, account, cursor)
    expect(increment.items.filter(({ kind }) => kind === 'removed').map(idOf)).toEqual([ids[2]])
  })
}
