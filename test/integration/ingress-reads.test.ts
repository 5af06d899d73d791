// What an app reads of its connections, on real Postgres: states that are true, times of one form, filters, events.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { holdCalendar } from '../support/held-rows.ts'
import { openIngressWorld, type IngressWorld } from '../support/ingress-world.ts'
import { UNKNOWN } from '../support/literal-ingress.ts'

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
