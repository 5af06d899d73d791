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
})
