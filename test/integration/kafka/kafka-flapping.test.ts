// A broker that goes and comes ten times under load: every second time it is gone, every other time
// it is there and mute. What the vendor told in between is in the tables and in the topics once,
// and nobody had to be started again.
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { openStreamReader } from '../../../infra/oracle/stream-reader.ts'
import { foldChanges } from '../../../infra/oracle/verify.ts'
import { expectConverged } from '../../support/converged.ts'
import { eventually } from '../../support/eventually.ts'
import { measured } from '../../support/measured.ts'
import { startOwnKafka, testStack } from '../../support/stack.ts'
import { openWorld } from '../../support/world.ts'

const SERVICES = ['relay', 'retry', 'scheduler', 'ingress', 'sync'] as const
const TIMES = 10
const DOWN_MS = 2_000
const UP_MS = 3_000
/**
 * Ended as soon as the broker stays:
 * stopping and starting one takes seconds too, on a slow machine many.
 */
const LOAD_MAX_MS = 240_000

const owned: AsyncDisposable[] = []
afterEach(async () => {
  for (const part of owned.splice(0).toReversed()) await part[Symbol.asyncDispose]()
})

/**
 * How long the broker is away and back is what this test is about,
 * so here a time is waited for and not a condition.
 */
function phase(ms: number): Promise<void> {
  return delay(ms)
}

test('a broker that flaps ten times under load loses nothing, doubles nothing and ends no process', async () => {
  const kafka = await startOwnKafka()
  owned.push(kafka)
  const world = await openWorld({ label: 'kafka-flapping', brokers: kafka.brokers })
  owned.push(world)
  const processes = await Promise.all(SERVICES.map((name) => world.start(name)))
  const pids = processes.map(({ pid }) => pid)
  const accounts = await Promise.all(
    Array.from({ length: 5 }, () => world.connect({ calendars: 1, eventsPerCalendar: 30 })),
  )
  await expectConverged(world, accounts)
  const { loadId } = await world.admin<{ loadId: string }>('POST', '/admin/load', {
    changesPerSecond: 20,
    durationMs: LOAD_MAX_MS,
    seed: 7,
  })
  const changes = async () => (await world.admin<{ changes: number }>('GET', `/admin/load/${loadId}`)).changes
  const changedWhileDown: number[] = []
  for (let time = 0; time < TIMES; time += 1) {
    if (time % 2 === 0) await kafka.stop()
    else await kafka.pause()
    const before = await changes()
    await phase(DOWN_MS)
    changedWhileDown.push((await changes()) - before)
    if (time % 2 === 0) await kafka.restart(AbortSignal.timeout(60_000))
    else await kafka.resume()
    await phase(UP_MS)
  }
  // Each calendar rings again when the broker stays.
  const soFar = await changes()
  await eventually('the load to go on', async () => (await changes()) > soFar + 200, 60_000)
  const made = await changes()
  await world.admin('DELETE', `/admin/load/${loadId}`)
  // The witness: the world changed each time while the broker was away.
  expect(Math.min(...changedWhileDown)).toBeGreaterThan(0)
  await expectConverged(world, accounts)
  expect(processes.map(({ pid, running }) => [pid, running])).toEqual(pids.map((pid) => [pid, true]))

  const topic = world.prefix + TOPICS.eventChanged
  await using reader = await openStreamReader({
    brokers: kafka.brokers.split(','),
    registryUrl: testStack().registryUrl,
    topics: [topic],
  })
  await eventually('the whole stream', async () => {
    const { rows } = await world.database.query<{ sum: number }>(
      'select sum(version)::int as sum from external_calendar_connections',
    )
    const told = reader.records(topic).map(({ key, headers }) => `${key} ${headers.get('ce_sequence')}`)
    return new Set(told).size === rows[0]?.sum
  })
  expect(sameAgain(reader.records(topic))).toEqual([])
  const { repeats } = foldChanges(reader.records(topic))
  measured(
    `${made} changes at the vendor, ${reader.records(topic).length} records, ${repeats} of them repeats of the relay with the same ce_id`,
  )
}, 400_000)

/** Versions of an event that were published twice as if they were new. */
function sameAgain(records: ReturnType<Awaited<ReturnType<typeof openStreamReader>>['records']>): string[] {
  const seen = new Map<string, { readonly sequence: number; readonly content: string }>()
  return records.flatMap(({ message }) => {
    if (message === null) return ['unreadable']
    const { sequence, eventId, change, event } = message
    const before = seen.get(eventId)
    if (before !== undefined && sequence <= before.sequence) return []
    const content = JSON.stringify([change, event])
    seen.set(eventId, { sequence, content })
    return before?.content === content ? [`${eventId} ${sequence}`] : []
  })
}
