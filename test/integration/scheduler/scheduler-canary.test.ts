// A canary of each vendor, with every service as a process and the play vendors: the change comes
// back by itself, and each leg that dies is named, alone, while all else is well. The minutes of a
// canary are passed by the clock of the database.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pino } from 'pino'
import { deadLegs } from '#shared/domain/canary.ts'
import { Secret } from '#shared/process/secret.ts'
import { addCanary, type Canary, readCanaries, removeCanary } from '#shared/store/canaries.ts'
import { type Database, openDatabase } from '#shared/store/database.ts'
import type { Component } from '../../../infra/stack/component.ts'
import { eventually } from '../../support/eventually.ts'
import { look, openWorld, type Account, type World } from '../../support/world.ts'

const SERVICES = ['ingress', 'sync', 'relay', 'scheduler'] as const
const VENDORS = ['google', 'microsoft'] as const
/** On a machine with many other tests. */
const WAIT_MS = 120_000
/** By the clock of the canaries. */
const TOLD_WITHIN_S = 300

let world: World
let accounts: readonly Account[]
let services: Readonly<Record<(typeof SERVICES)[number], Component>>
let db: Database
let shiftSeconds = 0
let lastRunAt = ''

beforeAll(async () => {
  world = await openWorld({ label: 'canary' })
  accounts = await Promise.all(VENDORS.map((vendor) => world.connect({ vendor, eventsPerCalendar: 3 })))
  const starting = SERVICES.map((name) => world.start(name))
  await Promise.allSettled(starting)
  const started = await Promise.all(starting)
  services = Object.fromEntries(SERVICES.map((name, at) => [name, started[at]])) as typeof services
  const url = new Secret(world.env['POSTGRES_URL_SCHEDULER'] ?? '')
  db = openDatabase({ url, applicationName: 'test', poolMax: 1 }, pino({ level: 'silent' }))
}, 240_000)
afterAll(async () => {
  await db?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
})

const owner = (sql: string) => look(world.env['POSTGRES_URL'] ?? '', sql)

async function pass(seconds: number): Promise<void> {
  shiftSeconds += seconds
  await owner(
    `create or replace function calstream_now() returns timestamptz language sql volatile parallel safe
       return clock_timestamp() + interval '${shiftSeconds} seconds'`,
  )
}

const dead = (canary: Canary) => deadLegs(canary, canary.now).map(({ leg }) => leg)

/**
 * All canaries are as `wanted` says. After each run of their job some seconds pass for them, so
 * that what lives has the time of a run for its part.
 */
async function untilAll(what: string, wanted: (canary: Canary) => boolean): Promise<void> {
  await eventually(
    what,
    async () => {
      const canaries = await readCanaries(db)
      if (canaries.length === VENDORS.length && canaries.every(wanted)) return true
      const [row] = await owner(`select last_run_at::text as at from job_leases where job = 'canaries'`)
      const { at } = row as { at: string }
      if (at !== lastRunAt) await pass(15)
      lastRunAt = at
      return false
    },
    WAIT_MS,
  )
}

/** A whole beat began and arrived, and nothing is called dead. */
async function untilWell(): Promise<void> {
  const before = new Map((await readCanaries(db)).map(({ connectionId, beat }) => [connectionId, beat]))
  await untilAll(
    'another beat to arrive',
    (canary) =>
      canary.arrivedAt !== null &&
      canary.beat >= (before.get(canary.connectionId) ?? 0) + 1 &&
      dead(canary).length === 0,
  )
}

async function metric(name: string): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`${world.adminUrl(services.scheduler)}/metrics`)).text()
  const lines = text.matchAll(new RegExp(`^${name}\\{([^}]*)\\} (\\S+)`, 'gm'))
  return new Map([...lines].map(([, labels = '', value]) => [labels, Number(value)]))
}

test('an account whose calendars are synced becomes a canary once, and its changes come back', async () => {
  for (const { connectionId } of accounts) {
    await eventually('the first read', async () => {
      const [row] = await owner(
        `select last_synced_at from external_calendar_connections where id = '${connectionId}'`,
      )
      return (row as { last_synced_at: Date | null } | undefined)?.last_synced_at
    })
    await eventually('a channel', async () =>
      (await owner(`select 1 from channels where connection_id = '${connectionId}' and status = 'open'`)).at(
        0,
      ),
    )
    expect(await addCanary(db, connectionId)).toBe(true)
    expect(await addCanary(db, connectionId)).toBe(false)
  }
  await untilWell()
  const changes = await world.admin<{ changes: { eventIds: string[] }[] }>('GET', '/admin/changes?after=0')
  const canaries = await readCanaries(db)
  for (const { vendorEventId, beat, silentSince } of canaries) {
    const own = changes.changes.filter(({ eventIds }) => eventIds.includes(vendorEventId ?? 'none'))
    // The event is made once and changed from then on.
    expect(own.length).toBeGreaterThanOrEqual(beat - 1)
    expect(silentSince).toBeNull()
  }
  expect(new Set(canaries.map(({ vendor }) => vendor))).toEqual(new Set(VENDORS))
}, 240_000)

describe('a leg that dies', () => {
  const kill = {
    push: () => world.admin('POST', '/admin/notifications', { drop: 1 }),
    sync: async () => services.sync.pause(),
    relay: async () => services.relay.pause(),
  }
  const heal = {
    push: () => world.admin('POST', '/admin/notifications', { drop: 0 }),
    sync: async () => services.sync.resume(),
    relay: async () => services.relay.resume(),
  }

  test.each(['push', 'sync', 'relay'] as const)(
    'is named within five minutes, and no other: %s; and is calm once it is back',
    async (leg) => {
      const began = shiftSeconds
      await kill[leg]()
      try {
        await untilAll(`${leg} to be called dead`, (canary) => dead(canary).includes(leg))
        expect(shiftSeconds - began).toBeLessThanOrEqual(TOLD_WITHIN_S)
        expect((await readCanaries(db)).map(dead)).toEqual(VENDORS.map(() => [leg]))
        await eventually('the metric to say so', async () =>
          [...(await metric('calendar_sync_canary_dead'))].every(
            ([labels, value]) => value === (labels.includes(`leg="${leg}"`) ? 1 : 0),
          ),
        )
      } finally {
        await heal[leg]()
      }
      await untilWell()
    },
    300_000,
  )
})

test('one that is none any more is changed no more', async () => {
  for (const { connectionId } of accounts) expect(await removeCanary(db, connectionId)).toBe(true)
  expect(await readCanaries(db)).toEqual([])
})
