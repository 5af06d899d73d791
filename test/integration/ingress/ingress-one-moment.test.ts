// Answers about events are of one moment on real Postgres: the rows, and what is said of their
// freshness.
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../../support/eventually.ts'
import { holdCalendar, holdEvent } from '../../support/held-rows.ts'
import { openIngressWorld, type IngressWorld } from '../../support/ingress-world.ts'

let world: IngressWorld

beforeAll(async () => {
  world = await openIngressWorld('ingress_moment')
})
afterAll(() => world[Symbol.asyncDispose]())

const look: IngressWorld['look'] = (sql, values) => world.look(sql, values)

/** An instant in the days that are kept: `day` days from now, at an hour of UTC. */
function at(day: number, time: string): string {
  return `${new Date(Date.now() + day * 86_400_000).toISOString().slice(0, 10)}T${time}:00.000Z`
}

const DAY = { from: at(1, '00:00'), to: at(2, '00:00') }

async function ask<T>(provider: string, route: string): Promise<T> {
  const answer = await world.api('GET', `${route}?${new URLSearchParams(DAY).toString()}`, { provider })
  expect(answer.status).toBe(200)
  return (await answer.json()) as T
}

/** Commits a move of the one event of `from` to `to`, of which `to` is still to be read. */
async function moveWhileAsked<T>(
  { from, to }: { readonly from: string; readonly to: string },
  ask: () => Promise<T>,
): Promise<T> {
  const session = new pg.Client({ connectionString: world.database.url() })
  await session.connect()
  try {
    await session.query('begin')
    // Whoever asks has read how fresh the calendars are, and waits for their events.
    await session.query('lock table external_calendar_events in access exclusive mode')
    const answer = ask()
    await eventually('the question waits for events', async () => {
      const { rowCount } = await session.query(
        `select 1 from pg_locks where relation = 'external_calendar_events'::regclass and not granted`,
      )
      return (rowCount ?? 0) > 0
    })
    await session.query('delete from external_calendar_events where calendar_id = $1', [from])
    await session.query('update external_calendars set read_needed = true where id = $1', [to])
    await session.query('commit')
    return await answer
  } finally {
    await session.end()
  }
}

test('an event that moves while it is asked about is told as busy or as stale, never as neither', async () => {
  const provider = randomUUID()
  const from = await holdCalendar(look, { provider })
  const to = await holdCalendar(look, { provider })
  await holdEvent(look, from, { start: at(1, '09:00'), end: at(1, '10:00') })
  const question = async () => {
    const { busy, stale } = await ask<{ busy: unknown[]; stale: boolean }>(provider, '/api/calendar/busy')
    return [busy.length, stale]
  }
  expect(await moveWhileAsked({ from: from.calendar, to: to.calendar }, question)).toEqual([1, false])
  // The control: asked again, nothing is known of where it went.
  expect(await question()).toEqual([0, true])
})

test('the events of a connection are of one moment with what is said of their freshness', async () => {
  const provider = randomUUID()
  const held = await holdCalendar(look, { provider })
  await holdEvent(look, held, { start: at(1, '09:00'), end: at(1, '10:00') })
  const route = `/api/calendar/connections/${held.connection}/events`
  const question = async () => {
    const { events, stale } = await ask<{ events: unknown[]; stale: boolean }>(provider, route)
    return [events.length, stale]
  }
  expect(await moveWhileAsked({ from: held.calendar, to: held.calendar }, question)).toEqual([1, false])
  expect(await question()).toEqual([0, true])
})
