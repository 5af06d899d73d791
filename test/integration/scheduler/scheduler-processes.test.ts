// Schedulers as processes beside a real ingress and the simulated vendors: several at once do the
// work once, one that is killed in the middle of it leaves nothing undone, and what Graph tells
// about its subscriptions is acted on.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Component } from '../../../infra/stack/component.ts'
import { eventually } from '../../support/eventually.ts'
import { measured } from '../../support/measured.ts'
import { look, openWorld, type Account, type World } from '../../support/world.ts'

const WITHIN_MS = 120_000
/** What one scheduler works at a time: more cannot be in doubt when it dies. */
const AT_ONCE = 8

let world: World
let schedulers: Component[]

beforeAll(async () => {
  world = await openWorld({ label: 'scheduler_processes', simulator: { latencyMs: 300 } })
  await world.start('ingress')
}, WITHIN_MS)
afterAll(() => world[Symbol.asyncDispose]())

const sql = <R extends object>(text: string, values: readonly unknown[] = []) =>
  look<R>(world.env['POSTGRES_URL'] ?? '', text, values)

/** Moves the database clock of the whole world on. */
const advance = (minutes: number) =>
  sql(`create or replace function calstream_now() returns timestamptz language sql volatile parallel safe
         as $$ select clock_timestamp() + interval '${minutes} minutes' $$`)

interface AtVendor {
  readonly id: string
  readonly accountId: string
  readonly calendarId: string
}

async function channelsAtVendors(): Promise<readonly AtVendor[]> {
  const { channels } = await world.admin<{ channels: AtVendor[] }>('GET', '/admin/channels')
  const { subscriptions } = await world.admin<{ subscriptions: AtVendor[] }>('GET', '/admin/subscriptions')
  return [...channels, ...subscriptions]
}

const openRows = () => sql<{ id: string }>(`select id from channels where status = 'open'`)

async function isSettled(calendars: number): Promise<boolean> {
  const rows = await openRows()
  const known = new Set((await channelsAtVendors()).map((channel) => channel.id))
  return rows.length === calendars && rows.every((row) => known.has(row.id))
}

describe('three schedulers', () => {
  test(
    'open one channel for each calendar of both vendors',
    async () => {
      const accounts: Account[] = []
      for (const vendor of ['google', 'microsoft', 'google', 'microsoft'] as const)
        accounts.push(await world.connect({ vendor, calendars: 3, eventsPerCalendar: 2 }))
      const calendars = accounts.flatMap((account) => account.calendars).length
      schedulers = await Promise.all([1, 2, 3].map(() => world.start('scheduler')))
      await eventually('each calendar to have a channel', () => isSettled(calendars), WITHIN_MS)
      const at = await channelsAtVendors()
      expect(at.length).toBe(calendars)
      expect(new Set(at.map((channel) => `${channel.accountId} ${channel.calendarId}`)).size).toBe(calendars)
      // Every one of them holds some job or waits for one; none does what another did.
      const runs = await Promise.all(
        schedulers.map((scheduler) =>
          world.metric(scheduler, 'calendar_sync_scheduler_runs_total', 'job="channels"'),
        ),
      )
      expect(runs.filter((count) => count > 0)).toHaveLength(1)
    },
    WITHIN_MS,
  )

  test(
    'lose the one that opens channels in the middle of it, and the others finish',
    async () => {
      const before = (await openRows()).length
      const accounts = await Promise.all(
        Array.from({ length: 8 }, () => world.connect({ calendars: 6, eventsPerCalendar: 1 })),
      )
      const calendars = before + accounts.flatMap((account) => account.calendars).length
      await eventually(
        'some channels to be open',
        async () => (await openRows()).length > before + 3,
        WITHIN_MS,
      )
      const [lease] = await sql<{ owner: string }>(`select owner from job_leases where job = 'channels'`)
      const holder = schedulers.find((scheduler) => lease?.owner.includes(`-${scheduler.pid}-`))
      expect((await openRows()).length).toBeLessThan(calendars)
      await holder!.kill()
      const killedAt = performance.now()
      await eventually(
        'another to hold the job',
        async () => {
          const [now] = await sql<{ owner: string }>(`select owner from job_leases where job = 'channels'`)
          return now?.owner !== lease?.owner
        },
        WITHIN_MS,
      )
      measured(
        `the job of a killed scheduler is taken over after ${Math.round(performance.now() - killedAt)} ms`,
      )
      // What was in opening is tried again two minutes after it began.
      await advance(3)
      await eventually('each calendar to have a channel', () => isSettled(calendars), WITHIN_MS)
      const doubled = (await channelsAtVendors()).length - calendars
      measured(`${doubled} channels are open twice after the kill`)
      expect(doubled).toBeGreaterThanOrEqual(0)
      expect(doubled).toBeLessThanOrEqual(AT_ONCE)
      // They rang with their first message, so they are found and stopped.
      await eventually(
        'all channels to be noted',
        async () => {
          const rows = await sql(`select from channel_notices where kind = 'seen' and vendor = 'google'`)
          return rows.length >= doubled
        },
        WITHIN_MS,
      )
      await advance(10)
      await eventually(
        'the doubled channels to be stopped',
        async () => (await channelsAtVendors()).length === calendars && (await isSettled(calendars)),
        WITHIN_MS,
      )
    },
    2 * WITHIN_MS,
  )
})

describe('a subscription of Graph', () => {
  test(
    'that the vendor removes is replaced at once, and one that is to be reauthorized is renewed',
    async () => {
      const account = await world.connect({ vendor: 'microsoft', calendars: 1, eventsPerCalendar: 2 })
      const own = async () => {
        const { subscriptions } = await world.admin<{
          subscriptions: (AtVendor & { paused: boolean; expiresAt: number })[]
        }>('GET', '/admin/subscriptions')
        return subscriptions.filter((subscription) => subscription.accountId === account.accountId)
      }
      await eventually(
        'it to be open',
        async () => (await own()).length === account.calendars.length,
        WITHIN_MS,
      )
      const [first] = await own()
      await eventually(
        'its row',
        async () => (await openRows()).some(({ id }) => id === first!.id),
        WITHIN_MS,
      )
      await world.admin('POST', '/admin/lifecycle', {
        event: 'reauthorizationRequired',
        accountId: account.accountId,
      })
      expect((await own())[0]!.paused).toBe(true)
      await eventually('it to be renewed', async () => (await own())[0]?.paused === false, WITHIN_MS)
      expect((await own())[0]!.id).toBe(first!.id)
      await world.admin('POST', '/admin/lifecycle', {
        event: 'subscriptionRemoved',
        accountId: account.accountId,
      })
      expect(await own()).toEqual([])
      await eventually('another to be open', async () => (await own()).length === 1, WITHIN_MS)
      expect((await own())[0]!.id).not.toBe(first!.id)
      await eventually('no notice to be left', async () => {
        const rows = await sql(`select from channel_notices where kind <> 'seen'`)
        return rows.length === 0
      })
    },
    WITHIN_MS,
  )

  test(
    'carries a change to the table in seconds, through its notification',
    async () => {
      await Promise.all([world.start('relay'), world.start('sync')])
      const account = await world.connect({ vendor: 'microsoft', calendars: 1, eventsPerCalendar: 2 })
      const [calendar] = account.calendars
      const held = async () =>
        (await sql('select from external_calendar_events where connection_id = $1', [account.connectionId]))
          .length
      const clean = async () => {
        const [row] = await sql<{ clean: boolean }>(
          `select not sync_needed and exists (select from channels where channels.connection_id = c.id and status = 'open') as clean
           from external_calendar_connections c where id = $1`,
          [account.connectionId],
        )
        return row!.clean
      }
      await eventually('it to be synced and watched', clean, WITHIN_MS)
      const before = await held()
      const began = performance.now()
      await world.admin(
        'POST',
        `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(calendar!.id)}/events`,
        {},
      )
      await eventually('the change to be held', async () => (await held()) === before + 1, WITHIN_MS)
      measured(`a change at Graph is in the table after ${Math.round(performance.now() - began)} ms`)
      const { attempts } = await world.admin<{ attempts: { status?: number; url: string }[] }>(
        'GET',
        '/admin/webhooks',
      )
      const taken = attempts.filter(({ url }) => url.endsWith('/microsoft')).map(({ status }) => status)
      expect(taken.length).toBeGreaterThan(0)
      expect(new Set(taken)).toEqual(new Set([202]))
    },
    WITHIN_MS,
  )
})
