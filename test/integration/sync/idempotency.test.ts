// One notification said many times: stormed by many senders at once, out of order, and again days
// later. It has one effect, and the table that remembers what was answered keeps up with what is
// forgotten. The vendor's own notifications are paused, and neither scheduler nor retry run after
// the first sync, so every unit is rung by a delivery of this file, and the epoch counts them.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { calendarId, connectionId, providerId } from '#shared/domain/ids.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import { openDatabase, type Queryable } from '#shared/store/database.ts'
import { loadConfig } from '../../../services/scheduler/config.ts'
import { forgetOld } from '../../../services/scheduler/retention.ts'
import { startScheduler } from '../../../services/scheduler/service.ts'
import { freshToken } from '../../support/channel-token.ts'
import { expectConverged } from '../../support/converged.ts'
import { eventually } from '../../support/eventually.ts'
import { openReader, quiet, type Reader } from '../../support/outbox.ts'
import { openSchedulerWorld } from '../../support/scheduler-world.ts'
import { countListings } from '../../support/simulator.ts'
import { look, openWorld, type Account, type World } from '../../support/world.ts'

const NEVER = new AbortController().signal
const SENDERS = 20
const CHANNEL = randomUUID()

let world: World
let account: Account
let token: string
let published: Reader
let lastNumber = 1_000_000

beforeAll(async () => {
  world = await openWorld({ label: 'idempotency' })
  await world.admin('POST', '/admin/notifications', { paused: true })
  await Promise.all((['relay', 'ingress', 'sync'] as const).map((name) => world.start(name)))
  // Rings the first request again, should it have come before the gates heard of the connection.
  const scheduler = await world.start('scheduler')
  account = await world.connect({ calendars: 1, eventsPerCalendar: 40 })
  await expectConverged(world, [account])
  await scheduler.stop()
  const kafka = { brokers: world.env['KAFKA_BROKERS'] ?? '', prefix: world.prefix }
  published = await openReader(kafka, [TOPICS.eventChanged, TOPICS.eventState])
  const [calendar] = await ask<{ id: string }>(
    'select id from external_calendars where connection_id = $1 and selected',
    [account.connectionId],
  )
  token = freshToken(parseKeyring(new Secret(world.env['CHANNEL_TOKEN_KEYS'] ?? '')), {
    vendor: 'google',
    connectionId: connectionId(account.connectionId),
    providerId: providerId(account.providerId),
    calendarId: calendarId(calendar?.id ?? ''),
  })
  // The ingress hears of the allowlists within two seconds.
  await eventually('the door to be open', async () => (await deliver(1)) === 202)
  await answered(1)
}, 180_000)

afterAll(async () => {
  await published?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
})

function ask<R extends object>(sql: string, values: readonly unknown[] = []): Promise<R[]> {
  return look<R>(world.env['POSTGRES_URL'] ?? '', sql, values)
}

/** One delivery, as Google sends it. @returns the status of the answer. */
async function deliver(messageNumber: number): Promise<number> {
  const response = await fetch(`${world.env['PUBLIC_URL']}/api/webhooks/calendar/google`, {
    method: 'POST',
    headers: {
      'x-goog-resource-state': 'exists',
      'x-goog-channel-id': CHANNEL,
      'x-goog-message-number': String(messageNumber),
      'x-goog-resource-id': 'resource',
      'x-goog-channel-token': token,
    },
    signal: AbortSignal.timeout(20_000),
  })
  await response.arrayBuffer()
  return response.status
}

/**
 * All of these deliveries, by twenty senders at once, each one after the other;
 * one that is refused for now is sent again.
 */
async function storm(numbers: readonly number[]): Promise<void> {
  const waiting = numbers.values()
  const sender = async () => {
    for (const number of waiting) {
      await eventually(`delivery ${number} to be accepted`, async () => (await deliver(number)) === 202)
    }
  }
  await Promise.all(Array.from({ length: SENDERS }, sender))
}

const keyOf = (messageNumber: number) => `g:${CHANNEL}:${messageNumber}`

async function recorded(): Promise<readonly string[]> {
  const rows = await ask<{ key: string }>(
    'select delivery_key as key from webhook_dedupe_keys where connection_id = $1 order by 1',
    [account.connectionId],
  )
  return rows.map(({ key }) => key)
}

async function answered(...numbers: readonly number[]): Promise<void> {
  await eventually(
    `the numbers ${numbers.join()} to be answered`,
    async () => {
      const keys = new Set(await recorded())
      return numbers.every((number) => keys.has(keyOf(number)))
    },
    60_000,
  )
}

/**
 * Returns when every delivery so far has been through the claim: a new number, which stands behind
 * them in their partition, is answered by the unit of its own that it needs.
 */
async function allClaimed(): Promise<void> {
  lastNumber += 1
  await storm([lastNumber])
  await answered(lastNumber)
}

/** Units that ran, calls for events, and all that may not move when nothing new was said. */
async function state() {
  const [connection] = await ask<{ units: number; version: string; rows: string }>(
    `select sync_epoch::int as units, version::text as version,
       (select md5(string_agg(e::text, '|' order by e.vendor_event_id)) from external_calendar_events e) as rows
       from external_calendar_connections where id = $1`,
    [account.connectionId],
  )
  const { units = 0, ...held } = connection ?? {}
  return {
    units,
    listings: await countListings(world),
    held: { ...held, published: published.records.length },
  }
}

/** The keys are as old as if this time had passed since their answer. */
const age = (interval: string) =>
  ask('update webhook_dedupe_keys set seen_at = calstream_now() - $1::interval', [interval])

/** One run of the scheduler's job, in its role. */
async function forget(): Promise<number> {
  const url = new Secret(world.env['POSTGRES_URL_SCHEDULER'] ?? '')
  await using database = openDatabase({ url, applicationName: 'idempotency', poolMax: 1 }, quiet)
  return await forgetOld(database, NEVER)
}

describe('a notification', () => {
  test('that 20 senders deliver 500 times has one unit, one listing and one change published', async () => {
    const calendar = encodeURIComponent(account.calendars[0]?.id ?? '')
    await world.admin('POST', `/admin/accounts/${account.accountId}/calendars/${calendar}/events`, {})
    const before = await state()
    await storm(Array.from({ length: 500 }, () => 700))
    await answered(700)
    await allClaimed()
    const after = await state()
    // One for the storm, and the control: one for the new number behind it.
    expect(after.units - before.units).toBe(2)
    expect(after.listings - before.listings).toBe(2)
    expect((await recorded()).filter((key) => key === keyOf(700))).toHaveLength(1)
    await expectConverged(world, [account])
    // The change and its state.
    await eventually('the change to be read', () => published.records.length >= before.held.published + 2)
    expect(published.records.length).toBe(before.held.published + 2)
  }, 120_000)

  test('among many that come doubled and out of order has at most one unit for each number', async () => {
    const before = await state()
    const numbers = Array.from({ length: 300 }, (_, index) => 803 - (index % 3))
    await storm(numbers)
    await answered(801, 802, 803)
    await allClaimed()
    const after = await state()
    expect(after.units - before.units).toBeLessThanOrEqual(4)
    expect(after.listings - before.listings).toBeLessThanOrEqual(4)
    expect(after.held).toEqual(before.held)
  }, 120_000)

  test('that comes again a week later is still known; after its eight days it is a sync that finds nothing', async () => {
    await storm([900])
    await answered(900)
    await age('7 days 23 hours')
    expect(await forget()).toBe(0)
    const known = await state()
    await storm(Array.from({ length: 40 }, () => 900))
    await allClaimed()
    const still = await state()
    expect(still.units - known.units).toBe(1)

    await age('8 days 1 minute')
    expect(await forget()).toBeGreaterThan(0)
    expect(await recorded()).toEqual([])
    await storm(Array.from({ length: 40 }, () => 900))
    await answered(900)
    await allClaimed()
    const anew = await state()
    expect(anew.units - still.units).toBe(2)
    expect(anew.held).toEqual(known.held)
  }, 120_000)
})

describe('the table of delivery keys', () => {
  test('is kept small in statements of 5 000 rows, at most 100 000 in a run, and a run comes every minute', async () => {
    await using own = await openSchedulerWorld('idempotency-keys')
    const [id] = await own.connect({})
    const add = (count: number, days: number) =>
      own.db.query(
        `insert into webhook_dedupe_keys (connection_id, delivery_key, seen_at)
         select $1, $3::int || ' ' || n, calstream_now() - $3 * interval '1 day' from generate_series(1, $2::int) n`,
        [id, count, days],
      )
    const left = async () =>
      Number((await own.db.query('select count(*) from webhook_dedupe_keys')).rows[0]?.['count'])
    await add(121_000, 9)
    await add(1_000, 7)
    const deleted: number[] = []
    const watched: Queryable = {
      async query(text, values) {
        const answer = await own.deps.db.query<never>(text, values)
        if (text.includes('delete from webhook_dedupe_keys')) deleted.push(answer.rowCount)
        return answer
      },
    }
    expect(await forgetOld(watched, NEVER)).toBe(100_000)
    expect(deleted).toEqual(Array.from({ length: 20 }, () => 5_000))
    expect(await forgetOld(watched, NEVER)).toBe(21_000)
    expect(await left()).toBe(1_000)

    await using _scheduler = await startScheduler(loadConfig(own.env), NEVER, { gates: own.deps.gates })
    const ran = () =>
      own.db.query("select from job_leases where job = 'retention' and last_run_at is not null")
    await eventually('the first run', async () => (await ran()).rowCount === 1)
    await add(5_000, 10)
    // As if a minute had passed.
    await own.db.query(
      "update job_leases set last_run_at = last_run_at - interval '1 minute' where job = 'retention'",
    )
    await eventually('the next run', async () => (await left()) === 1_000)
  }, 120_000)
})
