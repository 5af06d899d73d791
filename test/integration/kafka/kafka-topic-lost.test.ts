// The doorbells' topic deleted by mistake under running services, and made again while
// the vendor goes on ringing: nobody is started again, and what the vendor says
// afterwards is synced like before.
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { applyTopics } from '#shared/kafka/topics.ts'
import { expectConverged } from '../../support/converged.ts'
import { eventually } from '../../support/eventually.ts'
import { withAdmin } from '../../support/offsets.ts'
import { silent } from '../../support/recording-consumer.ts'
import { openWorld, type World } from '../../support/world.ts'

const SERVICES = ['relay', 'retry', 'scheduler', 'ingress', 'sync'] as const
const GONE_MS = 6_000
const PARTITIONS = 4
/** Ended when it has done its part. */
const LOAD_MAX_MS = 180_000

let world: World
beforeAll(async () => {
  world = await openWorld({ label: 'topic-lost' })
})
afterAll(() => world?.[Symbol.asyncDispose]())

/**
 * How long the topic is gone is what this test is about,
 * so here a time is waited for and not a condition.
 */
function phase(): Promise<void> {
  return delay(GONE_MS)
}

test('a topic of doorbells that is deleted under load and made again stops nobody and keeps nothing from being synced', async () => {
  const kafka = { brokers: world.env['KAFKA_BROKERS'] ?? '', prefix: world.prefix }
  const topic = world.prefix + TOPICS.requestedGoogle
  const processes = await Promise.all(SERVICES.map((name) => world.start(name)))
  const pids = processes.map(({ pid }) => pid)
  const accounts = await Promise.all(
    Array.from({ length: 3 }, () => world.connect({ calendars: 1, eventsPerCalendar: 20 })),
  )
  await expectConverged(world, accounts)
  await eventually('every calendar to have its channel', async () => {
    const { channels } = await world.admin<{ channels: readonly unknown[] }>('GET', '/admin/channels')
    return channels.length >= accounts.length
  })
  const { loadId } = await world.admin<{ loadId: string }>('POST', '/admin/load', {
    changesPerSecond: 15,
    durationMs: LOAD_MAX_MS,
    seed: 5,
  })
  const changes = async () => (await world.admin<{ changes: number }>('GET', `/admin/load/${loadId}`)).changes
  await eventually('changes to be made', async () => (await changes()) > 20)
  await withAdmin(kafka, (admin) => admin.deleteTopics({ topics: [topic] }))
  const before = await changes()
  await phase()
  // The witness: it was gone, nobody else made it again, and the world changed meanwhile.
  expect(await withAdmin(kafka, (admin) => admin.listTopics())).not.toContain(topic)
  const after = await changes()
  expect(after).toBeGreaterThan(before)
  await eventually('it to be made again', async () => {
    const brokers = kafka.brokers.split(',')
    await applyTopics({ brokers, prefix: kafka.prefix, clientId: 'test', partitions: PARTITIONS }, silent())
    return true
  })
  // Each calendar rings again after the topic is there.
  await eventually('the load to go on', async () => (await changes()) > after + 150, 60_000)
  await world.admin('DELETE', `/admin/load/${loadId}`)
  await expectConverged(world, accounts)
  expect(processes.map(({ pid, running }) => [pid, running])).toEqual(pids.map((pid) => [pid, true]))
}, 240_000)
