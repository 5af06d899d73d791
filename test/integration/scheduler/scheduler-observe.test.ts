// What the scheduler reports about everybody: connections by state, what waits and since when, and
// all of it also while the service that works on it does not live.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Component } from '../../../infra/stack/component.ts'
import { eventually } from '../../support/eventually.ts'
import { look, openWorld, type Account, type World } from '../../support/world.ts'

const WITHIN_MS = 60_000

let world: World
let scheduler: Component
let relay: Component
let account: Account

beforeAll(async () => {
  world = await openWorld({ label: 'observe' })
  ;[scheduler, relay] = await Promise.all([world.start('scheduler'), world.start('relay')])
  account = await world.connect({ calendars: 1, eventsPerCalendar: 5 })
})
afterAll(() => world[Symbol.asyncDispose]())

const told = (name: string, label = '') => world.metric(scheduler, `calendar_sync_${name}`, label)
const ask = <R extends object>(sql: string, values: readonly unknown[] = []) =>
  look<R>(world.env['POSTGRES_URL'] ?? '', sql, values)

test('lag, its age and dirty connections are reported while no sync runs, and are gone once one does', async () => {
  const lag = () => told('lag', 'topic="calendar.sync.requested.google.v1"')
  const oldest = () => told('ring_oldest_seconds', 'vendor="google"')
  const dirty = () => told('connections', 'state="sync_needed"')
  await eventually('the lag to show', async () => (await lag()) > 0, WITHIN_MS)
  await eventually('the dirty connection to show', async () => (await dirty()) === 1, WITHIN_MS)
  await eventually('the request to be some seconds old', async () => (await oldest()) > 5, WITHIN_MS)
  expect(await told('ring_oldest_seconds', 'vendor="microsoft"')).toBe(0)
  const sync = await world.start('sync')
  await eventually('the connection to be clean', async () => (await dirty()) === 0, WITHIN_MS)
  expect(await told('connections', 'state="active"')).toBe(1)
  // Of a topic that a relay writes: its last offset is the marker of a transaction.
  await eventually('nothing to lie ahead', async () => (await lag()) === 0, WITHIN_MS)
  await eventually('nothing to be old', async () => (await oldest()) === 0, WITHIN_MS)
  const ofSync = await world.metric(sync, 'calendar_sync_ring_oldest_seconds', 'vendor="google"')
  expect(ofSync).toBe(0)
})

test('the outbox is told of while no relay runs', async () => {
  await eventually(
    'the outbox to be empty',
    async () => (await told('outbox_oldest_seconds')) === 0,
    WITHIN_MS,
  )
  await relay[Symbol.asyncDispose]()
  await world.connect({ calendars: 1, eventsPerCalendar: 1 })
  await eventually(
    'its oldest row to be some seconds old',
    async () => (await told('outbox_oldest_seconds')) > 3,
    WITHIN_MS,
  )
  expect(await told('outbox_backlog')).toBeGreaterThan(0)
  relay = await world.start('relay')
  await eventually(
    'the outbox to be empty',
    async () => (await told('outbox_oldest_seconds')) === 0,
    WITHIN_MS,
  )
})

test('what waits for a gate, dead letters, the last notification and the oldest sync are told, without ids', async () => {
  await eventually(
    'a channel to be open',
    async () => (await ask('select from channels where status = $1', ['open'])).length > 0,
    WITHIN_MS,
  )
  // Of a provider that is on no list, so the scheduler does not ring it.
  await ask(
    `with kept_out as (
       insert into external_calendar_connections (provider_id, vendor, vendor_account_id)
       values (gen_random_uuid(), 'google', 'kept out') returning id)
     insert into held_requests (connection_id, gate) select id, 'CALENDAR_ALLOWLIST_PROVIDER_IDS' from kept_out`,
  )
  await ask(
    `insert into dead_letters (partition, topic_offset, code, attempts, last_failed_at, origin_topic)
     values (0, 7, 'message/unreadable', 1, now(), 'calendar.sync.requested.google.v1')`,
  )
  await ask(
    `insert into webhook_dedupe_keys (connection_id, delivery_key, seen_at) values ($1, 'k', now() - interval '10 min')`,
    [account.connectionId],
  )
  await ask(
    `update external_calendar_connections set last_synced_at = now() - interval '1 hour' where id = $1`,
    [account.connectionId],
  )
  const rang = () => told('last_notification_age_seconds', 'vendor="google"')
  await eventually('the last notification to be told', async () => (await rang()) >= 600, WITHIN_MS)
  expect(await rang()).toBeLessThan(900)
  expect(await told('held_connections', 'gate="CALENDAR_ALLOWLIST_PROVIDER_IDS"')).toBe(1)
  expect(await told('held_connections')).toBe(1)
  expect(await told('causes', 'cause="provider_not_allowed"')).toBe(1)
  expect(await told('dead_letters_waiting', 'code="message/unreadable"')).toBe(1)
  await eventually(
    'the oldest sync to be told',
    async () => (await told('oldest_synced_seconds', 'vendor="google"')) >= 3600,
    WITHIN_MS,
  )
  expect(await told('oldest_synced_seconds', 'vendor="microsoft"')).toBe(0)
  // Microsoft has no channel, so its silence says nothing.
  const text = await (await fetch(`${world.adminUrl(scheduler)}/metrics`)).text()
  expect(text).toContain('calendar_sync_last_notification_age_seconds{vendor="google"}')
  expect(text).not.toContain('calendar_sync_last_notification_age_seconds{vendor="microsoft"}')
  expect(text).not.toContain(account.connectionId)
})
