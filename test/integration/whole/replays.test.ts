// The history of the doorbells read anew, and offsets that the topic does not have: no row changes,
// nothing is published, and the next change arrives all the same.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import type { Component } from '../../../infra/stack/component.ts'
import { expectConverged } from '../../support/converged.ts'
import { eventually } from '../../support/eventually.ts'
import { committedOf, endOf, withAdmin } from '../../support/offsets.ts'
import { countListings } from '../../support/simulator.ts'
import { look, openWorld, type Account, type World } from '../../support/world.ts'

let world: World
let account: Account
let sync: Component

beforeAll(async () => {
  world = await openWorld({ label: 'replays' })
  await Promise.all((['relay', 'retry', 'scheduler', 'ingress'] as const).map((name) => world.start(name)))
  sync = await world.start('sync')
  account = await world.connect({ calendars: 1, eventsPerCalendar: 40 })
  await expectConverged(world, [account])
})
afterAll(() => world[Symbol.asyncDispose]())

const ask = <R extends object>(sql: string, values: readonly unknown[] = []) =>
  look<R>(world.env['POSTGRES_URL'] ?? '', sql, values)

const kafka = () => ({ brokers: world.env['KAFKA_BROKERS'] ?? '', prefix: world.prefix })

async function changeCalendar(): Promise<void> {
  const calendar = encodeURIComponent(account.calendars[0]!.id)
  await world.admin('POST', `/admin/accounts/${account.accountId}/calendars/${calendar}/events`, {})
}

/** What must not move when nothing new was said. */
async function holdings() {
  const [rows] = await ask<{ events: string; version: string }>(
    `select (select md5(string_agg(e::text, '|' order by e.vendor_event_id)) from external_calendar_events e) as events,
       (select version::text from external_calendar_connections where id = $1) as version`,
    [account.connectionId],
  )
  return rows
}

/** Stops sync, sets what it has committed on its Google doorbells, and starts it again. */
async function restartAt(offset: (low: string, high: string) => string): Promise<void> {
  const topic = world.prefix + TOPICS.requestedGoogle
  await sync[Symbol.asyncDispose]()
  await eventually('the group to be empty', () =>
    withAdmin(kafka(), async (admin) => {
      const ends = await admin.fetchTopicOffsets(topic)
      await admin.setOffsets({
        groupId: world.prefix + GROUPS.sync,
        topic,
        partitions: ends.map(({ partition, low, high }) => ({ partition, offset: offset(low, high) })),
      })
      return true
    }),
  )
  sync = await world.start('sync')
}

/**
 * A unit that found nothing looks once more after 20 s;
 * the world is at rest when the calls have stopped.
 */
async function atRest(): Promise<void> {
  let [last, since] = [await countListings(world), performance.now()]
  await eventually(
    'no call for a while',
    async () => {
      const now = await countListings(world)
      if (now !== last) [last, since] = [now, performance.now()]
      return performance.now() - since > 25_000
    },
    100_000,
  )
}

describe('offsets of the doorbells', () => {
  test('reset to the earliest: everything is rung again, no row changes and nothing is published', async () => {
    await changeCalendar()
    await expectConverged(world, [account])
    await atRest()
    const [before, published] = [await holdings(), await endOf(kafka(), TOPICS.eventChanged)]
    const end = await endOf(kafka(), TOPICS.requestedGoogle)
    await restartAt((low) => low)
    await eventually(
      'all of it to be read',
      async () => (await committedOf(kafka(), GROUPS.sync, TOPICS.requestedGoogle)) >= end,
      90_000,
    )
    await atRest()
    expect(await holdings()).toEqual(before)
    expect(await endOf(kafka(), TOPICS.eventChanged)).toBe(published)
  }, 300_000)

  test('beyond the end of the topic are no end: the next change arrives', async () => {
    await restartAt((_low, high) => String(Number(high) + 100_000))
    await changeCalendar()
    await expectConverged(world, [account])
  }, 240_000)
})
