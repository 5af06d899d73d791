// The simulated Microsoft's calendarView/delta against
// learn.microsoft.com/graph/delta-query-events, with the official Graph SDK as client:
// rounds, pages, links and their ends, what a delta tells of series and of what left
// the window, and how late.
import { describe, expect, test } from 'vitest'
import { at, type GraphWorld, hour, openGraph, refusal, refusedAs, type Row } from '../support/graph-sdk.ts'

const WINDOW = { startDateTime: at(-10).dateTime, endDateTime: at(60).dateTime }

function series(numberOfOccurrences: number) {
  const range = { type: 'numbered', numberOfOccurrences }
  return { ...hour(1), recurrence: { pattern: { type: 'daily', interval: 1 }, range } }
}

describe('a round', () => {
  test('gives singles whole, a series with bare occurrences, and later what changed, left the window or ended', async () => {
    await using world = await openGraph()
    const { graph } = world.mailbox
    const single = await world.mailbox.create({ subject: 'Single', ...hour(3) })
    const leaving = await world.mailbox.create({ subject: 'Leaving', ...hour(4) })
    const daily = await world.mailbox.create({ subject: 'Daily', ...series(3) })
    const { rows, link } = await world.mailbox.round()
    expect(rows.find(({ type }) => type === 'seriesMaster')).toMatchObject({ subject: 'Daily' })
    const bare = rows.filter(({ type }) => type === 'occurrence')
    expect(bare).toHaveLength(3)
    const names = ['@odata.etag', '@odata.type', 'end', 'id', 'seriesMasterId', 'start', 'type']
    for (const row of bare) expect(Object.keys(row).toSorted()).toEqual(names)
    expect(rows.find(({ subject }) => subject === 'Single')).toMatchObject({ type: 'singleInstance' })

    await graph.api(`/me/events/${single.id}`).delete()
    await graph.api(`/me/events/${leaving.id}`).patch(hour(90))
    const next = await world.mailbox.round(link)
    expect(next.rows).toHaveLength(2)
    for (const row of next.rows) expect(row['@removed']).toEqual({ reason: 'deleted' })
    expect((await world.mailbox.round(next.link)).rows).toEqual([])

    const { value } = await graph.api(`/me/events/${daily.id}/instances`).query(WINDOW).get()
    expect(value.map(({ subject }: Row) => subject)).toEqual(['Daily', 'Daily', 'Daily'])
  })

  test('tells of an event that never was in the window as removed', async () => {
    await using world = await openGraph()
    const { link } = await world.mailbox.round()
    await world.mailbox.create({ subject: 'Far', ...hour(90) })
    const { rows } = await world.mailbox.round(link)
    expect(rows.map((row) => row['@removed'])).toEqual([{ reason: 'deleted' }])
  })

  test('emits the whole series when it changes, and exceptions whole', async () => {
    await using world = await openGraph()
    const { graph } = world.mailbox
    const { id } = await world.mailbox.create({ subject: 'Daily', ...series(3) })
    const { value } = await graph.api(`/me/events/${id}/instances`).query(WINDOW).get()
    const { link } = await world.mailbox.round()
    await graph.api(`/me/events/${value[1].id}`).patch({ subject: 'Exception' })
    const one = await world.mailbox.round(link)
    expect(one.rows).toEqual([expect.objectContaining({ type: 'exception', subject: 'Exception' })])
    await graph.api(`/me/events/${id}`).patch({ subject: 'Renamed' })
    const all = await world.mailbox.round(one.link)
    const types = all.rows.map(({ type }) => String(type)).toSorted()
    expect(types).toEqual(['occurrence', 'occurrence', 'seriesMaster'])
  })

  test('has pages of the size that is preferred, may have empty ones, and shows the moment of its first page', async () => {
    await using world = await openGraph()
    await world.simulator.admin('POST', '/admin/paging', { shortPages: false, emptyPages: true })
    for (let no = 1; no <= 5; no += 1) await world.mailbox.create({ subject: `Event ${no}`, ...hour(no) })
    const page = (from: string) => world.mailbox.graph.api(from).header('Prefer', 'odata.maxpagesize=2').get()
    let answer = await world.mailbox.graph
      .api('/me/calendarView/delta')
      .query(WINDOW)
      .header('Prefer', 'odata.maxpagesize=2')
      .get()
    await world.mailbox.create({ subject: 'Meanwhile', ...hour(6) })
    const sizes: number[] = [answer.value.length]
    const subjects: string[] = answer.value.map(({ subject }: Row) => subject)
    while (answer['@odata.nextLink']) {
      answer = await page(world.mailbox.pathOf(answer['@odata.nextLink']))
      sizes.push(answer.value.length)
      subjects.push(...answer.value.map(({ subject }: Row) => subject))
    }
    expect(subjects.toSorted()).toEqual(['Event 1', 'Event 2', 'Event 3', 'Event 4', 'Event 5'])
    expect(sizes).toContain(0)
    expect(Math.max(...sizes)).toBe(2)
    const next = await world.mailbox.round(answer['@odata.deltaLink'])
    expect(next.rows.map(({ subject }) => subject)).toEqual(['Meanwhile'])
  })

  test('can be asked for again by an old link, in either form of the ids', async () => {
    await using world = await openGraph()
    const { link } = await world.mailbox.round()
    const made = await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    const [once, again] = [await world.mailbox.round(link), await world.mailbox.round(link)]
    expect(once.rows).toEqual(again.rows)
    const mutable = await world.mailbox.graph.api(world.mailbox.pathOf(link)).get()
    expect(mutable.value.map(({ id }: Row) => id)).toEqual([made.id])
    expect(once.rows.map(({ id }) => id)).toEqual([await world.mailbox.immutableId(made.id)])
  })

  test('may name the same item twice', async () => {
    await using world = await openGraph()
    await world.knobs({ repeatedItems: 1 })
    await world.mailbox.create({ subject: 'Twice', ...hour(3) })
    const { rows } = await world.mailbox.round()
    expect(rows.map(({ subject }) => subject)).toEqual(['Twice', 'Twice'])
  })
})

describe('what a delta refuses', () => {
  test.each(['$select', '$filter', '$expand', '$orderby', '$search', '$top'])('%s', async (name) => {
    await using world = await openGraph()
    const asked = world.mailbox.graph.api('/me/calendarView/delta').query({ ...WINDOW, [name]: 'id' })
    expect(await refusedAs(asked.get())).toBe('400 ErrorInvalidUrlQuery')
  })

  test('no window, or one that ends before it begins', async () => {
    await using world = await openGraph()
    const delta = world.mailbox.graph.api('/me/calendarView/delta')
    expect(await refusedAs(delta.get())).toBe('400 ErrorInvalidParameter')
    const turned = { startDateTime: WINDOW.endDateTime, endDateTime: WINDOW.startDateTime }
    expect(await refusedAs(delta.query(turned).get())).toBe('400 ErrorInvalidParameter')
  })
})

describe('a link that is no longer known', () => {
  test.each([
    ['SyncStateNotFound', '410 SyncStateNotFound'],
    ['syncStateNotFound', '410 syncStateNotFound'],
    ['resyncRequired', '410 resyncRequired'],
    ['bad-request', '400 SyncStateInvalid'],
    ['not-found', '404 SyncStateNotFound'],
  ])('is refused as %s: %s, and a new round begins from nothing', async (expiredDelta, expected) => {
    await using world = await openGraph()
    await world.knobs({ expiredDelta })
    const { graph, account } = world.mailbox
    await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    const { link } = await world.mailbox.round()
    expect((await world.mailbox.round(link)).rows).toEqual([])
    await world.simulator.admin('POST', '/admin/cursors/expire', { accountId: account.accountId })
    const { status, code, headers } = await refusal(graph.api(world.mailbox.pathOf(link)).get())
    expect(`${status} ${code}`).toBe(expected)
    if (expiredDelta === 'resyncRequired') {
      const location = new URL(headers.get('location') ?? '')
      expect([location.origin, location.searchParams.get('$deltatoken')]).toEqual([
        world.simulator.microsoftUrl,
        '',
      ])
      expect(location.pathname).toMatch(/\/calendarView\/delta$/)
    } else expect(headers.get('location')).toBeNull()
    expect((await world.mailbox.round()).rows).toHaveLength(1)
  })

  test('is also one of another calendar, of another person, or altered', async () => {
    await using world = await openGraph()
    const { link } = await world.mailbox.round()
    const other = await world.join()
    const path = world.mailbox.pathOf(link)
    expect(await refusedAs(other.graph.api(path).get())).toMatch(/^(?:404|410) /)
    const calendars = world.mailbox.account.calendars.map(({ id }) => encodeURIComponent(id))
    const elsewhere = path.replace(calendars[0] ?? '', calendars[1] ?? '')
    expect(await refusedAs(world.mailbox.graph.api(elsewhere).get())).toBe('410 SyncStateNotFound')
    const altered = path.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'))
    expect(await refusedAs(world.mailbox.graph.api(altered).get())).toBe('410 SyncStateNotFound')
  })
})

describe('between two pages', () => {
  async function firstPage(world: GraphWorld) {
    await world.simulator.admin('POST', '/admin/paging', { shortPages: false, emptyPages: false })
    for (let no = 1; no <= 4; no += 1) await world.mailbox.create({ subject: `Event ${no}`, ...hour(no) })
    const answer = await world.mailbox.graph
      .api('/me/calendarView/delta')
      .query(WINDOW)
      .header('Prefer', 'odata.maxpagesize=2')
      .get()
    return world.mailbox.graph.api(world.mailbox.pathOf(answer['@odata.nextLink']))
  }

  test('a calendar may be deleted', async () => {
    await using world = await openGraph()
    const { account } = world.mailbox
    const next = await firstPage(world)
    const path = `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(account.calendars[0]?.id ?? '')}`
    await world.simulator.admin('DELETE', path)
    expect(await refusedAs(next.get())).toBe('404 ErrorItemNotFound')
  })

  test('the grant may be revoked; where access is not evaluated continuously the token lives on', async () => {
    await using world = await openGraph()
    const next = await firstPage(world)
    await world.simulator.admin('POST', `/admin/accounts/${world.mailbox.account.accountId}/revoke`)
    expect(await refusedAs(next.get())).toBe('401 InvalidAuthenticationToken')
    await world.knobs({ accessOutlivesRevocation: true })
    expect((await next.get()).value).toHaveLength(2)
  })

  test('the access token may end', async () => {
    await using world = await openGraph({ clock: 'manual' })
    const next = await firstPage(world)
    await world.simulator.admin('POST', '/admin/clock', { advanceMs: 3_600_000 })
    expect(await refusedAs(next.get())).toBe('401 InvalidAuthenticationToken')
    const fresh = await world.again(world.mailbox)
    expect((await fresh.round()).rows).toHaveLength(4)
  })
})

describe('two places of Graph', () => {
  test('may tell of a change at different moments: by its id first', async () => {
    await using world = await openGraph({ clock: 'manual' })
    const { link } = await world.mailbox.round()
    await world.knobs({ deltaLagMs: 60_000 })
    const made = await world.mailbox.create({ subject: 'Late', ...hour(3) })
    expect(await world.mailbox.graph.api(`/me/events/${made.id}`).get()).toMatchObject({ subject: 'Late' })
    const early = await world.mailbox.round(link)
    expect(early.rows).toEqual([])
    await world.simulator.admin('POST', '/admin/clock', { advanceMs: 60_000 })
    const later = await world.mailbox.round(early.link)
    expect(later.rows.map(({ subject }) => subject)).toEqual(['Late'])
    expect((await world.mailbox.round(later.link)).rows).toEqual([])
  })

  test('or in the delta first, and then not by its id', async () => {
    await using world = await openGraph({ clock: 'manual' })
    const { link } = await world.mailbox.round()
    await world.knobs({ invisibleForMs: 60_000 })
    const made = await world.mailbox.create({ subject: 'Early', ...hour(3) })
    expect(made, 'a creation answers with its event').toMatchObject({ subject: 'Early' })
    expect((await world.mailbox.round(link)).rows).toHaveLength(1)
    const read = world.mailbox.graph.api(`/me/events/${made.id}`)
    expect(await refusedAs(read.get())).toBe('404 ErrorItemNotFound')
    await world.simulator.admin('POST', '/admin/clock', { advanceMs: 60_000 })
    expect(await read.get()).toMatchObject({ subject: 'Early' })
  })
})

describe('what Graph leaves open about series', () => {
  /** The rows after one occurrence was cancelled, or the whole series was. */
  async function after(knobs: object, what: 'occurrence' | 'series') {
    await using world = await openGraph()
    await world.knobs(knobs)
    const { id } = await world.mailbox.create({ subject: 'Daily', ...series(3) })
    const { value } = await world.mailbox.graph.api(`/me/events/${id}/instances`).query(WINDOW).get()
    const { link } = await world.mailbox.round()
    await world.mailbox.graph.api(`/me/events/${what === 'series' ? id : value[1].id}`).delete()
    const { rows } = await world.mailbox.round(link)
    return rows.map((row) => row.type ?? 'removed').toSorted()
  }

  test.each([
    ['series', ['occurrence', 'occurrence', 'seriesMaster']],
    ['removed', ['removed']],
    ['both', ['occurrence', 'occurrence', 'removed', 'seriesMaster']],
  ])('a cancelled occurrence shows as %s', async (cancelledOccurrences, expected) => {
    expect(await after({ cancelledOccurrences }, 'occurrence')).toEqual(expected)
  })

  test.each([
    [true, ['removed']],
    [false, ['removed', 'removed', 'removed', 'removed']],
  ])('with sparse tombstones %s a deleted series leaves %j', async (sparseTombstones, expected) => {
    expect(await after({ sparseTombstones }, 'series')).toEqual(expected)
  })
})
