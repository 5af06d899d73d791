// The end of a drill: everything written down is read once and closed. After this the system may
// go.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { TOPICS } from '#schemas/topics.ts'
import { openStoredEvents } from '../../../infra/oracle/rows.ts'
import { openStreamReader, type StreamReaderOptions } from '../../../infra/oracle/stream-reader.ts'
import { readTruth } from '../../../infra/oracle/truth.ts'
import type { StreamRecord } from '../../../infra/oracle/verify.ts'
import { readerAccess } from '../../../infra/stack/secured.ts'
import type { System } from '../environment/system.ts'
import { readAudit, type AuditRow } from './audit.ts'
import type {
  FaultEntry,
  FinalConnection,
  LedgerAccount,
  Ledgers,
  LogLine,
  Marks,
  OwnRequest,
} from './ledgers.ts'
import type { Observer } from './observe.ts'

export interface FreezeInput {
  readonly system: System
  readonly observer: Observer
  readonly nemesis: readonly FaultEntry[]
  readonly requests: readonly OwnRequest[]
  readonly secrets: ReadonlyMap<string, string>
  readonly marks: Marks
}

/**
 * A killed relay's transaction stays open for its 15 s. Readers of committed records wait for it.
 */
const TOPICS_WITHIN_MS = 30_000
/** The bound of reading an hour's topics, as long as records keep coming. */
const TOPICS_LIMIT_MS = 600_000
const QUIET_MS = 1_500
const DRAIN_MS = 5_000
const DRAIN_EVERY_MS = 100
const HELD_SQL = 'select count(*)::int as n from held_requests'

export async function freezeLedgers(input: FreezeInput): Promise<Ledgers> {
  const { system, observer, nemesis, requests, secrets, marks } = input
  await observer.scrape()
  await using stored = await openStoredEvents(system.databaseUrl)
  const known = await stored.connections()
  const ours = new Set(system.accounts.map(({ connectionId }) => connectionId))
  const connections = known.filter(({ connectionId }) => ours.has(connectionId))
  const active = connections.filter(({ status }) => status === 'active')
  const truth = await readTruth(system.vendor.adminUrl, active)
  const audit = await readAudit(system.databaseUrl)
  const topics = await readTopics(system, audit)
  const accounts = system.accounts.map((account): LedgerAccount => {
    const { accountId, vendor, connectionId, providerId } = account
    const calendars = connections.find((one) => one.connectionId === connectionId)?.calendars ?? new Map()
    return { accountId, vendor, connectionId, providerId, calendars }
  })
  const logs = readLogs(path.join(system.folder, 'logs'))
  return {
    accounts,
    truth: truth.holdings,
    mayDiffer: truth.mayDiffer,
    changes: await system.vendor.ledger('changes'),
    calls: await system.vendor.ledger('requests'),
    webhooks: await system.vendor.ledger('webhooks'),
    gates: system.gates.timeline,
    nemesis,
    audit,
    held: await stored.events(active.map(({ connectionId }) => connectionId)),
    connections: await finalConnections(system),
    outboxLeft: await drained(() => stored.outboxSize()),
    heldLeft: await drained(async () => (await system.ask<{ n: number }>(HELD_SQL))[0]?.n ?? 0),
    topics,
    logs,
    processes: system.processEvents,
    samples: observer.samples,
    load: observer.load,
    scrapes: observer.scrapes(),
    requests,
    secrets,
    texts: await textsOf(system, { logs, topics, requests, observer }),
    marks,
  }
}

/**
 * What is left when it had time to go. A delivery that a vendor repeats late is a row for some ms.
 */
async function drained(count: () => Promise<number>): Promise<number> {
  const deadline = Date.now() + DRAIN_MS
  for (;;) {
    const left = await count()
    if (left === 0 || Date.now() > deadline) return left
    await delay(DRAIN_EVERY_MS)
  }
}

async function finalConnections(system: System): Promise<readonly FinalConnection[]> {
  return system.ask<FinalConnection>(
    `select id::text as "connectionId", status, sync_needed as "syncNeeded", error_count as "errorCount",
            backoff_until::text as "backoffUntil" from external_calendar_connections order by id`,
  )
}

/**
 * Reads every topic from its start until all that was committed to the outbox is there, or records
 * stop coming.
 */
async function readTopics(
  system: System,
  audit: readonly AuditRow[],
): Promise<ReadonlyMap<string, readonly StreamRecord[]>> {
  const names = Object.values(TOPICS)
  const wanted = new Set(
    audit.flatMap(({ table, op, new: letter }) =>
      table === 'outbox' && op === 'INSERT' && typeof letter?.['ce_id'] === 'string' ? [letter['ce_id']] : [],
    ),
  )
  await using reader = await openStreamReader({
    brokers: system.stack.kafka.brokers.split(','),
    registryUrl: system.stack.registry.url,
    ...accessOf(system),
    topics: names.map((name) => system.prefix + name),
  })
  const began = Date.now()
  let count = -1
  let quietSince = began
  while (Date.now() - quietSince < TOPICS_WITHIN_MS && Date.now() - began < TOPICS_LIMIT_MS) {
    const read = names.map((name) => reader.records(system.prefix + name))
    const now = read.reduce((sum, records) => sum + records.length, 0)
    if (now !== count) quietSince = Date.now()
    count = now
    if (Date.now() - quietSince > QUIET_MS) {
      const seen = new Set(read.flatMap((records) => records.map(({ headers }) => headers.get('ce_id'))))
      if ([...wanted].every((id) => seen.has(id))) break
    }
    await delay(100)
  }
  return new Map(names.map((name) => [name, reader.records(system.prefix + name)]))
}

function accessOf({ stack }: System): Pick<StreamReaderOptions, 'access'> {
  const access = readerAccess(stack.access)
  return access === undefined ? {} : { access }
}

function readLogs(folder: string): readonly LogLine[] {
  return readdirSync(folder).flatMap((name) => {
    // The infrastructure's own logs are not ours to judge.
    if (!/^(?:relay|retry|sync|scheduler|ingress)-\d+\.log$/.test(name)) return []
    const instance = name.replace(/\.log$/, '')
    const lines = readFileSync(path.join(folder, name), 'utf8').split('\n').filter(Boolean)
    return lines.map((raw) => ({ instance, raw, fields: parse(raw) }))
  })
}

function parse(raw: string): LogLine['fields'] {
  try {
    return JSON.parse(raw) as LogLine['fields']
  } catch {
    return null
  }
}

interface Texts {
  readonly logs: readonly LogLine[]
  readonly topics: ReadonlyMap<string, readonly StreamRecord[]>
  readonly requests: readonly OwnRequest[]
  readonly observer: Observer
}

/** Where a secret must not be. */
async function textsOf(
  system: System,
  { logs, topics, requests, observer }: Texts,
): Promise<ReadonlyMap<string, string>> {
  const texts = new Map<string, string>()
  const byInstance = Map.groupBy(logs, ({ instance }) => instance)
  for (const [instance, lines] of byInstance)
    texts.set(`the log of ${instance}`, lines.map(({ raw }) => raw).join('\n'))
  for (const [topic, records] of topics) {
    const letters = records.map(({ key, value, headers }) =>
      [key, value?.toString('latin1') ?? '', ...headers.values()].join(' '),
    )
    texts.set(`the topic ${topic}`, letters.join('\n'))
  }
  for (const table of await publicTables(system)) {
    const rows = await system.ask<{ text: string }>(
      `select coalesce(string_agg(t::text, E'\\n'), '') as text from ${table} t`,
    )
    texts.set(`the table ${table}`, rows[0]?.text ?? '')
  }
  // What a table held and holds no more. Of the audited columns only this one has words of ours.
  const [told] = await system.ask<{ text: string }>(
    `select coalesce(string_agg(distinct new ->> 'last_error', E'\\n'), '') as text
       from drill_audit.entries where table_name = 'external_calendar_connections'`,
  )
  texts.set('every last_error that there was', told?.text ?? '')
  texts.set('answers to the harness', requests.map(({ body }) => body).join('\n'))
  const metrics = observer.scrapes().map(({ values }) => [...values.keys()].join('\n'))
  texts.set('metrics', metrics.join('\n'))
  for (const { instance, running, pid } of system.services.map((one) => ({
    instance: one.instance,
    running: one.running,
    pid: one.running ? one.pid : 0,
  })))
    if (running) texts.set(`the arguments of ${instance}`, argumentsOf(pid))
  return texts
}

async function publicTables(system: System): Promise<readonly string[]> {
  const rows = await system.ask<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'public'`,
  )
  return rows.map(({ name }) => name)
}

function argumentsOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}
