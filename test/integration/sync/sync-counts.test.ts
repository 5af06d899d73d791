// What is counted of failures, against the ledger of the play vendor, which knows what it was asked
// and what it answered.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { startTelemetry, type Telemetry } from '#shared/process/telemetry.ts'
import { openSyncWorld, type SyncWorld } from '../../support/sync-world.ts'
import { failedWith, partlyWith } from '../../support/unit-ends.ts'
import type { Account } from '../../support/world.ts'

let world: SyncWorld
let telemetry: Telemetry

beforeAll(async () => {
  telemetry = startTelemetry({ service: 'test' })
  world = await openSyncWorld('sync counts')
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await telemetry[Symbol.asyncDispose]()
})
beforeEach(async () => {
  await world.calm()
  await world.told()
  await world.calls(undefined, '')
})

/** Samples of a metric by their labels; those at 0 are left out. */
async function counted(name: string): Promise<ReadonlyMap<string, number>> {
  const samples = [...(await telemetry.scrape()).matchAll(new RegExp(`^${name}\\{([^}]*)\\} (\\S+)$`, 'gm'))]
  return new Map(samples.map(([, labels = '', value]) => [labels, Number(value)]))
}

/** What was added to a metric since `before`. */
async function added(name: string, before: ReadonlyMap<string, number>) {
  const rise = [...(await counted(name))].map(([labels, value]) => [
    labels,
    value - (before.get(labels) ?? 0),
  ])
  return Object.fromEntries(rise.filter(([, value]) => value !== 0)) as Record<string, number>
}

const ANSWERS = 'calendar_sync_vendor_answers_total'
const FAILURES = 'calendar_sync_failures_total'
const OF_CALENDARS = 'calendar_sync_calendar_failures_total'

interface Fault {
  readonly what: object
  readonly code: string
  /** How the ledger and the count call the answer; null where the vendor sends none. */
  readonly status: number | null
}

const FAULTS: readonly Fault[] = [
  { what: { respond: { status: 503 } }, code: 'vendor/unavailable', status: 503 },
  { what: { respond: { status: 500 } }, code: 'vendor/unavailable', status: 500 },
  { what: { respond: { status: 403, reason: 'rateLimitExceeded' } }, code: 'vendor/throttled', status: 403 },
  { what: { truncate: true }, code: 'vendor/unreadable-answer', status: 200 },
  { what: { html: true }, code: 'vendor/unavailable', status: 502 },
  { what: { reset: 'before' }, code: 'vendor/unavailable', status: null },
]

async function attempt(account: Account, fault: Fault): Promise<void> {
  await world.fault({ ...fault.what, match: { accountId: account.accountId } })
  await world.endBackoff(account)
  await world.sql('delete from call_budgets')
  expect(await world.sync(account), JSON.stringify(fault.what)).toEqual(failedWith(fault.code))
  await world.noFaults()
}

test('failures are as many as the attempts that failed at the vendor, for each kind of fault', async () => {
  const accounts = await Promise.all(FAULTS.map(() => world.synced()))
  await world.calls(undefined, '')
  const [answers, failures] = [await counted(ANSWERS), await counted(FAILURES)]
  for (const [i, fault] of FAULTS.entries()) {
    await attempt(accounts[i]!, fault)
    await attempt(accounts[i]!, fault)
  }
  // The ledger: every request of these accounts, each with its fault.
  const ledger = await world.calls(undefined, '')
  expect(ledger.length).toBe(FAULTS.length * 2)
  const rise = await added(FAILURES, failures)
  const sum = Object.values(rise).reduce((total, one) => total + one, 0)
  expect(sum).toBe(ledger.length)
  expect(Object.keys(rise).filter((labels) => !labels.includes('call="made"'))).toEqual([])
  for (const code of new Set(FAULTS.map((fault) => fault.code))) {
    const staged = FAULTS.filter((fault) => fault.code === code).length * 2
    expect(rise[`vendor="google",code="${code}",call="made"`], code).toBe(staged)
  }
  const byStatus = Object.groupBy(FAULTS, ({ status }) => String(status ?? 'unavailable'))
  const expected = Object.entries(byStatus).map(([status, faults]) => [
    `vendor="google",status="${status}"`,
    (faults?.length ?? 0) * 2,
  ])
  expect(await added(ANSWERS, answers)).toEqual(Object.fromEntries(expected))
})

test('a unit whose call we keep back ourselves is counted as that, and the vendor saw nothing', async () => {
  const account = await world.synced()
  const headers = { 'retry-after': '700' }
  await world.fault({ respond: { status: 429, reason: 'rateLimitExceeded', headers } })
  const failures = await counted(FAILURES)
  expect(await world.sync(account)).toEqual(failedWith('vendor/throttled'))
  await world.noFaults()
  // Its own pause is over, and what all processes were told by the vendor stays.
  await world.sql('update external_calendar_connections set backoff_until = null where id = $1', [
    account.connectionId,
  ])
  const before = await counted(ANSWERS)
  await world.calls(undefined, '')
  expect(await world.sync(account)).toEqual(failedWith('vendor/throttled'))
  expect(await world.calls(undefined, '')).toEqual([])
  expect(await added(ANSWERS, before)).toEqual({})
  expect(await added(FAILURES, failures)).toEqual({
    'vendor="google",code="vendor/throttled",call="made"': 1,
    'vendor="google",code="vendor/throttled",call="none"': 1,
  })
})

test('a calendar that fails alone is counted once, also when Postgres refuses what was written first', async () => {
  const account = await world.connect({ calendars: 2, eventsPerCalendar: 5 })
  await world.sql(
    `alter table webhook_dedupe_keys add constraint no_counts_now check (delivery_key not like 'counted%')`,
  )
  const path = `${encodeURIComponent(account.calendars[0]!.id)}/events$`
  await world.fault({ match: { path }, respond: { status: 500 } })
  const [failures, before] = [await counted(FAILURES), await counted(OF_CALENDARS)]
  const ring = { reason: 'webhook', deliveryKey: 'counted 1' } as const
  expect(await world.sync(account, [ring])).toEqual(partlyWith('vendor/unavailable', 1))
  await world.sql('alter table webhook_dedupe_keys drop constraint no_counts_now')
  expect(await added(OF_CALENDARS, before)).toEqual({ 'vendor="google",code="vendor/unavailable"': 1 })
  expect(await added(FAILURES, failures)).toEqual({})
})

test('what a read finds is told by what had asked for it', async () => {
  const account = await world.synced()
  const name = 'calendar_sync_found_by_total'
  const before = await counted(name)
  await world.addEvent(account)
  await world.sync(account, [world.webhook(account)])
  await world.addEvent(account)
  await world.addEvent(account)
  await world.sync(account, [{ reason: 'reconcile' }])
  expect(await added(name, before)).toEqual({
    'vendor="google",by="notification"': 1,
    'vendor="google",by="reconcile"': 2,
  })
})
