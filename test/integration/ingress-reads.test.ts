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
