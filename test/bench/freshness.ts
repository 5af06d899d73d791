// Freshness of live changes while 500 connections are read for the first time, against freshness
// of the same changes with nothing else to do. Both in one run: the same accounts, the same
// rate, the same processes.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { SignJWT } from 'jose'
import { pino } from 'pino'
import { z } from 'zod'
import { TOPICS } from '#schemas/topics.ts'
import { providerId } from '#shared/domain/ids.ts'
import { openCodec } from '#shared/kafka/codec.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { readEnv } from '#shared/process/settings.ts'
import { vendorsEnv } from '#shared/vendors/settings.ts'
import { Secret } from '#shared/process/secret.ts'
import { openDatabase } from '#shared/store/database.ts'
import { createVendors } from '#shared/vendors/index.ts'
import { freshnessOf } from '../../infra/demo/live.ts'
import { peakMemory } from '../../infra/demo/report.ts'
import { openStoredEvents, type StoredEvents } from '../../infra/oracle/rows.ts'
import type { VendorChange } from '../../infra/oracle/simulator-admin.ts'
import { openStreamReader, type StreamReader } from '../../infra/oracle/stream-reader.ts'
import { percentile } from '../../infra/oracle/verify.ts'
import { connectAccount } from '../../services/ingress/service.ts'
import type { TestStack } from '../support/test-stack.ts'
import { milliseconds, quantiles, type BenchResult } from './report.ts'
import { cpuBetween, cpuSeconds, recordedPids } from './cpu.ts'
import { openBenchSystem, type BenchSystem } from './stack.ts'

const LIVE_ACCOUNTS = 40
const BACKFILL_ACCOUNTS = 500
const EVENTS_PER_BACKFILL = 100
const CHANGES_PER_SECOND = 20
const IDLE_MS = 45_000
const LATENCY_MS = 200
const SETTLE_LIMIT_MS = 180_000
const BACKFILL_LIMIT_MS = 400_000
const POLL_MS = 500
/** For the last changes to arrive. */
const AFTER_MS = 5_000
const AIM = 2

interface Made {
  readonly accountId: string
  readonly email: string
  readonly connectionId: string
}

interface Measured {
  readonly samplesMs: readonly number[]
  readonly cpu: string
  readonly seconds: number
}

interface Setting {
  readonly system: BenchSystem
  readonly stored: StoredEvents
  readonly stream: StreamReader
  readonly live: readonly Made[]
  readonly say: (line: string) => void
}

/** Runs for about four minutes. Throws when something never settles. */
export async function benchFreshness(
  stack: TestStack,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<BenchResult> {
  await using system = await openBenchSystem(stack, 'freshness', signal)
  const providers = { live: randomUUID(), backfill: randomUUID() }
  await system.allow([providers.live], [randomUUID()])
  await Promise.all(
    (['relay', 'retry', 'sync', 'scheduler', 'ingress'] as const).map((name) => system.start(name)),
  )
  await system.simulator.setLatency(0)
  const live = await connectAll(
    system,
    { provider: providers.live, count: LIVE_ACCOUNTS, events: 30 },
    signal,
  )
  await system.allow([providers.live], idsOf(live))
  await using stored = await openStoredEvents(system.databaseUrl)
  const wanted = new Set(live.map(({ connectionId }) => connectionId))
  await using stream = await openStreamReader({
    brokers: stack.brokers.split(','),
    registryUrl: stack.registryUrl,
    topics: [system.env['KAFKA_PREFIX'] + TOPICS.eventChanged],
    wants: (key) => wanted.has(key),
  })
  await untilSynced(stored, live, SETTLE_LIMIT_MS, signal)
  // Connected, but held back by the allowlist:
  // what follows is only the reading, not the connecting.
  const waiting = await connectAll(
    system,
    { provider: providers.backfill, count: BACKFILL_ACCOUNTS, events: EVENTS_PER_BACKFILL },
    signal,
  )
  await untilCounted(system, 'select count(*)::int as n from held_requests', BACKFILL_ACCOUNTS, signal)
  await system.simulator.setLatency(LATENCY_MS)
  say(`${LIVE_ACCOUNTS} live accounts are synced, ${BACKFILL_ACCOUNTS} wait to be read`)

  const setting: Setting = { system, stored, stream, live, say }
  const idle = await measure(setting, IDLE_MS, async () => delay(IDLE_MS, undefined, { signal }), signal)
  say(`idle: ${quantiles(idle.samplesMs).join(', ')}`)
  let tookMs = 0
  const busy = await measure(
    setting,
    BACKFILL_LIMIT_MS,
    async () => {
      const began = Date.now()
      await system.allow([providers.live, providers.backfill], [...idsOf(live), ...idsOf(waiting)])
      await askForSync(system, providers.backfill)
      await untilSynced(stored, waiting, BACKFILL_LIMIT_MS, signal)
      tookMs = Date.now() - began
    },
    signal,
  )
  say(`during the backfill of ${Math.round(tookMs / 1000)} s: ${quantiles(busy.samplesMs).join(', ')}`)
  const [rows] = await system.ask<{ n: number }>('select count(*)::int as n from external_calendar_events')
  return resultOf({
    idle,
    busy,
    tookMs,
    rows: rows?.n ?? 0,
    memory: peakMemory(system.pids()),
  })
}

const rowOf = (name: string, { samplesMs }: Measured) => [
  name,
  String(samplesMs.length),
  ...quantiles(samplesMs),
]

function resultOf(found: {
  readonly idle: Measured
  readonly busy: Measured
  readonly tookMs: number
  readonly rows: number
  readonly memory: Readonly<Record<string, number>>
}): BenchResult {
  const p95 = (samples: readonly number[]) => percentile(samples, 0.95) ?? Number.NaN
  const ratio = p95(found.busy.samplesMs) / p95(found.idle.samplesMs)
  const memory = Object.entries(found.memory)
    .map(([name, bytes]) => `${name} ${Math.round(bytes / 2 ** 20)} MB`)
    .join(', ')
  return {
    name: 'freshness',
    title: 'Freshness of live changes during a backfill',
    what:
      `${CHANGES_PER_SECOND} changes a second at ${LIVE_ACCOUNTS} connected Google accounts, rung by webhooks, vendor latency ${LATENCY_MS} ms; freshness is the time from the change at the vendor ` +
      `until a second Kafka client has read it, committed. Then the same while ${BACKFILL_ACCOUNTS} more connections are read for the first time, all let in at one moment; only changes made while that lasted count.`,
    columns: ['', 'changes', 'p50', 'p95', 'p99'],
    rows: [
      rowOf('nothing else to do', found.idle),
      rowOf(`during the backfill of ${BACKFILL_ACCOUNTS} connections`, found.busy),
    ],
    verdicts: [
      `p95 during the backfill is **${ratio.toFixed(2)} ×** the idle one (aim ≤ ${AIM}: ${ratio <= AIM ? 'met' : 'missed'}).`,
      `The backfill took ${(found.tookMs / 1000).toFixed(0)} s; the database then held ${found.rows} events.`,
      `Processor time with nothing else to do (${found.idle.seconds.toFixed(0)} s): ${found.idle.cpu}.`,
      `Processor time during the backfill (${found.busy.seconds.toFixed(0)} s): ${found.busy.cpu}.`,
      `Peak memory: ${memory}.`,
    ],
  }
}

/** Live changes for as long as `work` takes, and how fresh those were that were made meanwhile. */
async function measure(
  { system, stored, stream, live }: Setting,
  limitMs: number,
  work: () => Promise<void>,
  signal: AbortSignal,
): Promise<Measured> {
  const { simulator } = system
  const pids = { ...recordedPids(system.stack.folder), ...system.pids(), 'this benchmark': process.pid }
  const cpuBefore = cpuSeconds(pids)
  const before = await simulator.latestSeq()
  const accountIds = live.map(({ accountId }) => accountId)
  const load = await simulator.startLoad({
    changesPerSecond: CHANGES_PER_SECOND,
    durationMs: limitMs,
    accountIds,
  })
  const began = Date.now()
  await work()
  const ended = Date.now()
  const cpu = cpuBetween(cpuBefore, cpuSeconds(pids))
  await simulator.stopLoad(load.loadId)
  const changes = (await simulator.changesAfter(before)).filter(within(began, ended))
  const accounts = new Map(live.map(({ accountId, email }) => [accountId, email]))
  const deadline = Date.now() + SETTLE_LIMIT_MS
  for (;;) {
    await delay(AFTER_MS, undefined, { signal })
    const failure = stream.failure()
    if (failure !== null) throw new Error('The reader of the topic failed.', { cause: failure })
    const { samplesMs, uncovered } = freshnessOf(changes, {
      connections: await stored.connections(),
      accounts,
      stream,
      topic: system.env['KAFKA_PREFIX'] + TOPICS.eventChanged,
      exists: () => false,
    })
    if (uncovered.length === 0) return { samplesMs, cpu, seconds: (ended - began) / 1000 }
    if (Date.now() > deadline)
      throw new Error(`${uncovered.length} of ${changes.length} changes have no record.`)
  }
}

const within = (from: number, to: number) => (change: VendorChange) => change.at >= from && change.at <= to
const idsOf = (made: readonly Made[]) => made.map(({ connectionId }) => connectionId)

async function connectAll(
  { env, stack, databaseUrl, simulatorAdminUrl }: BenchSystem,
  what: { readonly provider: string; readonly count: number; readonly events: number },
  signal: AbortSignal,
): Promise<readonly Made[]> {
  const atOnce = 8
  const topics = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft, TOPICS.connectionChanged] as const
  const codec = await openCodec(
    { registryUrl: stack.registryUrl, prefix: env['KAFKA_PREFIX'] ?? '', topics },
    signal,
  )
  await using database = openDatabase(
    { url: new Secret(databaseUrl), applicationName: 'calstream-bench', poolMax: atOnce },
    pino({ level: 'silent' }),
  )
  const vendor = createVendors(readEnv(z.object(vendorsEnv), { ...env })).get('google')
  if (!vendor) throw new Error('Google is not configured')
  const keyring = parseKeyring(new Secret(env['CREDENTIALS_KEYS'] ?? ''))
  const deps = { database, codec, keyring, vendor }
  const made: Made[] = []
  let left = what.count
  async function worker(): Promise<void> {
    while (left-- > 0) {
      const account = await makeAccount(simulatorAdminUrl, what.events, signal)
      const { connectionId } = await connectAccount(
        deps,
        { providerId: providerId(what.provider), refreshToken: account.refreshToken },
        signal,
      )
      made.push({ ...account, connectionId })
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return made
}

async function makeAccount(adminUrl: string, eventsPerCalendar: number, signal: AbortSignal) {
  const response = await fetch(`${adminUrl}/admin/accounts`, {
    method: 'POST',
    body: JSON.stringify({ calendars: 1, eventsPerCalendar }),
    signal,
  })
  if (!response.ok) throw new Error(`the simulator answered ${response.status}`)
  return (await response.json()) as { accountId: string; email: string; refreshToken: string }
}

/** All at one moment: as a product does whose person presses "sync". */
async function askForSync({ env }: BenchSystem, provider: string): Promise<void> {
  const token = await new SignJWT({ provider_id: provider })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('5m')
    .sign(new TextEncoder().encode(env['API_JWT_SECRET'] ?? ''))
  const deadline = Date.now() + 30_000
  for (;;) {
    const response = await fetch(`${env['PUBLIC_URL']}/api/calendar/sync`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ provider_id: provider }),
    })
    await response.body?.cancel()
    if (response.status === 202) return
    if (Date.now() > deadline) throw new Error(`the sync API answered ${response.status}`)
    // The ingress hears of the list within two seconds.
    await delay(100)
  }
}

async function untilSynced(
  stored: StoredEvents,
  made: readonly Made[],
  limitMs: number,
  signal: AbortSignal,
): Promise<void> {
  const wanted = new Set(idsOf(made))
  const deadline = Date.now() + limitMs
  for (;;) {
    const found = (await stored.connections()).filter(({ connectionId }) => wanted.has(connectionId))
    if (found.length === wanted.size && found.every(({ lastSyncedAtMs }) => lastSyncedAtMs !== null)) return
    if (Date.now() > deadline) {
      const behind = found.filter(({ lastSyncedAtMs }) => lastSyncedAtMs === null)
      throw new Error(
        `${behind.length} of ${wanted.size} connections were not synced within ${milliseconds(limitMs)}`,
      )
    }
    await delay(POLL_MS, undefined, { signal })
  }
}

async function untilCounted(
  system: BenchSystem,
  sql: string,
  wanted: number,
  signal: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + SETTLE_LIMIT_MS
  for (;;) {
    const [row] = await system.ask<{ n: number }>(sql)
    if ((row?.n ?? 0) >= wanted) return
    if (Date.now() > deadline) throw new Error(`only ${row?.n ?? 0} of ${wanted}: ${sql}`)
    await delay(POLL_MS, undefined, { signal })
  }
}
