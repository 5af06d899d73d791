// One account through its whole life, with every service as a process: connected in a browser,
// synced, a calendar taken out in the middle of a sync and in again, disconnected, connected again.
// What a second reader of the compacted state holds is compared with the table.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { admit } from '../../support/admit.ts'
import { eventually } from '../../support/eventually.ts'
import { Person } from '../../support/ingress-world.ts'
import { signedBearer } from '../../support/literal-ingress.ts'
import { openReader, type Reader } from '../../support/outbox.ts'
import { testStack } from '../../support/stack.ts'
import type { VendorName } from '../../support/oauth-world.ts'
import { openWorld, type World } from '../../support/world.ts'

const EVENTS = 400
const SYNCED_MS = 60_000

let world: World
let reader: Reader
/** Of the account that the test is about. */
let provider: string

beforeAll(async () => {
  world = await openWorld({ label: 'lifecycle' })
  reader = await openReader({ brokers: testStack().brokers, prefix: world.prefix }, [TOPICS.eventState])
  await Promise.all((['ingress', 'sync', 'relay', 'scheduler'] as const).map((name) => world.start(name)))
}, 120_000)
afterAll(async () => {
  await reader[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
})

async function api(method: string, route: string, body?: unknown): Promise<Response> {
  return fetch(`${world.env['PUBLIC_URL']}${route}`, {
    method,
    headers: {
      authorization: await signedBearer({ provider_id: provider }, world.env['API_JWT_SECRET'] ?? ''),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(20_000),
  })
}

async function connect(vendor: VendorName, email: string): Promise<void> {
  const link = await eventually('a link', async () => {
    const answer = await api('POST', '/api/calendar/connect-links', { vendor })
    return answer.status === 201 ? ((await answer.json()) as { url: string }).url : null
  })
  expect((await new Person().connect(link, email)).status).toBe(200)
}

interface Shown {
  readonly id: string
  readonly status: string
  readonly state: string
  readonly calendars: readonly {
    readonly id: string
    readonly name: string
    readonly state: string
    readonly failing: unknown
  }[]
}

async function shown(): Promise<Shown> {
  const list = (await (await api('GET', '/api/calendar/connections')).json()) as {
    connections: { id: string }[]
  }
  expect(list.connections).toHaveLength(1)
  return (await (await api('GET', `/api/calendar/connections/${list.connections[0]?.id}`)).json()) as Shown
}

/** Says in its error what it is instead. */
async function isInSync(): Promise<boolean> {
  const { state, calendars } = await shown()
  if (state === 'in_sync') return true
  const why = calendars.map((one) => `${one.state} ${JSON.stringify(one.failing)}`)
  throw new Error(`it is ${state}, its calendars are ${why.join(', ')}`)
}

/** Event ids by calendar, as the table holds them. */
async function held(): Promise<Map<string, Set<string>>> {
  const { rows } = await world.database.query<{ calendar: string; event: string }>(
    `select e.calendar_id as calendar, e.event_id as event from external_calendar_events e
       join external_calendar_connections c on c.id = e.connection_id where c.provider_id = $1`,
    [provider],
  )
  const by = new Map<string, Set<string>>()
  for (const { calendar, event } of rows) by.set(calendar, (by.get(calendar) ?? new Set()).add(event))
  return by
}

/** What the compacted topic leaves: the last word on each key, tombstones dropped. */
function stateOfTopic(connection: string): string[] {
  const last = new Map<string, Buffer | null>()
  for (const { key, value } of reader.records)
    if (key?.toString().startsWith(connection)) last.set(key.toString(), value)
  return [...last]
    .filter(([, value]) => value !== null)
    .map(([key]) => key)
    .toSorted()
}

async function expectTopicToAgree(): Promise<void> {
  const { id } = await shown()
  const keys = [...(await held())].flatMap(([calendar, events]) =>
    [...events].map((event) => `${id}/${calendar}/${event}`),
  )
  await eventually(
    'the state in the topic',
    () => JSON.stringify(stateOfTopic(id)) === JSON.stringify(keys.toSorted()),
  )
}

test.each(['google', 'microsoft'] as const)(
  'an account at %s is connected, chosen from, disconnected and connected again, and the stream agrees each time',
  async (vendor) => {
    provider = randomUUID()
    await admit({ providerIds: [provider], connectionIds: [] })
    const account = await world.simulator.addAccount({ vendor, calendars: 2, eventsPerCalendar: EVENTS })
    await world.admin('POST', '/admin/paging', { pageSizeMax: 25 })
    await world.admin('POST', '/admin/latency', { ms: 60 })
    await connect(vendor, account.email)
    const first = await shown()
    await admit({ providerIds: [provider], connectionIds: [first.id] })

    // Taken out while its first pages arrive: not one of them may stay or come back.
    const chosen = first.calendars[0]?.id ?? ''
    await eventually('the first pages', async () => (await held()).get(chosen)?.size, SYNCED_MS)
    const route = `/api/calendar/connections/${first.id}/calendars/${chosen}`
    await eventually(
      'the calendar is taken out',
      async () => (await api('PATCH', route, { selected: false })).status === 200,
    )
    const other = first.calendars[1]?.id ?? ''
    await world.admin('POST', '/admin/latency', { ms: 0 })
    const isSynced = async (id: string) =>
      (await shown()).calendars.find((calendar) => calendar.id === id)?.state === 'in_sync'
    await eventually('the other calendar is synced', () => isSynced(other), SYNCED_MS)
    expect((await held()).has(chosen)).toBe(false)
    await expectTopicToAgree()

    expect((await api('PATCH', route, { selected: true })).status).toBe(200)
    await eventually('both calendars are synced', () => isSynced(chosen), SYNCED_MS)
    await eventually('the connection is in sync', isInSync, SYNCED_MS)
    const whole = await held()
    expect([...whole.keys()].toSorted()).toEqual([chosen, other].toSorted())
    await expectTopicToAgree()

    expect((await api('DELETE', `/api/calendar/connections/${first.id}`)).status).toBe(204)
    // Erased it would come back as another connection: the person of this story is quicker.
    await world.database.query(
      `update external_calendar_connections set erase_retry_at = calstream_now() + interval '5 minutes' where id = $1`,
      [first.id],
    )
    expect((await held()).size).toBe(0)
    await eventually('every state is a tombstone', () => stateOfTopic(first.id).length === 0)
    expect((await shown()).state).toBe('disconnected')

    await connect(vendor, account.email)
    expect((await shown()).id).toBe(first.id)
    await eventually('it is in sync again', isInSync, SYNCED_MS)
    const again = await held()
    expect(again.size).toBe(2)
    for (const [calendar, events] of whole) expect(again.get(calendar)).toEqual(events)
    await expectTopicToAgree()
  },
  300_000,
)
