// What an app is told about its connections, and what it may do to them: on real Postgres, as the
// ingress's role. Messages are read with the registry's schemas.
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { EventChanged } from '#schemas/messages.gen.ts'
import { TOPICS } from '#schemas/topics.ts'
import { holdCalendar, holdEvent, holdMany } from '../../support/held-rows.ts'
import { openIngressWorld, type IngressWorld } from '../../support/ingress-world.ts'
import { nameless } from '../../support/nameless.ts'
import { measured } from '../../support/measured.ts'

const ON = { state: 'on' } as const
const CONNECTIONS = '/api/calendar/connections'

let world: IngressWorld

beforeAll(async () => {
  world = await openIngressWorld('ingress_connections')
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(() => {
  world.said.sync = () => ON
})

const look: IngressWorld['look'] = (sql, values) => world.look(sql, values)

async function get(
  provider: string,
  route: string,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const answer = await world.api('GET', route, { provider })
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

interface OutboxRow {
  readonly topic: string
  readonly key: string
  readonly value: Buffer | null
  readonly headers: Record<string, string>
}

function outboxOf(connection: string): Promise<OutboxRow[]> {
  return look<OutboxRow>(
    `select topic, key, value, headers from outbox where key = $1 or key like $1 || '/%' order by id`,
    [connection],
  )
}

interface State {
  readonly status: string
  readonly version: number
  readonly epoch: number
  readonly events: number
}

async function stateOf(connection: string): Promise<State> {
  const [row] = await look<State>(
    `select status, version::int, sync_epoch::int as epoch,
       (select count(*)::int from external_calendar_events e where e.connection_id = c.id) as events
     from external_calendar_connections c where id = $1`,
    [connection],
  )
  if (!row) throw new Error('no such connection')
  return row
}

async function removals(rows: readonly OutboxRow[]): Promise<EventChanged[]> {
  const changed = rows.filter(({ topic }) => topic === TOPICS.eventChanged)
  const decoded = await Promise.all(
    changed.map(({ value }) => world.codec.decode(TOPICS.eventChanged, value)),
  )
  return decoded.map((one) => {
    if (one.kind === 'unreadable') throw new Error(one.problem)
    return one.message
  })
}

/** Each change record is followed by the tombstone of the same event with the same sequence. */
function expectPairs(rows: readonly OutboxRow[], connection: string, calendar: string): void {
  const pairs = rows.filter(({ topic }) => topic === TOPICS.eventChanged || topic === TOPICS.eventState)
  for (let i = 0; i < pairs.length; i += 2) {
    const [change, state] = [pairs[i], pairs[i + 1]]
    expect(change?.topic).toBe(TOPICS.eventChanged)
    expect(state?.topic).toBe(TOPICS.eventState)
    expect(state?.value).toBeNull()
    expect(state?.key).toBe(`${connection}/${calendar}/${change?.headers['ce_subject']}`)
    expect(state?.headers['ce_sequence']).toBe(change?.headers['ce_sequence'])
  }
}

describe('the list', () => {
  test('gives a provider its own connections, page by page, each exactly once', async () => {
    const provider = randomUUID()
    const mine = await Promise.all(Array.from({ length: 5 }, () => holdCalendar(look, { provider })))
    await holdCalendar(look, { provider: randomUUID() })
    const seen: string[] = []
    let after = ''
    for (let page = 1; page <= 3; page += 1) {
      const { status, body } = await get(provider, `${CONNECTIONS}?limit=2${after}`)
      expect(status).toBe(200)
      seen.push(...(body['connections'] as { id: string }[]).map(({ id }) => id))
      expect(body['next_after'] === null).toBe(page === 3)
      after = `&after=${String(body['next_after'])}`
    }
    expect(seen).toEqual(mine.map(({ connection }) => connection).toSorted())
  })

  test('of somebody without connections is empty, and odd questions are refused', async () => {
    const provider = randomUUID()
    expect((await get(provider, CONNECTIONS)).body).toEqual({
      provider_id: provider,
      connections: [],
      next_after: null,
    })
    for (const query of ['limit=0', 'limit=201', 'limit=ten', 'limit=1&limit=2', 'after=x', 'provider_id=x'])
      expect((await get(provider, `${CONNECTIONS}?${query}`)).status, query).toBe(400)
    expect((await get(provider, `${CONNECTIONS}?provider_id=${randomUUID()}`)).status).toBe(404)
    const operator = (route: string) => world.api('GET', route, { claims: { scope: 'operator' } })
    expect((await operator(CONNECTIONS)).status).toBe(400)
    expect((await operator(`${CONNECTIONS}?provider_id=${provider}`)).status).toBe(200)
    expect((await world.api('GET', CONNECTIONS, { claims: null })).status).toBe(401)
  })
})

describe('one connection', () => {
  test('is told with its calendars, what is so and what to do', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    const { status, body } = await get(provider, `${CONNECTIONS}/${held.connection}`)
    expect(status).toBe(200)
    expect(body).toMatchObject({
      id: held.connection,
      vendor: 'google',
      account: 'somebody@example.com',
      status: 'active',
      state: 'in_sync',
      next_step: 'No action needed.',
      last_error: null,
      backoff_until: null,
      disconnected_at: null,
      waits_for_gate: false,
    })
    const why = { is_up_to_date: true, up_to_date_as_of: expect.any(String) as string, causes: [] }
    expect(body['why']).toEqual(why)
    expect(body['calendars']).toEqual([
      expect.objectContaining({ id: held.calendar, name: 'Work', selected: true, state: 'in_sync', why }),
    ])
  })

  test.each([
    [
      'needs_reauth',
      `status = 'needs_reauth', last_error = '{"code": "vendor/grant-revoked", "message": "No entry.", "at": "2026-01-01T00:00:00Z", "attempt": 1}'`,
      { state: 'needs_reauth', summary: 'No entry.', next_step: /connect the account again/ },
    ],
    [
      'retrying',
      `backoff_until = calstream_now() + interval '1 minute', error_count = 3, last_error = '{"code": "vendor/unavailable", "message": "Down.", "at": "2026-01-01T00:00:00Z", "attempt": 3}'`,
      { state: 'retrying', summary: 'The last sync failed: Down.', next_step: /next try is at \d{4}-/ },
    ],
    [
      'disabled',
      `status = 'disabled'`,
      { state: 'disabled', summary: /operator paused/, next_step: /operator/ },
    ],
    [
      'first_sync',
      'last_synced_at = null',
      { state: 'first_sync', summary: /first time/, next_step: /^No action needed\.$/ },
    ],
  ])('that is %s says so in plain words', async (_name, change, expected) => {
    const provider = randomUUID()
    const { connection } = await holdCalendar(look, { provider })
    await look(`update external_calendar_connections set ${change} where id = $1`, [connection])
    const { body } = await get(provider, `${CONNECTIONS}/${connection}`)
    expect(body['state']).toBe(expected.state)
    expect(body['summary']).toMatch(expected.summary)
    expect(body['next_step']).toMatch(expected.next_step)
  })

  test('is answered while sync is switched off, and says that it waits', async () => {
    const provider = randomUUID()
    const { connection } = await holdCalendar(look, { provider })
    await look(`insert into held_requests (connection_id, gate) values ($1, 'CALENDAR_SYNC_ENABLED')`, [
      connection,
    ])
    world.said.sync = () => ({
      state: 'off',
      gate: 'CALENDAR_SYNC_ENABLED',
      text: 'Calendar sync not enabled',
    })
    const { status, body } = await get(provider, `${CONNECTIONS}/${connection}`)
    expect([status, body['state'], body['waits_for_gate']]).toEqual([200, 'paused', true])
    expect(body['summary']).toContain('Calendar sync not enabled')
  })

  test("of another provider is as unknown as one that never was, whatever is asked of it; its owner's is found", async () => {
    const owner = randomUUID()
    const stranger = randomUUID()
    const held = await holdCalendar(look, { provider: owner })
    const at = (id: string) => `${CONNECTIONS}/${id}`
    const calendarAt = (id: string) => `${at(id)}/calendars/${held.calendar}`
    const ask = async (method: string, route: string, provider: string) => {
      const body = method === 'PATCH' ? { selected: false } : undefined
      const answer = await world.api(method, route, { provider, body })
      return { status: answer.status, text: nameless(await answer.text()) }
    }
    for (const [method, routeOf] of [
      ['GET', at],
      ['DELETE', at],
      ['PATCH', calendarAt],
    ] as const) {
      const unknown = await ask(method, routeOf(randomUUID()), stranger)
      expect(unknown.status).toBe(404)
      expect(await ask(method, routeOf(held.connection), stranger), method).toEqual(unknown)
      expect(await ask(method, routeOf('not-a-uuid'), stranger), method).toEqual(unknown)
    }
    expect(await stateOf(held.connection)).toMatchObject({ status: 'active', epoch: 0 })
    expect((await ask('GET', at(held.connection), owner)).status).toBe(200)
    expect((await ask('PATCH', calendarAt(held.connection), owner)).status).toBe(200)
    expect((await ask('DELETE', at(held.connection), owner)).status).toBe(204)
  })

  test('takes no other method', async () => {
    const answer = await world.api('PUT', `${CONNECTIONS}/${randomUUID()}`, { provider: randomUUID() })
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'GET, DELETE'])
  })
})

describe('disconnecting', () => {
  test('takes rows, cursors and the epoch away and tells each removal once, in order, in one transaction', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    await holdMany(look, held, 1203)
    await look(`insert into held_requests (connection_id, gate) values ($1, 'CALENDAR_SYNC_ENABLED')`, [
      held.connection,
    ])
    const before = await stateOf(held.connection)
    expect((await world.api('DELETE', `${CONNECTIONS}/${held.connection}`, { provider })).status).toBe(204)
    expect(await look('select from held_requests where connection_id = $1', [held.connection])).toEqual([])

    expect(await stateOf(held.connection)).toEqual({
      status: 'disconnected',
      version: before.version + 1203,
      epoch: before.epoch + 1,
      events: 0,
    })
    const [row] = await look<{ disconnected_at: Date; sync_needed: boolean; backoff_until: Date | null }>(
      'select disconnected_at, sync_needed, backoff_until, last_synced_at, listed_from from external_calendar_connections where id = $1',
      [held.connection],
    )
    expect(row).toMatchObject({
      sync_needed: false,
      backoff_until: null,
      last_synced_at: null,
      listed_from: null,
    })
    expect(row?.disconnected_at).toBeInstanceOf(Date)
    const calendars = await look(
      'select cursor, checkpoint, last_read_at from external_calendars where connection_id = $1',
      [held.connection],
    )
    expect(calendars).toEqual([{ cursor: null, checkpoint: null, last_read_at: null }])

    const rows = await outboxOf(held.connection)
    const told = await removals(rows)
    expect(told.map(({ sequence }) => sequence)).toEqual(
      Array.from({ length: 1203 }, (_, i) => before.version + 1 + i),
    )
    expect(new Set(told.map(({ eventId }) => eventId)).size).toBe(1203)
    expect(told[0]).toMatchObject({
      connectionId: held.connection,
      providerId: provider,
      calendarId: held.calendar,
      change: 'removed',
      removalReason: 'disconnected',
      event: null,
    })
    expectPairs(rows, held.connection, held.calendar)
    const news = rows.filter(({ topic }) => topic === TOPICS.connectionChanged)
    expect(news).toHaveLength(1)
    expect(await world.codec.decode(TOPICS.connectionChanged, news[0]?.value ?? null)).toMatchObject({
      message: { status: 'disconnected', previousStatus: 'active' },
    })
  })

  test('again, or twice at once, changes nothing more', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    await holdMany(look, held, 20)
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => world.api('DELETE', `${CONNECTIONS}/${held.connection}`, { provider })),
    )
    expect(answers.map(({ status }) => status)).toEqual([204, 204, 204, 204])
    const after = await stateOf(held.connection)
    const rows = await outboxOf(held.connection)
    expect([after.epoch, rows.length]).toEqual([1, 20 * 2 + 1])
    expect((await world.api('DELETE', `${CONNECTIONS}/${held.connection}`, { provider })).status).toBe(204)
    expect(await stateOf(held.connection)).toEqual(after)
    expect(await outboxOf(held.connection)).toHaveLength(rows.length)
  })

  test('that meets a locked row changes nothing and is 503; repeated it works', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    await holdMany(look, held, 5)
    const session = new pg.Client({ connectionString: world.database.url() })
    await session.connect()
    try {
      await session.query('begin')
      await session.query('select 1 from external_calendar_connections where id = $1 for update', [
        held.connection,
      ])
      const refused = await world.api('DELETE', `${CONNECTIONS}/${held.connection}`, { provider })
      expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5'])
    } finally {
      await session.end()
    }
    expect(await stateOf(held.connection)).toMatchObject({ status: 'active', events: 5, epoch: 0 })
    expect((await world.api('DELETE', `${CONNECTIONS}/${held.connection}`, { provider })).status).toBe(204)
  })

  test('ten thousand events stays well inside of the limits of a statement', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    await holdMany(look, held, 10_000)
    const before = performance.now()
    const answer = await world.api('DELETE', `${CONNECTIONS}/${held.connection}`, { provider })
    measured(`disconnected 10 000 events in ${Math.round(performance.now() - before)} ms`)
    expect(answer.status).toBe(204)
    const [{ count } = { count: 0 }] = await look<{ count: number }>(
      `select count(*)::int from outbox where key = $1 or key like $1 || '/%'`,
      [held.connection],
    )
    expect(count).toBe(20_001)
  })
})

describe('choosing calendars', () => {
  const route = (held: { connection: string; calendar: string }) =>
    `${CONNECTIONS}/${held.connection}/calendars/${held.calendar}`

  test('out removes its events alone, with the reason, under a new epoch; in rings for it', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    const other = await holdCalendar(look, { provider, connection: held.connection, name: 'Home' })
    await holdMany(look, held, 7)
    await holdEvent(look, other, { start: '2026-05-01T10:00:00Z', end: '2026-05-01T11:00:00Z' })
    const out = await world.api('PATCH', route(held), { provider, body: { selected: false } })
    expect([out.status, await out.json()]).toEqual([200, { id: held.calendar, selected: false }])
    expect(await stateOf(held.connection)).toEqual({ status: 'active', version: 14, epoch: 1, events: 1 })
    const rows = await outboxOf(held.connection)
    const told = await removals(rows)
    expect(
      told.map(({ sequence, removalReason, calendarId }) => [sequence, removalReason, calendarId]),
    ).toEqual(Array.from({ length: 7 }, (_, i) => [8 + i, 'calendar_removed', held.calendar]))
    expectPairs(rows, held.connection, held.calendar)
    const { body } = await get(provider, `${CONNECTIONS}/${held.connection}`)
    expect(body['calendars']).toEqual([
      expect.objectContaining({ id: other.calendar, state: 'in_sync' }),
      expect.objectContaining({ id: held.calendar, selected: false, state: 'not_selected' }),
    ])

    expect((await world.api('PATCH', route(held), { provider, body: { selected: true } })).status).toBe(200)
    const rung = (await outboxOf(held.connection)).slice(rows.length)
    expect(rung.map(({ topic }) => topic)).toEqual([TOPICS.requestedGoogle])
    expect(await world.codec.decode(TOPICS.requestedGoogle, rung[0]?.value ?? null)).toMatchObject({
      message: { connectionId: held.connection, calendarId: held.calendar, reason: 'api', asOf: null },
    })
  })

  test('as they are already changes nothing, and a disconnected connection has none to choose', async () => {
    const provider = randomUUID()
    const held = await holdCalendar(look, { provider })
    expect((await world.api('PATCH', route(held), { provider, body: { selected: true } })).status).toBe(200)
    expect(await stateOf(held.connection)).toMatchObject({ epoch: 0 })
    expect(await outboxOf(held.connection)).toEqual([])
    for (const body of [{ selected: 'no' }, {}, [true]])
      expect((await world.api('PATCH', route(held), { provider, body })).status).toBe(400)
    await look(`update external_calendar_connections set status = 'disconnected' where id = $1`, [
      held.connection,
    ])
    const refused = await world.api('PATCH', route(held), { provider, body: { selected: false } })
    expect(refused.status).toBe(409)
  })
})
