// A live Prometheus scrapes the real services with the shipped rules. Each query of a dashboard
// answers, and no alert fires.
import { homedir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { z } from 'zod'
import { childEnv } from '../../../infra/stack/infrastructure.ts'
import { cacheFolder } from '../../../infra/stack/java-parts.ts'
import { freePorts } from '../../../infra/stack/ports.ts'
import { ProcessLedger } from '../../../infra/stack/processes.ts'
import { startPrometheus, type Prometheus } from '../../../infra/stack/prometheus.ts'
import { fetchPrometheus } from '../../../infra/stack/prometheus-parts.ts'
import { dashboardQueries } from '../../support/dashboard-queries.ts'
import { eventually } from '../../support/eventually.ts'
import { openWorld, type World } from '../../support/world.ts'

const MONITORING = path.resolve(import.meta.dirname, '../../../infra/monitoring')
const SERVICES = ['ingress', 'sync', 'relay', 'retry', 'scheduler'] as const
const ANSWERS_WITHIN_MS = 90_000
const answer = z.object({ status: z.string(), data: z.object({ result: z.array(z.unknown()) }).optional() })

let world: World
let prometheus: Prometheus

beforeAll(async () => {
  world = await openWorld({ label: 'dashboards' })
  await world.connect({ eventsPerCalendar: 3 })
  await world.connect({ eventsPerCalendar: 3, vendor: 'microsoft' })
  const started = await Promise.all(
    SERVICES.map(async (service) => [service, await world.start(service)] as const),
  )
  const config = {
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '2s' },
    rule_files: [path.join(MONITORING, '*.rules.yml')],
    scrape_configs: [
      {
        job_name: 'calstream',
        static_configs: started.map(([service, process]) => ({
          targets: [new URL(world.adminUrl(process)).host],
          labels: { service },
        })),
      },
    ],
  }
  const signal = AbortSignal.timeout(110_000)
  const parts = await fetchPrometheus(
    { cache: cacheFolder(process.env, homedir()), env: process.env },
    signal,
  )
  const { port } = await freePorts(['port'])
  const folder = path.join(world.folder, 'prometheus')
  const ledger = new ProcessLedger(world.folder)
  const place = {
    folder,
    port,
    ledger,
    env: childEnv(process.env),
    logFile: path.join(folder, 'prometheus.log'),
  }
  prometheus = await startPrometheus({ ...place, parts, config: stringify(config) }, signal)
  await world.admin('POST', '/admin/load', { changesPerSecond: 2, durationMs: 240_000, seed: 'dashboards' })
})
afterAll(async () => {
  await prometheus?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
})

async function ask(query: string): Promise<readonly unknown[]> {
  const response = await fetch(
    `${prometheus.url}/api/v1/query?${new URLSearchParams({ query }).toString()}`,
    {
      signal: AbortSignal.timeout(10_000),
    },
  )
  const { status, data } = answer.parse(await response.json())
  if (status !== 'success' || !data) throw new Error(`${response.status} for ${query}`)
  return data.result
}

describe('a query of a dashboard', () => {
  // Those that show trouble alone are empty while there is none.
  const [troubles, others] = [true, false].map((isTrouble) =>
    dashboardQueries('20s').filter(
      ({ expr }) =>
        / > 0$|="failed"|gate_poll_failures|_held_|dead_letters|postgres_failures|retry_late/.test(expr) ===
        isTrouble,
    ),
  )

  test.each(others ?? [])('$where answers', async ({ where, expr }) => {
    await eventually(where, async () => (await ask(expr)).length > 0, ANSWERS_WITHIN_MS)
  })

  test.each(troubles ?? [])('$where is one that Prometheus can answer', async ({ expr }) => {
    expect(await ask(expr)).toBeInstanceOf(Array)
  })

  test('that is none is refused (control)', async () => {
    await expect(ask('rate(calendar_sync_runs_total)')).rejects.toThrow(/^400/)
  })
})

test('every rule was evaluated without an error, and no alert fires', async () => {
  const rules = z.object({
    data: z.object({
      groups: z.array(
        z.object({
          rules: z.array(z.object({ name: z.string(), health: z.string(), state: z.string().optional() })),
        }),
      ),
    }),
  })
  const all = await eventually('all rules are evaluated', async () => {
    const response = await fetch(`${prometheus.url}/api/v1/rules`, { signal: AbortSignal.timeout(10_000) })
    const { data } = rules.parse(await response.json())
    const found = data.groups.flatMap((group) => group.rules)
    return found.every(({ health }) => health !== 'unknown') && found
  })
  expect(all.length).toBeGreaterThan(50)
  expect(all.filter(({ health }) => health !== 'ok')).toEqual([])
  expect(all.filter(({ state }) => state === 'firing')).toEqual([])
})
