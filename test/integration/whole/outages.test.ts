// Postgres and Kafka, each stopped under load and back: nothing is lost, no process is alive but
// dead, and work goes on by itself. The outage lasts 20 s, longer than the consumers' session
// (8 s), a producer's patience (10 s) and every timeout of a query.
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { migrate } from '#shared/store/migrate.ts'
import { Secret } from '#shared/process/secret.ts'
import type { Component } from '../../../infra/stack/component.ts'
import { expectConverged } from '../../support/converged.ts'
import { eventually } from '../../support/eventually.ts'
import type { Stoppable } from '../../support/component-types.ts'
import { startOwnKafka, startOwnPostgres, testStack } from '../../support/stack.ts'
import { openWorld, type Account, type World } from '../../support/world.ts'

const OUTAGE_MS = 20_000
const SERVICES = ['relay', 'retry', 'scheduler', 'ingress', 'sync'] as const

const owned: AsyncDisposable[] = []
afterEach(async () => {
  for (const part of owned.splice(0).toReversed()) await part[Symbol.asyncDispose]()
})

/**
 * Syncs accounts, stops the component under load for 20 s, lets it come back,
 * and expects the world to be right again.
 */
async function survives(
  world: World,
  component: Stoppable,
): Promise<{ processes: readonly Component[]; pids: readonly number[] }> {
  const processes = await Promise.all(SERVICES.map((name) => world.start(name)))
  const pids = processes.map(({ pid }) => pid)
  const accounts: readonly Account[] = await Promise.all(
    Array.from({ length: 6 }, () => world.connect({ calendars: 1, eventsPerCalendar: 30 })),
  )
  await expectConverged(world, accounts)
  const load = await world.admin<{ loadId: string }>('POST', '/admin/load', {
    changesPerSecond: 20,
    durationMs: OUTAGE_MS + 15_000,
    seed: 11,
  })
  await eventually('changes to be made', async () => (await progress(world, load.loadId)).changes > 20)
  const before = (await progress(world, load.loadId)).changes
  await component.stop()
  await outage()
  // The witness: the world changed while the component was away.
  expect((await progress(world, load.loadId)).changes - before).toBeGreaterThan(100)
  await component.restart(AbortSignal.timeout(60_000))
  await eventually('the load to end', async () => (await progress(world, load.loadId)).done, 60_000)
  await expectConverged(world, accounts)
  return { processes, pids }
}

function progress(world: World, loadId: string) {
  return world.admin<{ done: boolean; changes: number }>('GET', `/admin/load/${loadId}`)
}

/**
 * The length of the outage is what this test is about,
 * so here a time is waited for and not a condition.
 */
function outage(): Promise<void> {
  return delay(OUTAGE_MS)
}

async function expectAlive({ processes, pids }: Awaited<ReturnType<typeof survives>>): Promise<void> {
  expect(processes.map(({ pid }) => pid)).toEqual(pids)
  expect(processes.map(({ name, running }) => `${name} ${running}`)).toEqual(
    processes.map(({ name }) => `${name} true`),
  )
}

describe('Postgres stopped for 20 s under load', () => {
  test('loses nothing; every process lives on and catches up by itself', async () => {
    const postgres = await startOwnPostgres(['calstream'])
    owned.push(postgres)
    const { rolePasswords } = testStack()
    await migrate({ url: new Secret(postgres.url('calstream')), rolePasswords: { ...rolePasswords } })
    const world = await openWorld({
      label: 'postgres-outage',
      databaseUrl: (role) =>
        postgres.url('calstream', role && { name: role, password: rolePasswords[role] ?? '' }),
    })
    owned.push(world)
    await expectAlive(await survives(world, postgres))
  }, 240_000)
})

describe('Kafka stopped for 20 s under load', () => {
  test('loses nothing; every process lives on and catches up by itself', async () => {
    const kafka = await startOwnKafka()
    owned.push(kafka)
    const world = await openWorld({ label: 'kafka-outage', brokers: kafka.brokers })
    owned.push(world)
    await expectAlive(await survives(world, kafka))
  }, 240_000)
})
