// A world whose days pass in seconds. The vendor's clock, the database's calstream_now() and the
// services' Clock are one clock, ahead of the wall clock by the same shift; it stands (but for real
// seconds) while work goes on and jumps when a test says so. The services run in this process,
// because a jump has to reach them; they are the real ones, on the real broker and database.
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { Gates } from '#shared/domain/gates.ts'
import type { Micros } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/process/clock.ts'
import { loadConfig as loadIngress } from '../../services/ingress/config.ts'
import { startIngress } from '../../services/ingress/service.ts'
import { loadConfig as loadRelay } from '../../services/relay/config.ts'
import { startRelay } from '../../services/relay/service.ts'
import { loadConfig as loadRetry } from '../../services/retry/config.ts'
import { startRetry } from '../../services/retry/service.ts'
import { loadConfig as loadScheduler } from '../../services/scheduler/config.ts'
import { startScheduler } from '../../services/scheduler/service.ts'
import { loadConfig as loadSync } from '../../services/sync/config.ts'
import { startSync } from '../../services/sync/service.ts'
import { serviceEnv, type ServiceName } from '../../infra/stack/services.ts'
import type { Span } from './backoff-calls.ts'

const QUIET_LOOKS = 2
const LOOK_MIN_MS = 10
/** Work that lasts is looked at less often: each look costs what the work needs. */
const LOOK_MAX_MS = 50
const LOOK_GROWTH = 1.5
const REST_MS_MAX = 5_000

const EVERYTHING_ON: Gates = {
  sync: () => ({ state: 'on' }),
  jobs: () => ({ state: 'on' }),
  webhook: () => ({ state: 'on' }),
  oauth: () => ({ state: 'on' }),
}

/** The services' settings and the clock of the vendors that they ask. */
export interface TimedWorld {
  readonly env: Readonly<Record<string, string>>
  /** Moves the clock of the vendors on, by `ms`. */
  moveVendors(ms: number): Promise<void>
}

/** See openSimulatedDays. */
export class SimulatedDays implements AsyncDisposable {
  readonly world: TimedWorld
  readonly #database: pg.Client
  readonly #owned: AsyncDisposableStack
  readonly #clock: { shiftMs: number }
  readonly #runJobs: () => Promise<number>
  /** Rests that ended by the deadline, not by quiet: they cost time, never truth. */
  unrested = 0
  /**
   * When the vendor's clock was ahead of the database's, by the vendor's clock:
   * two clocks cannot move at one moment.
   */
  readonly jumps: Span[] = []

  constructor(parts: {
    world: TimedWorld
    database: pg.Client
    owned: AsyncDisposableStack
    clock: { shiftMs: number }
    runJobs: () => Promise<number>
  }) {
    this.world = parts.world
    this.#database = parts.database
    this.#owned = parts.owned
    this.#clock = parts.clock
    this.#runJobs = parts.runJobs
  }

  /** ms epoch of the simulated clock. */
  now(): number {
    return Date.now() + this.#clock.shiftMs
  }

  /**
   * Moves every clock on. The vendor goes first: what it rings on the way finds the product a
   * little behind, as in life.
   */
  async advance(ms: number): Promise<void> {
    // The vendor's clock stops at each of its timers on the way,
    // so a call may bear any time in between.
    const from = this.now()
    await this.world.moveVendors(ms)
    this.#clock.shiftMs += ms
    await this.#database.query(`update simulated_clock set shift = $1 * interval '1 millisecond'`, [
      this.#clock.shiftMs,
    ])
    this.jumps.push({ from, to: this.now() })
  }

  /**
   * Runs the scheduler's jobs that are due and waits until nothing is left to do now,
   * or five real seconds have passed.
   */
  async work(): Promise<void> {
    await this.#runJobs()
    const deadline = performance.now() + REST_MS_MAX
    let lookMs = LOOK_MIN_MS
    for (let quiet = 0; quiet < QUIET_LOOKS;) {
      quiet = (await this.#isQuiet()) ? quiet + 1 : 0
      lookMs = quiet > 0 ? LOOK_MIN_MS : Math.min(LOOK_MAX_MS, lookMs * LOOK_GROWTH)
      if (performance.now() > deadline) {
        this.unrested += 1
        return
      }
      await delay(lookMs)
    }
  }

  async query<R extends object>(sql: string, values: readonly unknown[] = []): Promise<R[]> {
    return (await this.#database.query<R & pg.QueryResultRow>(sql, [...values])).rows
  }

  async #isQuiet(): Promise<boolean> {
    const [row] = await this.query<{ busy: boolean }>(
      `select exists (select from outbox) or exists (
         select from external_calendar_connections where status = 'active' and sync_needed
            and (backoff_until is null or backoff_until <= calstream_now())) as busy`,
    )
    return row?.busy === false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync()
  }
}

/**
 * Starts the five services of a world on one clock that can be moved on.
 * Its vendors must be of this process.
 */
export async function openSimulatedDays(world: TimedWorld, signal: AbortSignal): Promise<SimulatedDays> {
  await using owned = new AsyncDisposableStack()
  const database = new pg.Client({
    connectionString: world.env['POSTGRES_URL'],
    application_name: 'calstream-days',
    query_timeout: 10_000,
  })
  await database.connect()
  owned.defer(() => database.end())
  await database.query(`
    create table simulated_clock (shift interval not null);
    insert into simulated_clock values (interval '0');
    grant select on simulated_clock to public;
    create or replace function calstream_now() returns timestamptz language sql volatile parallel safe
      as $$ select clock_timestamp() + (select shift from public.simulated_clock) $$`)
  const state = { shiftMs: 0 }
  const clock: Clock = { now: () => Math.round((Date.now() + state.shiftMs) * 1000) as Micros }
  const overrides = { clock, gates: EVERYTHING_ON }
  const env = (name: ServiceName) => ({
    LOG_LEVEL: 'error',
    ...serviceEnv(name, { ...world.env, [`ADMIN_PORT`]: '0' }),
  })
  owned.use(await startRelay(loadRelay(env('relay')), signal))
  owned.use(await startRetry(loadRetry(env('retry')), signal, overrides))
  owned.use(await startSync(loadSync(env('sync')), signal, overrides))
  const scheduler = owned.use(
    await startScheduler(loadScheduler(env('scheduler')), signal, { ...overrides, onDemand: true }),
  )
  owned.use(await startIngress(loadIngress(env('ingress')), signal, { gates: EVERYTHING_ON }))
  const all = owned.move()
  return new SimulatedDays({ world, database, owned: all, clock: state, runJobs: () => scheduler.runJobs() })
}
