// A world for units: real Postgres under the sync role, real registry, adapter and play vendor.
// The test starts units by hand, without Kafka. Gates are a literal that the test turns.
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { pino } from 'pino'
import { expect } from 'vitest'
import { z } from 'zod'
import type { SyncRequested } from '#schemas/messages.gen.ts'
import { REQUESTED_TOPIC, type SchemaTopic, TOPICS } from '#schemas/topics.ts'
import type { GateDecision, Gates } from '#shared/domain/gates.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import { systemClock } from '#shared/process/clock.ts'
import { openCodec, type Codec } from '#shared/kafka/codec.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { readEnv } from '#shared/process/settings.ts'
import { vendorsEnv } from '#shared/vendors/settings.ts'
import { Secret } from '#shared/process/secret.ts'
import { openDatabase } from '#shared/store/database.ts'
import { startTelemetry } from '#shared/process/telemetry.ts'
import { createVendors, type Vendors } from '#shared/vendors/index.ts'
import type { Mailboxes } from '#shared/vendors/mailbox.ts'
import { openStoredEvents } from '../../infra/oracle/rows.ts'
import { readTruth } from '../../infra/oracle/truth.ts'
import { compareHoldings, type Difference } from '../../infra/oracle/verify.ts'
import type { Permit } from '../../services/sync/lanes.ts'
import { syncConnection } from '../../services/sync/unit/sync-connection.ts'
import type { UnitDeps, UnitEnd } from '../../services/sync/unit/unit.ts'
import { eventually } from './eventually.ts'
import { testStack } from './stack.ts'
import { storedMailboxes } from './stored-mailboxes.ts'
import { openWorld, type Account, type World } from './world.ts'

const ON: GateDecision = { state: 'on' }
const OFF: GateDecision = {
  state: 'off',
  gate: 'CALENDAR_SYNC_ENABLED',
  text: 'Calendar sync not enabled',
}

/** A row of the outbox, decoded. */
export interface Told {
  readonly topic: string
  readonly key: string
  readonly headers: Readonly<Record<string, string>>
  readonly value: Buffer | null
  /** null for a tombstone and for the dead-letter topic, which has no schema. */
  readonly message: Readonly<Record<string, unknown>> | null
}

export interface SeenRequest {
  readonly accountId: string | null
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly status: number
}

export interface ConnectionState {
  readonly status: string
  readonly sync_needed: boolean
  readonly last_synced_at: Date | null
  readonly error_count: number
  readonly last_error: Readonly<Record<string, unknown>> | null
  readonly backoff_until: Date | null
  readonly sync_epoch: string
  readonly version: string
  readonly unfinished: number
  readonly listed_from: Date | null
  /** Milliseconds until the backoff ends, by the database clock. */
  readonly backoff_ms: number | null
}

export interface CalendarState {
  readonly id: string
  readonly vendor_calendar_id: string
  readonly cursor: string | null
  readonly checkpoint: { readonly pageToken: string | null } | null
  readonly generation: string
  readonly sweep_below: string | null
  readonly resync_after: Date | null
  readonly resync_streak: number
}

type Size = { vendor?: VendorName; calendars?: number; eventsPerCalendar?: number }

/** How a unit ends that has read what it was asked for. */
export const READ: UnitEnd = { kind: 'done', why: 'read' }

/** A permit that the test takes away (`abort`) or stops (`stop`). */
export function permitOf() {
  const stop = new AbortController()
  const abort = new AbortController()
  return { permit: { stopping: stop.signal, signal: abort.signal }, stop, abort }
}

type Parts = Pick<SyncWorld, 'world' | 'deps' | 'codec' | 'vendors' | 'mailboxesAt'> & {
  readonly pool: pg.Pool
  readonly owned: AsyncDisposableStack
}

/** See openSyncWorld. */
export class SyncWorld implements AsyncDisposable {
  readonly world: World
  readonly deps: UnitDeps
  readonly codec: Codec
  /** The adapters, and the product's mailboxes at them or at what a test makes of them. */
  readonly vendors: Vendors
  readonly mailboxesAt: (vendors: Vendors) => Mailboxes
  readonly #pool: pg.Pool
  readonly #owned: AsyncDisposableStack
  /** Answers of the sync gate to come, one per question; `on` when there are none. */
  readonly gateAnswers: ('on' | 'off')[] = []
  isGateOpen = true

  constructor(parts: Parts) {
    this.world = parts.world
    this.codec = parts.codec
    this.vendors = parts.vendors
    this.mailboxesAt = parts.mailboxesAt
    this.#pool = parts.pool
    this.#owned = parts.owned
    this.deps = { ...parts.deps, gates: this.#gates() }
  }

  /** No faults, full pages, open gates. */
  async calm(): Promise<void> {
    await this.world.admin('DELETE', '/admin/faults')
    await this.pageSize(2500)
    this.isGateOpen = true
    this.gateAnswers.length = 0
    await this.sql('delete from call_budgets')
  }

  /** An account, connected; its connect messages are out of the way. */
  async connect(size: Size = {}): Promise<Account> {
    const account = await this.world.connect({ calendars: 1, eventsPerCalendar: 20, ...size })
    await this.told()
    return account
  }

  /** An account that has been synced once; what that told and called is out of the way. */
  async synced(size: Size = {}): Promise<Account> {
    const account = await this.connect(size)
    expect(await this.sync(account)).toEqual(READ)
    expect(await this.differences(account)).toEqual([])
    await this.told()
    await this.calls()
    return account
  }

  /** Vendor ids of the held single events, sorted. */
  async eventIds(account: Account): Promise<string[]> {
    const rows = await this.sql<{ id: string }>(
      `select vendor_event_id as id from external_calendar_events
        where connection_id = $1 and series_id is null order by vendor_event_id`,
      [account.connectionId],
    )
    return rows.map(({ id }) => id)
  }

  /** The first calendar. */
  async calendarRow(account: Account): Promise<CalendarState> {
    const [row] = await this.sql<CalendarState>(
      'select * from external_calendars where connection_id = $1 order by created_at, id',
      [account.connectionId],
    )
    return row!
  }

  /** A single event of tomorrow, unless the fields say otherwise. */
  addEvent(account: Account, fields: object = {}): Promise<{ id: string }> {
    const start = { dateTime: new Date(Date.now() + 86_400_000).toISOString() }
    const end = { dateTime: new Date(Date.now() + 90_000_000).toISOString() }
    return this.world.admin('POST', eventsPath(account), { summary: 'added', start, end, ...fields })
  }

  changeEvent(account: Account, id: string, fields: object = {}): Promise<unknown> {
    return this.world.admin('PATCH', `${eventsPath(account)}/${id}`, fields)
  }

  deleteEvent(account: Account, id: string): Promise<unknown> {
    return this.world.admin('DELETE', `${eventsPath(account)}/${id}`)
  }

  expireCursors(account: Account): Promise<unknown> {
    return this.world.admin('POST', '/admin/cursors/expire', { accountId: account.accountId })
  }

  /** Runs `meanwhile` once an answer that meets a fault has begun, then waits for the work. */
  async slowly<T>(work: Promise<T>, meanwhile: () => Promise<void>): Promise<T> {
    await eventually('the call to be under way', async () => {
      const { faults } = await this.world.admin<{ faults: { hits: number }[] }>('GET', '/admin/faults')
      return faults.some((fault) => fault.hits > 0)
    })
    await meanwhile()
    return work
  }

  /** Runs one unit of a connection for these requests; a plain `api` request when none is given. */
  async sync(
    account: Account,
    requests: readonly Partial<SyncRequested>[] = [{}],
    permit: Partial<Permit> = {},
    deps: UnitDeps = this.deps,
  ): Promise<UnitEnd> {
    const made = requests.map((request, i) => {
      const message = this.request(account, request)
      const record = {
        topic: REQUESTED_TOPIC.google,
        partition: 0,
        offset: BigInt(i),
        timestampMs: 0,
        key: Buffer.from(account.connectionId),
        value: this.codec.encode(REQUESTED_TOPIC.google, message),
        headers: new Map<string, string>(),
      }
      return { message, record }
    })
    const never = new AbortController().signal
    return syncConnection(deps, made, { slot: 'backfill', stopping: never, signal: never, ...permit })
  }

  request(account: Account, request: Partial<SyncRequested>): SyncRequested & { vendor: VendorName } {
    return {
      connectionId: account.connectionId,
      providerId: account.providerId,
      reason: 'api',
      calendarId: null,
      deliveryKey: null,
      asOf: null,
      requestedAt: Date.now() * 1000,
      ...request,
      vendor: account.vendor,
    }
  }

  /** A notification of a calendar, with a key of its own. */
  webhook(account: Account, calendar?: string): Partial<SyncRequested> {
    return {
      reason: 'webhook',
      deliveryKey: `channel:${randomUUID()}`,
      calendarId: calendar ?? null,
      connectionId: account.connectionId,
    }
  }

  /** As superuser. */
  async sql<R extends object>(text: string, values: readonly unknown[] = []): Promise<R[]> {
    return (await this.#pool.query<R & pg.QueryResultRow>(text, [...values])).rows
  }

  async connection(account: Account): Promise<ConnectionState> {
    const [row] = await this.sql<ConnectionState>(
      `select *, (extract(epoch from backoff_until - calstream_now()) * 1000)::float8 as backoff_ms
         from external_calendar_connections where id = $1`,
      [account.connectionId],
    )
    return row!
  }

  /** Takes everything out of the outbox, as the relay would. */
  async told(): Promise<readonly Told[]> {
    const rows = await this.sql<Omit<Told, 'message'>>(
      `with taken as (delete from outbox returning id, topic, key, headers, value)
       select topic, key, headers, value from taken order by id`,
    )
    return Promise.all(
      rows.map(async (row) => {
        if (row.value === null || row.topic === TOPICS.deadLetter) return { ...row, message: null }
        const decoded = await this.codec.decode(row.topic as SchemaTopic, row.value)
        if (decoded.kind === 'unreadable') throw new Error(decoded.problem)
        return { ...row, message: { ...decoded.message } }
      }),
    )
  }

  /** What was told on one topic. */
  async toldOn(topic: string): Promise<readonly Told[]> {
    return (await this.told()).filter((row) => row.topic === topic)
  }

  /** Our rows against the vendor's truth; empty when they are equal. */
  async differences(account: Account): Promise<readonly Difference[]> {
    await using stored = await openStoredEvents(this.world.env['POSTGRES_URL']!)
    const connections = (await stored.connections()).filter(
      (one) => one.connectionId === account.connectionId,
    )
    const truth = await readTruth(this.world.simulator.adminUrl, connections)
    const rows = await stored.events([account.connectionId])
    return compareHoldings('Postgres', truth.holdings, rows, truth.mayDiffer)
  }

  /**
   * events.list calls since the last question, unless the pattern names others; of this account
   * alone where calls that a test before gave up may still end.
   */
  async calls(of?: Account, pattern = '/events$'): Promise<readonly SeenRequest[]> {
    const path = encodeURIComponent(pattern)
    const { requests, next } = await this.world.admin<{ requests: SeenRequest[]; next: number }>(
      'GET',
      `/admin/requests?path=${path}&after=${this.#seen}`,
    )
    this.#seen = next
    return requests.filter(({ accountId }) => of === undefined || accountId === of.accountId)
  }
  #seen = 0

  /** Injects a fault into events.list. */
  async fault({
    match,
    ...spec
  }: {
    readonly match?: object
    readonly [what: string]: unknown
  }): Promise<void> {
    await this.world.admin('POST', '/admin/faults', { ...spec, match: { path: '/events$', ...match } })
  }

  async noFaults(): Promise<void> {
    await this.world.admin('DELETE', '/admin/faults')
  }

  /** Pages of this many events, none short and none empty. */
  async pageSize(pageSizeMax: number): Promise<void> {
    await this.world.admin('POST', '/admin/paging', { pageSizeMax, shortPages: false, emptyPages: false })
  }

  /** Makes a calendar read fully next time, whatever it waits for. */
  async endRest(account: Account): Promise<void> {
    await this.sql(
      `update external_calendars set resync_after = calstream_now() - interval '1 second'
        where connection_id = $1 and resync_after is not null`,
      [account.connectionId],
    )
  }

  /** As if the time had passed: also what the vendor asked all processes to wait. */
  async endBackoff(account: Account): Promise<void> {
    await this.sql('delete from call_budgets')
    for (const [table, key] of [
      ['external_calendar_connections', 'id'],
      ['external_calendars', 'connection_id'],
    ])
      await this.sql(`update ${table} set backoff_until = null where ${key} = $1`, [account.connectionId])
  }

  /** The rows of a connection as bytes of what may change; equal means that nothing was written. */
  async rowVersions(account: Account): Promise<readonly object[]> {
    return this.sql(
      `select event_id, sequence, updated_at, encode(content_hash, 'hex') as hash
         from external_calendar_events where connection_id = $1 order by event_id`,
      [account.connectionId],
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync()
  }

  #gates(): Gates {
    const sync = (): GateDecision =>
      (this.gateAnswers.shift() ?? (this.isGateOpen ? 'on' : 'off')) === 'on' ? ON : OFF
    return { sync, jobs: () => ON, webhook: () => ON, oauth: () => ON }
  }
}

/** Of the first calendar. */
function eventsPath(account: Account): string {
  return `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(account.calendars[0]!.id)}/events`
}

/** Opens the world; connections are made with `world.connect`. */
export async function openSyncWorld(label: string): Promise<SyncWorld> {
  const owned = new AsyncDisposableStack()
  owned.use(startTelemetry({ service: 'sync-test' }))
  const world = owned.use(await openWorld({ label, hasOwnGates: true }))
  const setting = (name: string) => world.env[name] ?? ''
  const logger = pino({ level: process.env['TEST_LOG_LEVEL'] ?? 'silent' })
  const db = owned.use(
    openDatabase(
      { url: new Secret(setting('POSTGRES_URL_SYNC')), applicationName: 'calstream-sync', poolMax: 4 },
      logger,
    ),
  )
  const { deadLetter: _bytes, ...topics } = TOPICS
  const codec = await openCodec(
    { registryUrl: testStack().registryUrl, prefix: world.prefix, topics: Object.values(topics) },
    AbortSignal.timeout(30_000),
  )
  const config = readEnv(z.object(vendorsEnv), { ...world.env })
  const vendors = createVendors(config)
  const keyring = parseKeyring(new Secret(setting('CREDENTIALS_KEYS')))
  const mailboxesAt = storedMailboxes({ db, keyring, quotas: config, logger })
  const pool = new pg.Pool({ connectionString: setting('POSTGRES_URL'), max: 2 })
  pool.on('error', () => undefined)
  owned.defer(() => pool.end())
  const mailboxes = mailboxesAt(vendors)
  const deps = { db, codec, clock: systemClock, logger, mailboxes, gates: null as never }
  return new SyncWorld({ world, deps, codec, vendors, mailboxesAt, pool, owned })
}
