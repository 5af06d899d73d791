// Why a connection is not up to date, as the API tells its app and an operator.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { holdCalendar } from '../../support/held-rows.ts'
import { openIngressWorld, type IngressWorld } from '../../support/ingress-world.ts'

const ON = { state: 'on' } as const
const CONNECTIONS = '/api/calendar/connections'

let world: IngressWorld
beforeAll(async () => {
  world = await openIngressWorld('ingress_why')
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(() => {
  world.said.sync = () => ON
})

const look: IngressWorld['look'] = (sql, values) => world.look(sql, values)

async function get(provider: string, route: string): Promise<{ body: Record<string, unknown> }> {
  const answer = await world.api('GET', route, { provider })
  return { body: (await answer.json()) as Record<string, unknown> }
}

describe('one connection', () => {
  test('is told why it is not up to date: every cause, the one to act on first, and who acts', async () => {
    const provider = randomUUID()
    const { connection } = await holdCalendar(look, { provider })
    await look(
      `update external_calendar_connections set failing_since = '2026-01-01T00:00:00Z', backoff_until = calstream_now() + interval '1 minute',
         last_error = '{"code": "vendor/throttled", "message": "Google answered 429 (rateLimitExceeded).", "at": "2026-01-01T00:00:00Z"}'
        where id = $1`,
      [connection],
    )
    await look('update external_calendars set push_supported = false where connection_id = $1', [connection])
    world.said.sync = () => ({
      state: 'off',
      gate: 'CALENDAR_SYNC_ENABLED',
      text: 'Calendar sync not enabled',
    })
    const { body } = await get(provider, `${CONNECTIONS}/${connection}`)
    expect(body['why']).toMatchObject({
      is_up_to_date: false,
      causes: [
        { code: 'sync_switched_off', actor: 'operator', effect: 'stops', since: null },
        {
          code: 'throttled',
          actor: 'vendor',
          text: 'The last sync failed: Google answered 429 (rateLimitExceeded).',
          since: '2026-01-01T00:00:00.000Z',
          until: body['backoff_until'],
        },
        { code: 'no_push', actor: 'nobody', effect: 'warns' },
      ],
    })
    const [calendar] = body['calendars'] as { why: { causes: { code: string }[] } }[]
    expect(calendar?.why.causes.map(({ code }) => code)).toEqual([
      'sync_switched_off',
      'throttled',
      'no_push',
    ])
  })

  test('of which a service stands still is told so: an operator with the details, its app without the inside', async () => {
    const provider = randomUUID()
    const { connection } = await holdCalendar(look, { provider })
    const route = `${CONNECTIONS}/${connection}`
    const set = (change: string, service: string) =>
      look(`update service_instances set ${change} where service = $1`, [service])
    const asOperator = async () => {
      const answer = await world.api('GET', route, { claims: { scope: 'operator' } })
      return (await answer.json()) as { state: string; why: { causes: { code: string; text: string }[] } }
    }
    try {
      await set(`seen_at = clock_timestamp() - interval '1 minute'`, 'relay')
      await set(`ready = false, problems = '{"kafka": "no answer of broker.inside:9093"}'`, 'sync')
      const { state, why } = await asOperator()
      expect(state).toBe('unknown')
      expect(why.causes.map(({ code }) => code)).toEqual(['kafka_away', 'relay_down'])
      expect(why.causes[0]?.text).toContain('broker.inside:9093')
      const { body } = await get(provider, route)
      expect(body).toMatchObject({
        state: 'unknown',
        summary: 'Kafka does not answer.',
        why: {
          is_up_to_date: false,
          causes: [{ code: 'kafka_away', text: 'Kafka does not answer.' }, { code: 'relay_down' }],
        },
      })
      expect(JSON.stringify(body)).not.toContain('inside')
      const { body: list } = await get(provider, `${CONNECTIONS}?state=unknown`)
      expect(list['connections']).toMatchObject([{ id: connection, state: 'unknown' }])
    } finally {
      await set(`seen_at = clock_timestamp() + interval '1 day', ready = true, problems = '{}'`, 'relay')
      await set(`ready = true, problems = '{}'`, 'sync')
    }
    expect(await asOperator()).toMatchObject({ state: 'in_sync', why: { is_up_to_date: true, causes: [] } })
  })

  test('whose changes wait to be published is told so, of its own part of the outbox alone', async () => {
    const provider = randomUUID()
    const { connection } = await holdCalendar(look, { provider })
    const shard = Number.parseInt(connection.slice(-2), 16) % 16
    const wait = (at: number) =>
      look(
        `insert into outbox (shard, topic, key, headers, created_at)
         values ($1, 'calendar.event.changed.v1', $2, '{}', calstream_now() - interval '1 minute')`,
        [at, randomUUID()],
      )
    const causes = async () => {
      const { body } = await get(provider, `${CONNECTIONS}/${connection}`)
      return (body['why'] as { causes: { code: string; since: string | null }[] }).causes
    }
    await wait((shard + 1) % 16)
    expect(await causes()).toEqual([])
    await wait(shard)
    expect(await causes()).toMatchObject([{ code: 'outbox_behind', since: expect.any(String) as string }])
    await look('delete from outbox')
  })
})
