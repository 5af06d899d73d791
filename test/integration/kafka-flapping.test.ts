// A broker that goes and comes ten times under load: every second time it is gone, every other time it is there and mute. What the
// vendor told in between is in the tables and in the topics once, and nobody had to be started again.
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { openStreamReader } from '../../infra/local/stream-reader.ts'
import { foldChanges } from '../../infra/local/verify.ts'
import { expectConverged } from '../support/converged.ts'
import { eventually } from '../support/eventually.ts'
import { measured } from '../support/measured.ts'
import { startOwnKafka, testStack } from '../support/stack.ts'
import { openWorld, type World } from '../support/world.ts'

const SERVICES = ['relay', 'retry', 'scheduler', 'ingress', 'sync'] as const
const TIMES = 10
const DOWN_MS = 2_000
const UP_MS = 3_000

const owned: AsyncDisposable[] = []
afterEach(async () => {
  for (const part of owned.splice(0).toReversed()) await part[Symbol.asyncDispose]()
})

/** How long the broker is away and back is what this test is about, so here a time is waited for and not a condition. */
function phase(ms: number): Promise<void> {
  return delay(ms)
}

function load(world: World, loadId: string) {
  return world.admin<{ done: boolean; changes: number }>('GET', `/admin/load/${loadId}`)
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
    durationMs: TIMES * (DOWN_MS + UP_MS) + 20_000,
    seed: 7,
  })
  const changedWhileDown: number[] = []
  for (let time = 0; time < TIMES; time += 1) {
    const before = (await load(world, loadId)).changes
    if (time % 2 === 0) await kafka.stop()
    else await kafka.pause()
    await phase(DOWN_MS)
    changedWhileDown.push((await load(world, loadId)).changes - before)
    if (time % 2 === 0) await kafka.restart(AbortSignal.timeout(60_000))
    else await kafka.resume()
    await phase(UP_MS)
  }
  // The witness: the world changed each time while the broker was away.
  expect(Math.min(...changedWhileDown)).toBeGreaterThan(0)
  await eventually('the load to end', async () => (await load(world, loadId)).done, 90_000)
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
  const { changes } = await load(world, loadId)
  const { repeats } = foldChanges(reader.records(topic))
  measured(
    `${changes} changes at the vendor, ${reader.records(topic).length} records, ${repeats} of them repeats of the relay with the same ce_id`,
  )
}, 300_000)

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
