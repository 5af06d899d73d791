// What is watched while a drill runs: processes, metrics, backlogs. Everything is best effort: a
// dead process has no metrics, which is no fault of the watcher.
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { System } from '../environment/system.ts'
import type { ProcessSample, Scrape, SystemSample } from './ledgers.ts'

export interface Observer extends AsyncDisposable {
  readonly samples: readonly ProcessSample[]
  readonly load: readonly SystemSample[]
  /** The newest scrape of every process that ever lived, by instance and pid. */
  scrapes(): readonly Scrape[]
  /** Scrapes every living process now. */
  scrape(): Promise<void>
}

const EVERY_MS = 1_000
const SCRAPE_EVERY = 3
const ASK_MS = 2_000

export function startObserver(system: System): Observer {
  const samples: ProcessSample[] = []
  const load: SystemSample[] = []
  const scrapes = new Map<string, Scrape>()
  const stop = new AbortController()
  const pool = new pg.Pool({
    connectionString: system.databaseUrl,
    max: 1,
    connectionTimeoutMillis: ASK_MS,
    query_timeout: ASK_MS,
    application_name: 'calstream-drill-observer',
  })
  pool.on('error', () => {})
  const scrape = async (): Promise<void> => {
    await Promise.all(
      system.services
        .filter(({ running }) => running)
        .map(async ({ instance, pid, adminUrl }) => {
          const values = await metricsOf(adminUrl).catch(() => null)
          if (values) scrapes.set(`${instance} ${pid}`, { at: Date.now(), instance, pid, values })
        }),
    )
  }
  const watching = (async () => {
    for (let round = 0; !stop.signal.aborted; round += 1) {
      for (const { instance, running, ...service } of system.services.map(view))
        if (running) samples.push(...sampleOf(instance, service.pid))
      load.push(...(await systemSample(pool).catch(() => [])))
      if (round % SCRAPE_EVERY === 0) await scrape()
      await delay(EVERY_MS, undefined, { signal: stop.signal }).catch(() => undefined)
    }
  })()
  return {
    samples,
    load,
    scrapes: () => [...scrapes.values()],
    scrape,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await watching
      await pool.end()
    },
  }
}

function view(service: System['services'][number]) {
  const { instance, running } = service
  return { instance, running, pid: running ? service.pid : 0 }
}

/** Linux only; elsewhere nothing is sampled. */
function sampleOf(instance: string, pid: number): readonly ProcessSample[] {
  try {
    const rssKb = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
    // A process that is ending has no memory any more.
    if (Number.isNaN(rssKb)) return []
    const descriptors = readdirSync(`/proc/${pid}/fd`).length
    return [{ at: Date.now(), instance, pid, rssMb: rssKb / 1024, descriptors }]
  } catch {
    return []
  }
}

async function systemSample(pool: pg.Pool): Promise<readonly SystemSample[]> {
  const { rows } = await pool.query<Omit<SystemSample, 'at'>>(
    `select (select count(*)::int from outbox) as outbox, (select count(*)::int from held_requests) as held,
            (select count(*)::int from external_calendar_connections where sync_needed and status = 'active') as dirty,
            (select count(*)::int from pg_stat_activity where datname = current_database() and application_name like 'calstream-%') as sessions`,
  )
  return rows.map((row) => ({ at: Date.now(), ...row }))
}

/** Samples of Prometheus's text format, name with labels → value. */
export function parseMetrics(text: string): ReadonlyMap<string, number> {
  const values = new Map<string, number>()
  for (const [, name = '', value] of text.matchAll(
    /^([a-zA-Z_:][^ ]*(?:\{[^}]*\})?) ([0-9.eE+-]+|NaN)(?: \d+)?$/gm,
  ))
    values.set(name, Number(value))
  return values
}

/** What /metrics of a process says now. Rejects when it does not answer within 2 s. */
export async function metricsOf(adminUrl: string): Promise<ReadonlyMap<string, number>> {
  const response = await fetch(`${adminUrl}/metrics`, { signal: AbortSignal.timeout(ASK_MS) })
  return parseMetrics(await response.text())
}
