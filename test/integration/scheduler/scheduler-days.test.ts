// Forty days of channels in a minute: one clock for the vendors, the database and the
// scheduler jumps on by six hours, and the jobs run on demand. Vendors end and forget
// subscriptions on the way.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Gates } from '#shared/domain/gates.ts'
import { createRandom } from '../../../infra/simulator/random.ts'
import { serviceEnv, type ServiceName } from '../../../infra/stack/services.ts'
import { loadConfig as loadScheduler } from '../../../services/scheduler/config.ts'
import { startScheduler, type Scheduler } from '../../../services/scheduler/service.ts'
import { eventually } from '../../support/eventually.ts'
import { measured } from '../../support/measured.ts'
import { look, openWorld, type World } from '../../support/world.ts'

const HOUR = 3_600_000
const STEP = 6 * HOUR
const STEPS = 160
const SEED = 'forty-days'
const WITHIN_MS = 300_000
const LOST = 0.05
const REMOVED = 0.05

const ON: Gates = {
  sync: () => ({ state: 'on' }),
  jobs: () => ({ state: 'on' }),
  webhook: () => ({ state: 'on' }),
  oauth: () => ({ state: 'on' }),
}

interface AtVendor {
  readonly id: string
  readonly calendarId: string
  readonly accountId: string
  readonly expiresAt: number
}

let world: World
let scheduler: Scheduler
let shiftMs = 0
const stop = new AbortController()

const sql = <R extends object>(text: string) => look<R>(world.env['POSTGRES_URL'] ?? '', text)

async function advance(ms: number): Promise<void> {
  shiftMs += ms
  await world.admin('POST', '/admin/clock', { advanceMs: ms })
  await sql(`create or replace function calstream_now() returns timestamptz language sql volatile parallel safe
               as $$ select clock_timestamp() + interval '${shiftMs} milliseconds' $$`)
}

async function live(): Promise<readonly AtVendor[]> {
  const { channels } = await world.admin<{ channels: AtVendor[] }>('GET', '/admin/channels')
  const { subscriptions } = await world.admin<{ subscriptions: AtVendor[] }>('GET', '/admin/subscriptions')
  return [...channels, ...subscriptions].filter((channel) => channel.expiresAt > Date.now() + shiftMs)
}

const watched = (channels: readonly AtVendor[]) =>
  new Set(channels.map((channel) => `${channel.accountId} ${channel.calendarId}`)).size

beforeAll(async () => {
  process.stderr.write(`forty days of channels, seed ${SEED}\n`)
  world = await openWorld({ label: 'scheduler_days', simulator: { seed: SEED } })
  await world.start('ingress')
  const env = (name: ServiceName) => serviceEnv(name, { ...world.env, ADMIN_PORT: '0', LOG_LEVEL: 'warn' })
  const clock = { now: () => (Date.now() + shiftMs) * 1000 }
  const overrides = { clock, gates: ON, onDemand: true }
  scheduler = await startScheduler(loadScheduler(env('scheduler')), stop.signal, overrides)
}, WITHIN_MS)

afterAll(async () => {
  stop.abort()
  await scheduler?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
})

test(
  'every calendar is watched the whole time, by one channel, but for what the vendor forgot without a word',
  async () => {
    const random = createRandom(SEED)
    let calendars = 0
    for (const vendor of ['google', 'microsoft', 'google', 'microsoft'] as const)
      calendars += (await world.connect({ vendor, calendars: 3, eventsPerCalendar: 1 })).calendars.length
    await scheduler.runJobs()
    expect(watched(await live())).toBe(calendars)
    const forgotten = new Set<string>()
    const counts = { lost: 0, removed: 0 }
    for (let step = 0; step < STEPS; step += 1) {
      const { subscriptions } = await world.admin<{ subscriptions: AtVendor[] }>(
        'GET',
        '/admin/subscriptions',
      )
      for (const { id } of subscriptions) {
        if (random.chance(LOST)) {
          await world.admin('POST', '/admin/subscriptions/lose', { id })
          forgotten.add(id)
          counts.lost += 1
        } else if (random.chance(REMOVED)) {
          await world.admin('POST', '/admin/lifecycle', { event: 'subscriptionRemoved', subscriptionId: id })
          counts.removed += 1
        }
      }
      await eventually('the vendor has told what it removed', async () => {
        const rows = await sql<{ id: string }>(`select id from channels where status = 'open'`)
        const noticed = await sql<{ id: string }>(
          `select channel_id as id from channel_notices where kind = 'removed'`,
        )
        const alive = new Set((await live()).map((channel) => channel.id))
        return rows.every(
          ({ id }) => alive.has(id) || forgotten.has(id) || noticed.some((one) => one.id === id),
        )
      })
      await advance(STEP)
      await scheduler.runJobs()
      const rows = await sql<{ id: string }>(`select id from channels where status = 'open'`)
      const dark = rows.filter(({ id }) => forgotten.has(id)).length
      expect(watched(await live()), `after step ${step}`).toBeGreaterThanOrEqual(calendars - dark)
    }
    expect(Math.min(counts.lost, counts.removed)).toBeGreaterThan(5)
    // What was forgotten without a word is found by its next renewal:
    // two days later nothing is dark.
    for (let step = 0; step < 8; step += 1) {
      await advance(STEP)
      await scheduler.runJobs()
    }
    await advance(2 * 60_000)
    await scheduler.runJobs()
    const end = await live()
    expect([watched(end), end.length]).toEqual([calendars, calendars])
    const { requests } = await world.admin<{ requests: unknown[] }>('GET', '/admin/requests')
    measured(
      `${((STEPS + 8) * STEP) / (24 * HOUR)} days of ${calendars} channels: ${counts.lost} forgotten, ${counts.removed} removed, ${requests.length} calls`,
    )
  },
  WITHIN_MS,
)
