// What every vendor adapter promises about reading: each change once, whatever the pages look like
// and whenever it breaks off.
import { expect, test } from 'vitest'
import { isOutside } from '#shared/domain/window.ts'
import {
  dayFromNow,
  describeItems,
  etagOf,
  eventsOf,
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
    const ids = eventsOf(items).map(idOf)
    expect(new Set(ids).size).toBe(ids.length)
    expect(new Map(eventsOf(items).map((item) => [idOf(item), etagOf(item)]))).toEqual(
      await world().truth(account),
    )
  })

  test('the changes since a cursor bring what was created, changed and removed, each once, and nothing else', async () => {
    const account = await world().account({ events: 30 })
    const { cursor, items } = await readOn(world().vendor, account, null)
    const nothing = await readOn(world().vendor, account, cursor)
    expect(eventsOf(nothing.items)).toEqual([])
    const [changed, removed] = singlesOf(items)
    const created = await world().create(account, { title: 'new' })
    await world().change(account, changed!, { title: 'changed' })
    await world().change(account, changed!, { title: 'changed again' })
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
    // Which events a page holds is the vendor's to choose:
    // pages are read until two single events are among them.
    let last = await onePage(world().vendor, account, null, null)
    const seen = [...last.items]
    while (singlesOf(seen).length < 2) {
      last = await onePage(world().vendor, account, null, tokenOf(last))
      seen.push(...last.items)
    }
    const [changed, removed] = singlesOf(seen)
    const created = await world().create(account)
    await world().change(account, changed!, { title: 'changed meanwhile' })
    await world().remove(account, removed!)
    const rest = await readOn(world().vendor, account, null, last)
    const increment = await readOn(world().vendor, account, rest.cursor)
    const held = fold([...seen, ...rest.items, ...increment.items])
    expect(held).toEqual(await world().truth(account))
    expect(held.has(created)).toBe(true)
    expect(held.has(removed!)).toBe(false)
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
    expect(eventsOf(one.items)).toHaveLength(1)
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

  test('a series comes as its occurrences, which name it; one that is cancelled is gone', async () => {
    const account = await world().account({ events: 0 })
    const ids = await world().createSeries(account, 5)
    const { items, cursor } = await readOn(world().vendor, account, null)
    expect(eventsOf(items).map(idOf).toSorted()).toEqual(ids.toSorted())
    const series = new Set(
      eventsOf(items).map((item) => (item.kind === 'event' ? item.event.seriesId : null)),
    )
    expect(series.size).toBe(1)
    expect(series.has(null)).toBe(false)
    await world().remove(account, ids[2]!)
    const increment = await readOn(world().vendor, account, cursor)
    expect([...fold([...items, ...increment.items]).keys()].toSorted()).toEqual(
      ids.toSpliced(2, 1).toSorted(),
    )
  })

  test('a single that becomes a series is its occurrences from then on, and a change of the series alone reaches them', async () => {
    const account = await world().account({ events: 3 })
    const single = await world().create(account, { title: 'once' })
    const { items, cursor } = await readOn(world().vendor, account, null)
    const ids = await world().makeSeries(account, single, 4)
    expect(ids).toHaveLength(4)
    const became = await readOn(world().vendor, account, cursor)
    const held = fold([...items, ...became.items])
    // A reader drops the single by the series that the occurrences name:
    // its row and theirs have one id in common.
    held.delete(single)
    expect(held).toEqual(await world().truth(account))

    await world().change(account, single, { title: 'renamed' })
    const renamed = await readOn(world().vendor, account, became.cursor)
    const titles = renamed.items.flatMap((item) => (item.kind === 'event' ? [item.event.title] : []))
    expect(titles).toEqual(Array.from({ length: 4 }, () => 'renamed'))

    await world().remove(account, single)
    const gone = await readOn(world().vendor, account, renamed.cursor)
    const left = fold([...items, ...became.items, ...renamed.items, ...gone.items])
    left.delete(single)
    expect(left).toEqual(await world().truth(account))
  })

  test('an event that leaves the window is told with its times or as removed, and comes back', async () => {
    const account = await world().account({ events: 0 })
    const id = await world().create(account, { title: 'far' })
    const { cursor } = await readOn(world().vendor, account, null)
    const inTwoYears = Date.now() + 730 * 86_400_000
    await world().change(account, id, { at: inTwoYears })
    const away = await readOn(world().vendor, account, cursor)
    const told = eventsOf(away.items).filter((item) => idOf(item) === id)
    expect(told).toHaveLength(1)
    expect(told[0]?.kind === 'removed' || isOutside(told[0]!.event, WINDOW)).toBe(true)
    await world().change(account, id, { at: Date.now() + 86_400_000 })
    const back = await readOn(world().vendor, account, away.cursor)
    expect(back.items.find((item) => idOf(item) === id)).toMatchObject({ kind: 'event' })
  })

  test('an event that is asked for by its id is there, or gone when it was removed, never was, or left the window', async () => {
    const account = await world().account({ events: 20 })
    const { items } = await readOn(world().vendor, account, null)
    const [kept, removed] = singlesOf(items)
    const away = await world().create(account, { title: 'away' })
    await world().remove(account, removed!)
    await world().change(account, away, { at: Date.now() + 900 * 86_400_000 })
    const [vendorCalendarId] = account.calendars
    const asked = (vendorEventId: string) => {
      const request = { vendorCalendarId: vendorCalendarId!, vendorEventId, window: WINDOW }
      return world().vendor.lookUp(account.accessToken, request, signal)
    }
    const occurrence = eventsOf(items).find((item) => item.kind === 'event' && item.event.seriesId !== null)
    expect(await asked(kept!)).toBe('there')
    expect(await asked(idOf(occurrence!))).toBe('there')
    expect(await asked(removed!)).toBe('gone')
    expect(await asked(`${kept!.slice(0, -4)}0000`)).toBe('gone')
    expect(await asked(away)).toBe('gone')
  })

  test('an event that was made outside of the window is never held', async () => {
    const account = await world().account({ events: 1 })
    const { items, cursor } = await readOn(world().vendor, account, null)
    await world().create(account, { at: Date.now() + 730 * 86_400_000 })
    const increment = await readOn(world().vendor, account, cursor)
    expect(fold([...items, ...increment.items])).toEqual(await world().truth(account))
  })

  test('reads 10 000 events, each once', { timeout: 600_000 }, async () => {
    await world().smallPages(2500, false)
    const account = await world().account({ events: 10_000 })
    const { items } = await readOn(world().vendor, account, null)
    const ids = eventsOf(items).map(idOf)
    expect(new Set(ids).size).toBe(ids.length)
    expect(fold(items)).toEqual(await world().truth(account))
  })
}
