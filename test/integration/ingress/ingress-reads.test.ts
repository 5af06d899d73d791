// What an app reads of its connections, on real Postgres:
// states that are true, times of one form, filters, events.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { EVENTS_PAGE, eventsPageValues } from '#shared/store/events-read.ts'
import { connectionId, calendarId } from '#shared/domain/ids.ts'
import { holdCalendar, holdEvent, holdIll, holdMany } from '../../support/held-rows.ts'
import { openIngressWorld, type IngressWorld } from '../../support/ingress-world.ts'
import { NOT_ALLOWED, UNKNOWN } from '../../support/literal-ingress.ts'
import { nameless } from '../../support/nameless.ts'
import { wrongAnswer } from '../../support/openapi.ts'

const CONNECTIONS = '/api/calendar/connections'

let world: IngressWorld

beforeAll(async () => {
  world = await openIngressWorld('ingress_reads')
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(() => {
  world.said.sync = () => ({ state: 'on' })
})

const look: IngressWorld['look'] = (sql, values) => world.look(sql, values)

async function get(
  provider: string,
  route: string,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const answer = await world.api('GET', route, { provider })
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

describe('a connection', () => {
  test('of which a calendar cannot be read names it, since when, why and the next try; its sibling is in sync', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    await holdIll(look, held.connection, 'Team\n\u202Ecalendar')
    const { body } = await get(provider, `${CONNECTIONS}/${held.connection}`)
    const time = expect.stringMatching(/^\d{4}-.*Z$/) as string
    const why = {
      since: time,
      code: 'vendor/unavailable',
      message: 'Google answered 500 x.',
      next_try_at: time,
    }
    expect(body).toMatchObject({
      state: 'partly_in_sync',
      summary: expect.stringMatching(
        /"Team calendar" cannot be read since \d{4}-.*: Google answered 500 x\.$/,
      ),
      last_error: null,
      failing_calendar_count: 1,
      failing_calendars: [why],
    })
    const calendars = body['calendars'] as { state: string; failing: unknown }[]
    expect(calendars.find(({ state }) => state === 'failing')?.failing).toEqual(why)
    expect(calendars.find(({ state }) => state === 'in_sync')?.failing).toBeNull()
    const listed = await get(provider, `${CONNECTIONS}?state=partly_in_sync`)
    expect(listed.body['connections']).toHaveLength(1)
    // Busy times of the other calendar are as good as ever.
    const span = `from=${new Date().toISOString()}&to=${new Date(Date.now() + 3_600_000).toISOString()}`
    const busy = await get(provider, `/api/calendar/busy?${span}`)
    const stale = busy.body['calendars'] as { stale: boolean; stale_because: { code: string }[] }[]
    expect(
      stale.map((one) => one.stale_because.map(({ code }) => code)).toSorted((a, b) => a.length - b.length),
    ).toEqual([[], ['not_read_lately', 'failing']])
  })

  test('that was disconnected waits for nothing, and so do its calendars', async () => {
    const provider = randomUUID()
    const { connection } = await holdCalendar(look, { provider })
    const waits = async () => {
      const { body } = await get(provider, `${CONNECTIONS}/${connection}`)
      return [body['waits_for_gate'], (body['calendars'] as { state: string }[])[0]?.state]
    }
    await look(`insert into held_requests (connection_id, gate) values ($1, 'CALENDAR_SYNC_ENABLED')`, [
      connection,
    ])
    expect(await waits()).toEqual([true, 'stale'])
    expect((await world.api('DELETE', `${CONNECTIONS}/${connection}`, { provider })).status).toBe(204)
    expect(await waits()).toEqual([false, 'disconnected'])
  })

  test('is not said to be in sync while nobody knows whether it may be', async () => {
    const provider = randomUUID()
    const { connection } = await holdCalendar(look, { provider })
    world.said.sync = () => UNKNOWN
    const { body } = await get(provider, `${CONNECTIONS}/${connection}`)
    expect([body['state'], (body['calendars'] as { state: string }[])[0]?.state]).toEqual([
      'unknown',
      'stale',
    ])
    const list = await get(provider, CONNECTIONS)
    expect(list.body['connections']).toEqual([expect.objectContaining({ state: 'unknown' })])
  })

  test.each([
    '2026-11-29T17:51:57.997777+00:00',
    '2026-11-29T18:51:57.997777+01:00',
    '2026-11-29T17:51:57.997Z',
  ])('tells the time of its last error as every other time, however it is stored: %s', async (at) => {
    const provider = randomUUID()
    const { connection } = await holdCalendar(look, { provider })
    const error = JSON.stringify({ code: 'vendor/unavailable', message: 'Down.', at, attempt: 1 })
    await look('update external_calendar_connections set last_error = $2 where id = $1', [connection, error])
    const { body } = await get(provider, `${CONNECTIONS}/${connection}`)
    expect(body['last_error']).toEqual({
      code: 'vendor/unavailable',
      message: 'Down.',
      at: '2026-11-29T17:51:57.997Z',
      failures: 0,
      vendor_number: null,
    })
  })
})

describe('the list', () => {
  test('holds what its filters say, of every page, and refuses values that there are not', async () => {
    const provider = randomUUID()
    const [well, parked, late] = await Promise.all(
      [{}, {}, { vendor: 'microsoft' }].map((options) => holdCalendar(look, { provider, ...options })),
    )
    await look(`update external_calendar_connections set status = 'needs_reauth' where id = $1`, [
      parked?.connection,
    ])
    await look(
      `update external_calendar_connections set last_synced_at = calstream_now() - interval '1 hour' where id = $1`,
      [late?.connection],
    )
    const ids = async (query: string) => {
      const { status, body } = await get(provider, `${CONNECTIONS}?${query}`)
      expect(status, query).toBe(200)
      return (body['connections'] as { id: string }[]).map(({ id }) => id)
    }
    expect(await ids('state=in_sync')).toEqual([well?.connection])
    expect(await ids('state=needs_reauth')).toEqual([parked?.connection])
    expect(await ids('status=needs_reauth')).toEqual([parked?.connection])
    expect(await ids('state=late&vendor=microsoft')).toEqual([late?.connection])
    expect(await ids('state=late&vendor=google')).toEqual([])
    expect(new Set(await ids('status=active'))).toEqual(new Set([well?.connection, late?.connection]))
    expect(await ids('status=active&state=needs_reauth')).toEqual([])
    world.said.sync = () => UNKNOWN
    expect(await ids('state=in_sync')).toEqual([])
    expect(new Set(await ids('state=unknown'))).toEqual(new Set([well?.connection, late?.connection]))
    for (const [query, word] of [
      ['state=fine', 'in_sync'],
      ['status=paused', 'needs_reauth'],
      ['vendor=yahoo', 'google'],
      ['needs_reauth', 'state'],
    ]) {
      const { status, body } = await get(provider, `${CONNECTIONS}?${query}`)
      expect([status, body['detail']], query).toEqual([400, expect.stringContaining(word ?? '')])
    }
  })

  test('by state finds each once, page by page, however far apart they lie', async () => {
    const provider = randomUUID()
    await look(
      `insert into external_calendar_connections (provider_id, vendor, vendor_account_id, status, last_synced_at)
       select $1, 'google', n::text, 'active', calstream_now() - case when n % 400 = 0 then interval '1 hour' else interval '1 minute' end
         from generate_series(1, 2800) n`,
      [provider],
    )
    const seen: string[] = []
    let pages = 0
    let after: string | null = null
    do {
      const next = after === null ? '' : `&after=${String(after)}`
      const { body } = await get(provider, `${CONNECTIONS}?state=late&limit=3${next}`)
      seen.push(...(body['connections'] as { id: string }[]).map(({ id }) => id))
      after = body['next_after'] as string | null
      pages += 1
    } while (after !== null)
    expect([seen.length, new Set(seen).size]).toEqual([7, 7])
    expect(pages).toBeLessThan(8)
  })
})

/** An instant in the days that are kept: `day` days from now, at an hour of UTC. */
function at(day: number, time: string): string {
  return `${new Date(Date.now() + day * 86_400_000).toISOString().slice(0, 10)}T${time}:00.000Z`
}

interface EventsPage {
  readonly events: readonly { readonly id: string; readonly [field: string]: unknown }[]
  readonly next_after: string | null
  readonly stale: boolean
  readonly stale_because: readonly { readonly code: string }[]
  readonly calendars: readonly {
    readonly id: string
    readonly stale_because: readonly { readonly code: string }[]
  }[]
}

describe('the events of a connection', () => {
  const ask = async (provider: string, connection: string, query: Record<string, string>) => {
    const answer = await world.api(
      'GET',
      `${CONNECTIONS}/${connection}/events?${new URLSearchParams(query).toString()}`,
      { provider },
    )
    return { status: answer.status, text: nameless(await answer.text()) }
  }
  const page = async (
    provider: string,
    connection: string,
    query: Record<string, string>,
  ): Promise<EventsPage> => {
    const { status, text } = await ask(provider, connection, query)
    expect(status, text).toBe(200)
    const body = JSON.parse(text) as EventsPage
    expect(wrongAnswer('GET /api/calendar/connections/{id}/events', '200', body)).toBeNull()
    return body
  }

  test('come with every field that is held, timed and all-day, and only those that touch the span', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    const { connection } = held
    await holdEvent(look, held, { start: at(1, '08:00'), end: at(2, '00:00') })
    const over = await holdEvent(look, held, { start: at(1, '08:00'), end: at(2, '00:01') })
    const days = await holdEvent(look, held, {
      start: at(2, '00:00').slice(0, 10),
      end: at(3, '00:00').slice(0, 10),
    })
    const instant = await holdEvent(look, held, { start: at(2, '06:00'), end: at(2, '06:00') })
    const last = await holdEvent(look, held, {
      start: at(2, '23:59'),
      end: at(3, '08:00'),
      busy: false,
      status: 'tentative',
    })
    await holdEvent(look, held, { start: at(3, '00:00'), end: at(3, '08:00') })
    // In Berlin it is over before the span begins; in a zone far in the west it would not be.
    await holdEvent(look, held, { start: at(1, '00:00').slice(0, 10), end: at(2, '00:00').slice(0, 10) })
    await look(
      `update external_calendar_events set title = 'Budget', location = 'Room 2', organizer = 'ada@example.com', series_id = 's1',
         original_start_at = start_at, vendor_updated_at = '2026-05-01T12:30:15.5Z', etag = '"7"', time_zone = 'Europe/Berlin'
       where event_id = $1`,
      [last],
    )
    const { events, next_after, stale, calendars } = await page(provider, connection, {
      from: at(2, '00:00'),
      to: at(3, '00:00'),
    })
    expect(events.map(({ id }) => id)).toEqual([over, days, instant, last])
    expect([next_after, stale]).toEqual([null, false])
    expect(calendars).toEqual([expect.objectContaining({ id: held.calendar, stale_because: [] })])
    expect(events[1]).toMatchObject({
      all_day: true,
      start: { at: null, date: at(2, '00:00').slice(0, 10) },
      end: { at: null, date: at(3, '00:00').slice(0, 10) },
      title: null,
    })
    expect(events[3]).toMatchObject({
      calendar_id: held.calendar,
      title: 'Budget',
      status: 'tentative',
      busy: false,
      all_day: false,
      start: { at: at(2, '23:59'), date: null },
      end: { at: at(3, '08:00'), date: null },
      time_zone: 'Europe/Berlin',
      series_id: 's1',
      original_start: { at: at(2, '23:59'), date: null },
      location: 'Room 2',
      organizer: 'ada@example.com',
      vendor_updated_at: '2026-05-01T12:30:15.500Z',
      etag: '"7"',
      sequence: 1,
    })
  })

  test('come in pages that hold each once and in order, also where many begin at once and some go in between', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    const ids: string[] = []
    for (let i = 0; i < 5; i += 1) {
      ids.push(await holdEvent(look, held, { start: at(2, '00:00'), end: at(2, '01:00') }))
      ids.push(
        await holdEvent(look, held, { start: at(2, '00:00').slice(0, 10), end: at(3, '00:00').slice(0, 10) }),
      )
    }
    const later = await holdEvent(look, held, { start: at(2, '09:00'), end: at(2, '10:00') })
    const span = { from: at(2, '00:00'), to: at(3, '00:00'), limit: '3' }
    const seen: string[] = []
    let after: string | null = null
    do {
      const got: EventsPage = await page(
        provider,
        held.connection,
        after === null ? span : { ...span, after },
      )
      seen.push(...got.events.map(({ id }) => id))
      // Whoever reads on is not thrown off by what was read already and goes away.
      await look('delete from external_calendar_events where event_id = $1', [got.events[0]?.id])
      after = got.next_after
    } while (after !== null)
    expect(seen).toEqual([...ids.toSorted((a, b) => (a < b ? -1 : 1)), later])
  })

  test('of one calendar, and of what is not synced, are told with what backs them', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    const other = await holdCalendar(look, { provider, connection: held.connection, name: 'Home' })
    const span = { from: at(2, '00:00'), to: at(3, '00:00') }
    await holdEvent(look, held, { start: at(2, '09:00'), end: at(2, '10:00') })
    const mine = await holdEvent(look, other, { start: at(2, '09:00'), end: at(2, '10:00') })
    const why = async (query: Record<string, string> = {}) => {
      const got = await page(provider, held.connection, { ...span, ...query })
      const codes = [...got.stale_because, ...got.calendars.flatMap((one) => one.stale_because)]
      return [got.events.length, got.stale, codes.map(({ code }) => code)]
    }
    const only = await page(provider, held.connection, { ...span, calendar_id: other.calendar })
    expect([only.events.map(({ id }) => id), only.calendars.map(({ id }) => id)]).toEqual([
      [mine],
      [other.calendar],
    ])
    expect(await why()).toEqual([2, false, []])
    expect(await why({ from: at(-40, '00:00') })).toEqual([
      2,
      true,
      ['outside_of_window', 'outside_of_window'],
    ])
    world.said.sync = () => NOT_ALLOWED
    expect(await why()).toEqual([2, true, ['paused', 'paused']])
    world.said.sync = () => ({ state: 'on' })
    await look('update external_calendars set selected = false where id = $1', [held.calendar])
    expect(await why()).toEqual([1, false, []])
    expect(await why({ calendar_id: held.calendar })).toEqual([0, true, ['no_calendar_selected']])
    await look('update external_calendars set selected = false where id = $1', [other.calendar])
    expect(await why()).toEqual([0, true, ['no_calendar_selected']])
    await look(`update external_calendar_connections set status = 'disconnected' where id = $1`, [
      held.connection,
    ])
    expect(await why()).toEqual([0, true, ['disconnected']])
  })

  test("of another provider's connection are as unknown as those of one that never was; odd questions are refused", async () => {
    const [owner, stranger] = [randomUUID(), randomUUID()]
    const held = await holdCalendar(look, { provider: owner })
    const span = { from: at(2, '00:00'), to: at(3, '00:00') }
    const unknown = await ask(stranger, randomUUID(), span)
    expect(unknown.status).toBe(404)
    expect(await ask(stranger, held.connection, span)).toEqual(unknown)
    expect(await ask(stranger, 'not-a-uuid', span)).toEqual(unknown)
    expect((await ask(owner, held.connection, span)).status).toBe(200)
    const foreign = await holdCalendar(look, { provider: stranger })
    const noCalendar = await ask(owner, held.connection, { ...span, calendar_id: randomUUID() })
    expect(noCalendar.status).toBe(404)
    for (const calendar_id of [foreign.calendar, 'x'])
      expect(await ask(owner, held.connection, { ...span, calendar_id })).toEqual(noCalendar)
    for (const odd of [
      { from: '2026-05-04' },
      { to: at(2, '00:00') },
      { to: at(500, '00:00') },
      { limit: '0' },
      { limit: '501' },
      { after: 'x' },
      { after: '1_x' },
      { after: `${'9'.repeat(18)}_${randomUUID()}` },
      { q: 'Budget' },
    ])
      expect((await ask(owner, held.connection, { ...span, ...odd })).status, JSON.stringify(odd)).toBe(400)
    const far = { ...span, after: `${'9'.repeat(17)}_${randomUUID()}` }
    expect((await page(owner, held.connection, far)).events).toEqual([])
    const early = { ...span, after: `-${'9'.repeat(17)}_${randomUUID()}` }
    expect((await ask(owner, held.connection, early)).status).toBe(200)
    for (const [from, to] of [
      ['0001-01-01T00:00:00Z', '0002-01-01T00:00:00Z'],
      ['9999-01-01T00:00:00Z', '9999-12-31T00:00:00Z'],
    ]) {
      const { events, stale } = await page(owner, held.connection, { from: from ?? '', to: to ?? '' })
      expect([events, stale]).toEqual([[], true])
    }
  })

  test('are found by an index, not by looking at every row', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    await holdMany(look, held, 9000)
    await look('analyze external_calendar_events')
    const values = eventsPageValues({
      connection: connectionId(held.connection),
      calendars: [calendarId(held.calendar)],
      from: Date.parse(at(30, '00:00')) * 1000,
      to: Date.parse(at(37, '00:00')) * 1000,
      after: null,
      limit: 501,
    })
    const plan = (await look<{ 'QUERY PLAN': string }>(`explain ${EVENTS_PAGE}`, values))
      .map((line) => line['QUERY PLAN'])
      .join('\n')
    expect(plan).toContain('events_busy')
    expect(plan).toContain('events_busy_dates')
    expect(plan).not.toContain('Seq Scan')
  })
})
