// Busy times on real Postgres: merged over a provider's connections, cut to what was asked,
// and honest about their age.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { holdCalendar, holdEvent, holdMany, type StoredTimes } from '../../support/held-rows.ts'
import { NOT_ALLOWED, UNKNOWN } from '../../support/literal-ingress.ts'
import { nameless } from '../../support/nameless.ts'
import { openIngressWorld, type IngressWorld } from '../../support/ingress-world.ts'

let world: IngressWorld

beforeAll(async () => {
  world = await openIngressWorld('ingress_busy')
})
afterAll(() => world[Symbol.asyncDispose]())

const look: IngressWorld['look'] = (sql, values) => world.look(sql, values)

interface Busy {
  readonly busy: readonly { readonly start: string; readonly end: string }[]
  readonly stale: boolean
  readonly stale_because: readonly { readonly code: string; readonly connection_id: string | null }[]
  readonly calendars: readonly {
    readonly id: string
    readonly connection_id: string
    readonly last_synced_at: string | null
    readonly stale: boolean
    readonly stale_because: readonly { readonly code: string; readonly text: string }[]
    readonly notes: readonly { readonly code: string }[]
  }[]
}

/**
 * An instant in the days that are kept, far from their ends:
 * `day` days from now, at an hour of UTC.
 */
function at(day: number, time: string): string {
  const date = new Date(Date.now() + day * 86_400_000).toISOString().slice(0, 10)
  return `${date}T${time}:00.000Z`
}

function dateAt(day: number): string {
  return at(day, '00:00').slice(0, 10)
}

async function ask(provider: string, query: Record<string, string>): Promise<{ status: number; body: Busy }> {
  const answer = await world.api('GET', `/api/calendar/busy?${new URLSearchParams(query).toString()}`, {
    provider,
  })
  return { status: answer.status, body: JSON.parse(nameless(await answer.text())) as Busy }
}

async function busyOf(provider: string, from: string, to: string): Promise<string[]> {
  const { status, body } = await ask(provider, { from, to })
  expect(status, JSON.stringify(body)).toBe(200)
  return body.busy.map(({ start, end }) => `${start} ${end}`)
}

describe('busy times', () => {
  test('are merged over calendars and connections, cut to the span, and say nothing of other providers', async () => {
    const provider = randomUUID()
    const one = await holdCalendar(look, { provider })
    const two = await holdCalendar(look, { provider, vendor: 'microsoft' })
    const other = await holdCalendar(look, { provider: randomUUID() })
    const events: [typeof one, StoredTimes][] = [
      [one, { start: at(2, '08:00'), end: at(2, '10:00') }],
      [two, { start: at(2, '09:30'), end: at(2, '11:00') }],
      [one, { start: at(2, '11:00'), end: at(2, '11:30') }],
      [one, { start: at(2, '12:00'), end: at(2, '13:00'), status: 'tentative' }],
      [one, { start: at(2, '14:00'), end: at(2, '15:00'), busy: false }],
      [two, { start: at(2, '16:00'), end: at(2, '20:00') }],
      [two, { start: at(2, '15:30'), end: at(2, '15:30') }],
      [other, { start: at(2, '12:30'), end: at(2, '15:30') }],
    ]
    for (const [held, times] of events) await holdEvent(look, held, times)
    expect(await busyOf(provider, at(2, '09:00'), at(2, '17:00'))).toEqual([
      `${at(2, '09:00')} ${at(2, '11:30')}`,
      `${at(2, '12:00')} ${at(2, '13:00')}`,
      `${at(2, '16:00')} ${at(2, '17:00')}`,
    ])
    // Half-open: what ends or begins at an edge is outside.
    expect(await busyOf(provider, at(2, '13:00'), at(2, '16:00'))).toEqual([])
    const { body } = await ask(provider, {
      from: at(2, '09:00'),
      to: at(2, '17:00'),
      connection_id: one.connection,
    })
    expect(body.busy[0]).toEqual({ start: at(2, '09:00'), end: at(2, '10:00') })
    expect(body.calendars.map(({ id }) => id)).toEqual([one.calendar])
  })

  test("of all-day events are the days of the calendar's zone, else the event's, else that date everywhere", async () => {
    const cases = [
      ['America/New_York', null],
      [null, 'America/New_York'],
      [null, null],
      [null, 'Nowhere/Land'],
    ] as const
    const spans: { busy: Busy['busy']; notes: readonly string[] | undefined; stale: boolean }[] = []
    for (const [calendarZone, eventZone] of cases) {
      const provider = randomUUID()
      const held = await holdCalendar(look, { provider, zone: calendarZone })
      await holdEvent(look, held, { start: dateAt(10), end: dateAt(11), zone: eventZone })
      const { body } = await ask(provider, { from: at(8, '00:00'), to: at(13, '00:00') })
      spans.push({
        busy: body.busy,
        notes: body.calendars[0]?.notes.map(({ code }) => code),
        stale: body.stale,
      })
    }
    const hoursOf = ({ busy }: (typeof spans)[number]) =>
      (Date.parse(busy[0]?.end ?? '') - Date.parse(busy[0]?.start ?? '')) / 3_600_000
    expect(spans[0]).toEqual(spans[1])
    expect(spans[0]?.notes).toEqual([])
    // 04:00 or 05:00 UTC, by the season.
    expect(spans[0]?.busy[0]?.start).toMatch(new RegExp(`^${dateAt(10)}T0[45]:00`))
    expect(spans[2]?.busy).toEqual([{ start: at(9, '10:00'), end: at(11, '12:00') }])
    expect(spans[2]).toMatchObject({ notes: ['unknown_time_zone'], stale: false })
    expect(spans[3]).toEqual(spans[2])
    expect(hoursOf(spans[2]!)).toBe(50)
  })

  test('of all-day events that name UTC or nothing are the days of the zone of most timed events, before UTC', async () => {
    const hours = async (own: string | null, timed: readonly (string | null)[]) => {
      const provider = randomUUID()
      const held = await holdCalendar(look, { provider, zone: null, vendor: 'microsoft' })
      const other = await holdCalendar(look, { provider, zone: null, connection: held.connection })
      await holdEvent(look, held, { start: dateAt(10), end: dateAt(11), zone: own })
      for (const [i, zone] of timed.entries()) {
        const home = i % 2 === 0 ? held : other
        await holdEvent(look, home, { start: at(-5, '08:00'), end: at(-5, '08:30'), zone, busy: false })
      }
      const { body } = await ask(provider, { from: at(8, '00:00'), to: at(13, '00:00') })
      const day = body.calendars.find(({ id }) => id === held.calendar)
      return [body.busy, day?.notes.map(({ code }) => code)]
    }
    const tokyo = [[{ start: at(9, '15:00'), end: at(10, '15:00') }], []]
    for (const own of ['UTC', 'Etc/UTC', null, 'Nowhere/Land'])
      expect(
        await hours(own, ['Asia/Tokyo', 'Asia/Tokyo', 'Europe/Berlin', 'UTC', 'UTC', 'UTC', null]),
      ).toEqual(tokyo)
    expect(await hours('+09:00', ['Europe/Berlin'])).toEqual(tokyo)
    expect(await hours('Asia/Tokyo', ['Europe/Berlin'])).toEqual(tokyo)
    const utc = [[{ start: at(10, '00:00'), end: at(11, '00:00') }], []]
    expect(await hours('UTC', ['UTC', null, 'Nowhere/Land'])).toEqual(utc)
  })

  test('are judged as the vendor does, unless the question judges otherwise; declined is free whatever is asked', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider, zone: 'UTC' })
    const room = await holdCalendar(look, { provider, zone: 'UTC', connection: held.connection })
    await look(`update external_calendars set access_role = 'freeBusyReader' where id = $1`, [room.calendar])
    const rows: [string, Partial<StoredTimes>][] = [
      ['01', { showAs: 'tentative', response: 'needs_action' }],
      ['02', { showAs: 'out_of_office', kind: 'out_of_office' }],
      ['03', { showAs: 'busy', kind: 'focus_time' }],
      ['04', { showAs: 'working_elsewhere', busy: false }],
      ['05', { showAs: 'free', kind: 'working_location', busy: false }],
      ['06', { showAs: 'free', kind: 'focus_time', busy: false }],
      ['07', { showAs: 'tentative', response: 'declined', busy: false }],
      ['08', { showAs: 'busy', response: 'accepted' }],
      // Of before: nothing is known but busy.
      ['09', {}],
      ['10', { showAs: 'unknown' }],
    ]
    for (const [hour, more] of rows)
      await holdEvent(look, held, { start: at(2, `${hour}:00`), end: at(2, `${hour}:30`), ...more })
    await holdEvent(look, held, { start: dateAt(3), end: dateAt(4), showAs: 'out_of_office' })
    await holdEvent(look, room, { start: at(2, '11:00'), end: at(2, '11:30'), showAs: 'busy' })
    const under = async (policy: Record<string, string>) => {
      const { status, body } = await ask(provider, { from: at(2, '00:00'), to: at(4, '00:00'), ...policy })
      expect(status, JSON.stringify(body)).toBe(200)
      return body.busy.map(({ start }) => (start === at(3, '00:00') ? 'day' : start.slice(11, 13))).join(' ')
    }
    expect(await under({})).toBe('01 02 03 08 09 10 11 day')
    expect(await under({ tentative: 'free' })).toBe('02 03 08 09 10 11 day')
    expect(await under({ tentative: 'busy' })).toBe('01 02 03 08 09 10 11 day')
    expect(await under({ out_of_office: 'free' })).toBe('01 03 08 09 10 11')
    expect(await under({ focus_time: 'free' })).toBe('01 02 08 09 10 11 day')
    expect(await under({ focus_time: 'busy' })).toBe('01 02 03 08 09 10 11 day')
    expect(await under({ working_elsewhere: 'busy' })).toBe('01 02 03 04 05 08 09 10 11 day')
    expect(await under({ free_busy_only: 'free' })).toBe('01 02 03 08 09 10 day')
    expect(await under({ free_busy_only: 'busy' })).toBe('01 02 03 08 09 10 11 day')
    const all = { tentative: 'free', out_of_office: 'free', focus_time: 'free', free_busy_only: 'free' }
    expect(await under({ ...all, working_elsewhere: 'busy' })).toBe('04 05 08 09 10')
  })

  test('of a calendar that was taken out, or of a disconnected account, are not told', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    await holdEvent(look, held, { start: at(2, '09:00'), end: at(2, '10:00') })
    expect(await busyOf(provider, at(2, '00:00'), at(3, '00:00'))).toHaveLength(1)
    await look('update external_calendars set selected = false where id = $1', [held.calendar])
    expect(await busyOf(provider, at(2, '00:00'), at(3, '00:00'))).toEqual([])
    await look('update external_calendars set selected = true where id = $1', [held.calendar])
    await look(`update external_calendar_connections set status = 'disconnected' where id = $1`, [
      held.connection,
    ])
    const { body } = await ask(provider, { from: at(2, '00:00'), to: at(3, '00:00') })
    expect([body.busy, body.calendars]).toEqual([[], []])
  })

  test('of which nothing is held are never told as free: the answer is stale and says why', async () => {
    const provider = randomUUID()
    const span = { from: at(2, '00:00'), to: at(3, '00:00') }
    const why = async (connection_id?: string) => {
      const { body } = await ask(provider, connection_id === undefined ? span : { ...span, connection_id })
      return [body.stale, body.stale_because.map((reason) => [reason.code, reason.connection_id])]
    }
    expect(await why()).toEqual([true, [['no_connection', null]]])
    const one = await holdCalendar(look, { provider })
    expect(await why()).toEqual([false, []])
    await look('update external_calendars set selected = false where id = $1', [one.calendar])
    expect(await why()).toEqual([true, [['no_calendar_selected', one.connection]]])
    const two = await holdCalendar(look, { provider })
    expect(await why()).toEqual([true, [['no_calendar_selected', one.connection]]])
    expect(await why(two.connection)).toEqual([false, []])
    await look(`update external_calendar_connections set status = 'disconnected' where id = $1`, [
      one.connection,
    ])
    expect(await why()).toEqual([false, []])
    expect(await why(one.connection)).toEqual([true, [['disconnected', one.connection]]])
    await look(`update external_calendar_connections set status = 'disconnected' where id = $1`, [
      two.connection,
    ])
    expect(await why()).toEqual([true, [['disconnected', null]]])
  })

  test('of ten thousand events come as the few spans that they are', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    await holdMany(look, held, 10_000)
    expect(await busyOf(provider, at(2, '00:00'), at(60, '00:00'))).toEqual([
      `${at(2, '00:00')} ${at(60, '00:00')}`,
    ])
  })
})

describe('freshness', () => {
  test('of a calendar that was just read is said with its time', async () => {
    const provider = randomUUID()
    await holdCalendar(look, { provider })
    const { body } = await ask(provider, { from: at(0, '00:00'), to: at(2, '00:00') })
    expect(body.stale).toBe(false)
    const [calendar] = body.calendars
    expect(calendar).toMatchObject({ stale: false, stale_because: [] })
    const ageS = (Date.now() - Date.parse(calendar?.last_synced_at ?? '')) / 1000
    expect(ageS).toBeGreaterThan(50)
    expect(ageS).toBeLessThan(300)
  })

  test.each([
    ['never_read', 'update external_calendars set last_read_at = null where connection_id = $1'],
    [
      'not_read_lately',
      `update external_calendars set last_read_at = calstream_now() - interval '31 minutes' where connection_id = $1`,
    ],
    [
      'connection_not_active',
      `update external_calendar_connections set status = 'needs_reauth' where id = $1`,
    ],
    [
      'backing_off',
      `update external_calendar_connections set backoff_until = calstream_now() + interval '1 minute' where id = $1`,
    ],
    [
      'resting',
      `update external_calendars set resync_after = calstream_now() + interval '1 minute' where connection_id = $1`,
    ],
    ['older_rules', `update external_calendars set judged_by = '1' where connection_id = $1`],
  ])('a stale calendar is said to be stale: %s; the one beside it is not', async (code, statement) => {
    const provider = randomUUID()
    const stale = await holdCalendar(look, { provider })
    const fresh = await holdCalendar(look, { provider })
    await look(statement, [stale.connection])
    const { body } = await ask(provider, { from: at(0, '00:00'), to: at(2, '00:00') })
    expect(body.stale).toBe(true)
    const told = new Map(body.calendars.map((calendar) => [calendar.id, calendar]))
    expect(told.get(stale.calendar)?.stale_because.map((reason) => reason.code)).toEqual([code])
    expect(told.get(stale.calendar)?.stale).toBe(true)
    expect(told.get(fresh.calendar)?.stale).toBe(false)
  })

  test('is not claimed for a moment longer than the gates are open', async () => {
    const provider = randomUUID()
    await holdCalendar(look, { provider })
    const codes = async () => {
      const { body } = await ask(provider, { from: at(0, '00:00'), to: at(2, '00:00') })
      return [body.stale, body.calendars[0]?.stale_because.map(({ code }) => code)]
    }
    expect(await codes()).toEqual([false, []])
    try {
      world.said.sync = () => NOT_ALLOWED
      expect(await codes()).toEqual([true, ['paused']])
      world.said.sync = () => UNKNOWN
      expect(await codes()).toEqual([true, ['gates_unknown']])
    } finally {
      world.said.sync = () => ({ state: 'on' })
    }
  })

  test('a span that reaches beyond the events that are kept says so', async () => {
    const provider = randomUUID()
    await holdCalendar(look, { provider })
    const codes = async (from: string, to: string) =>
      (await ask(provider, { from, to })).body.calendars[0]?.stale_because.map(({ code }) => code)
    expect(await codes(at(-29, '00:00'), at(-5, '00:00'))).toEqual([])
    expect(await codes(at(-40, '00:00'), at(-5, '00:00'))).toEqual(['outside_of_window'])
    expect(await codes(at(340, '00:00'), at(380, '00:00'))).toEqual(['outside_of_window'])
  })
})

describe('a question', () => {
  const SPAN = { from: '2026-05-04T00:00:00Z', to: '2026-05-05T00:00:00Z' }
  test.each([
    ['without a span', {}],
    ['with a day instead of an instant', { from: '2026-05-04', to: '2026-05-05' }],
    ['without an offset', { from: '2026-05-04T00:00:00', to: '2026-05-05T00:00:00' }],
    ['that ends before it begins', { from: '2026-05-05T00:00:00Z', to: '2026-05-04T00:00:00Z' }],
    ['of no length', { from: '2026-05-04T00:00:00Z', to: '2026-05-04T00:00:00Z' }],
    ['of more than 62 days', { from: '2026-05-04T00:00:00Z', to: '2026-07-06T00:00:00Z' }],
    ['that judges by a word we do not know', { ...SPAN, tentative: 'maybe' }],
    ['that judges by an empty word', { ...SPAN, focus_time: '' }],
    ['that judges what we do not know', { ...SPAN, declined: 'busy' }],
    ['about an instant that never is', { from: '2026-13-04T00:00:00Z', to: '2026-05-05T00:00:00Z' }],
  ])('%s is refused', async (_what, query: Record<string, string>) => {
    expect((await ask(randomUUID(), query)).status).toBe(400)
  })

  test.each(['%2B', '+'])('may write the + of its offset as %s', async (plus) => {
    const provider = randomUUID()
    await holdCalendar(look, { provider })
    const [from, to] = [at(1, '00:00'), at(2, '00:00')].map((utc) => utc.replace('.000Z', `${plus}01:00`))
    const answer = await world.api('GET', `/api/calendar/busy?from=${from}&to=${to}`, { provider })
    expect(answer.status).toBe(200)
    expect(await answer.json()).toMatchObject({ from: at(0, '23:00'), to: at(1, '23:00') })
  })

  test("about another provider's connection is answered like one about an unknown one", async () => {
    const span = { from: at(0, '00:00'), to: at(1, '00:00') }
    const { connection } = await holdCalendar(look, { provider: randomUUID() })
    const unknown = await ask(randomUUID(), { ...span, connection_id: randomUUID() })
    expect(unknown.status).toBe(404)
    expect(await ask(randomUUID(), { ...span, connection_id: connection })).toEqual(unknown)
    expect(await ask(randomUUID(), { ...span, connection_id: 'x' })).toEqual(unknown)
    expect((await ask(randomUUID(), span)).body).toMatchObject({ busy: [], calendars: [], stale: true })
    expect((await world.api('GET', '/api/calendar/busy', { claims: null })).status).toBe(401)
  })
})
