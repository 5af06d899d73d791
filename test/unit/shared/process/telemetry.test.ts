// Traces have ids without any export and travel by traceparent;
// metrics keep the names that others rely on.
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { trace } from '@opentelemetry/api'
import { describe, expect, test } from 'vitest'
import { metrics } from '#shared/process/metrics.ts'
import { currentTraceparent, inSpan, startTelemetry } from '#shared/process/telemetry.ts'
import { COMPILED } from '../../../support/compiled.ts'
import { VERSION } from '#shared/process/version.ts'

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]$/
const RUN = { vendor: 'google', outcome: 'done' }
const REMOTE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

describe('a span', () => {
  test('has a trace id although nothing is exported, and none before telemetry starts (control)', async () => {
    expect(await inSpan('before', {}, async () => currentTraceparent())).toBeUndefined()
    await using _telemetry = startTelemetry({ service: 'test' })
    expect(currentTraceparent()).toBeUndefined()
    expect(await inSpan('work', {}, async () => currentTraceparent())).toMatch(TRACEPARENT)
  })

  test('continues the trace of a traceparent, across awaits and into its children', async () => {
    await using _telemetry = startTelemetry({ service: 'test' })
    const seen = await inSpan('outer', { parent: REMOTE }, async () => {
      await new Promise((resolve) => setImmediate(resolve))
      return inSpan('inner', {}, async () => currentTraceparent())
    })
    expect(TRACEPARENT.exec(seen ?? '')?.[1]).toBe('0af7651916cd43dd8448eb211c80319c')
  })

  test('whose header is broken begins a trace of its own, or stays in the active one', async () => {
    await using _telemetry = startTelemetry({ service: 'test' })
    const broken = () => inSpan('inner', { parent: '00-garbage' }, async () => currentTraceparent())
    const [outer, inside] = await inSpan('outer', {}, async () => [currentTraceparent(), await broken()])
    const traceOf = (traceparent: string | undefined) => TRACEPARENT.exec(traceparent ?? '')?.[1]
    expect(traceOf(inside)).toBe(traceOf(outer))
    expect(traceOf(await broken())).toMatch(/^(?!0{32})[0-9a-f]{32}$/)
  })

  test('links to the work that it also answers, and never to itself for a header that is broken', async () => {
    await using _telemetry = startTelemetry({ service: 'test' })
    const links = await inSpan('outer', {}, () =>
      inSpan('unit', { links: [{ traceparent: 'garbage' }, { traceparent: REMOTE }] }, async () =>
        Reflect.get(trace.getActiveSpan() ?? {}, 'links'),
      ),
    )
    expect(links).toHaveLength(1)
    expect(links).toMatchObject([{ context: { traceId: '0af7651916cd43dd8448eb211c80319c' } }])
  })

  test('passes a rejection through', async () => {
    await using _telemetry = startTelemetry({ service: 'test' })
    await expect(inSpan('work', {}, () => Promise.reject(new Error('boom')))).rejects.toThrow('boom')
  })
})

describe('the metrics', () => {
  test('appear under their names, with counters only as _total where they should', async () => {
    await using telemetry = startTelemetry({ service: 'test' })
    metrics.syncRuns.add(1, { vendor: 'google', outcome: 'done' })
    metrics.syncFailures.add(2, { vendor: 'google', code: 'vendor/timeout', call: 'made' })
    metrics.itemsProcessed.add(3, { vendor: 'google' })
    metrics.itemsProcessed.add(4, { vendor: 'google' })
    metrics.syncLatencyMs.record(120, { vendor: 'google', outcome: 'done' })
    metrics.freshnessSeconds.record(0.3)
    metrics.outboxBacklog.record(7)
    const lines = (await telemetry.scrape()).split('\n')
    expect(lines).toEqual(
      expect.arrayContaining([
        'calendar_sync_runs_total{vendor="google",outcome="done"} 1',
        'calendar_sync_failures_total{vendor="google",code="vendor/timeout",call="made"} 2',
        'calendar_sync_items_processed{vendor="google"} 7',
        'calendar_sync_latency_ms_bucket{vendor="google",outcome="done",le="100"} 0',
        'calendar_sync_latency_ms_bucket{vendor="google",outcome="done",le="250"} 1',
        // In seconds: 0.3 is not in the first bucket.
        'calendar_sync_freshness_seconds_bucket{le="0.25"} 0',
        'calendar_sync_freshness_seconds_bucket{le="0.5"} 1',
        'calendar_sync_outbox_backlog 7',
        `calstream_build_info{version="${VERSION}",node="${process.versions.node}"} 1`,
      ]),
    )
    expect(lines.filter((line) => /otel_scope|target_info/.test(line))).toEqual([])
  })

  test('all begin with calendar_sync_, but for the one that tells of the program', async () => {
    await using telemetry = startTelemetry({ service: 'test' })
    const names = Object.values(metrics).map(({ facts }) => facts.name)
    expect(await telemetry.scrape()).toContain('calstream_build_info')
    expect(names.filter((name) => !name?.startsWith('calendar_sync_'))).toEqual(['calstream_build_info'])
  })

  test('are counted once when several services share a process, until the last one stops', async () => {
    const first = startTelemetry({ service: 'first' })
    const second = startTelemetry({ service: 'second' })
    metrics.syncRuns.add(1, RUN)
    await first[Symbol.asyncDispose]()
    await first[Symbol.asyncDispose]()
    metrics.syncRuns.add(1, RUN)
    const twice = 'calendar_sync_runs_total{vendor="google",outcome="done"} 2'
    expect(await second.scrape()).toContain(`\n${twice}\n`)
    await second[Symbol.asyncDispose]()
    await using third = startTelemetry({ service: 'third' })
    expect(await third.scrape()).not.toContain(twice)
  })
})

describe('export', () => {
  test('sends spans with their steps, and metrics, to the collector that OTEL_* names, and keeps /metrics and trace ids', async () => {
    const paths = new Set<string>()
    const bodies: Buffer[] = []
    const collector = createServer((request, response) => {
      paths.add(request.url ?? '')
      request
        .on('data', (chunk: Buffer) => bodies.push(chunk))
        .on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'))
    })
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
    const { port } = collector.address() as AddressInfo
    const result = await exportingProcess({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` })
    await new Promise((resolve) => collector.close(resolve))
    expect(result.code, result.text).toBe(0)
    expect([...paths].toSorted()).toEqual(expect.arrayContaining(['/v1/metrics', '/v1/traces']))
    // In protobuf as in JSON a text stands as it is.
    const sent = Buffer.concat(bodies).toString('latin1')
    expect(sent).toContain('sync.claimed')
    expect(sent).toMatch(new RegExp(`service\\.version.{1,6}${RegExp.escape(VERSION)}`, 's'))
    expect(result.text).toMatch(/traceparent 00-/)
    expect(result.text).toContain('calendar_sync_outbox_published_total 1')
  })

  test(
    'stops although a collector takes everything and never answers, and prints nothing of its own',
    async () => {
      const silent = createServer(() => {})
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
      const { port } = silent.address() as AddressInfo
      // Of the exporters' own limits none ends it: only ours does, before the process is killed.
      const tenMinutes = '600000'
      const result = await exportingProcess({
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
        OTEL_EXPORTER_OTLP_TIMEOUT: tenMinutes,
        OTEL_BSP_EXPORT_TIMEOUT: tenMinutes,
        OTEL_METRIC_EXPORT_INTERVAL: tenMinutes,
        OTEL_METRIC_EXPORT_TIMEOUT: tenMinutes,
      })
      silent.closeAllConnections()
      await new Promise((resolve) => silent.close(resolve))
      expect(result.code, result.text).toBe(0)
      expect(result.text).toMatch(/traceparent 00-/)
      expect(result.text).not.toMatch(/OTLP|ECONNREFUSED|opentelemetry/i)
    },
    PROCESS_MS_MAX + 5_000,
  )

  test(
    'stops when nobody listens at the address of the collector',
    async () => {
      const result = await exportingProcess({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' })
      expect(result.code, result.text).toBe(0)
      expect(result.text).not.toMatch(/OTLP|ECONNREFUSED|opentelemetry/i)
    },
    PROCESS_MS_MAX + 5_000,
  )

  test.each([{ OTEL_SDK_DISABLED: 'true' }, { OTEL_TRACES_EXPORTER: 'none', OTEL_METRICS_EXPORTER: 'none' }])(
    'leaves trace ids alone when it is switched off by %o',
    async (env) => {
      const result = await exportingProcess(env)
      expect(result.code, result.text).toBe(0)
      expect(result.text).toMatch(/traceparent 00-/)
    },
  )
})

const SCRIPT = `
import { metrics } from '#shared/process/metrics.ts'
import { step } from '#shared/process/step.ts'
import { currentTraceparent, inSpan, startTelemetry } from '#shared/process/telemetry.ts'
const telemetry = startTelemetry({ service: 'test' })
metrics.outboxPublished.add(1)
await inSpan('work', {}, async () => {
  // In pieces, since exporters send the command line along.
  step(['sync', 'claimed'].join('.'))
  console.log('traceparent', currentTraceparent())
})
console.log(await telemetry.scrape())
await telemetry[Symbol.asyncDispose]()
process.exit()
`
/** Far more than a stop's 2 s on a busy machine, far less than the exporters would wait. */
const PROCESS_MS_MAX = 60_000

/**
 * A process of its own: the SDK's global state and its environment must not reach the other tests.
 */
function exportingProcess(env: NodeJS.ProcessEnv): Promise<{ code: number | null; text: string }> {
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', SCRIPT], {
    cwd: path.resolve(import.meta.dirname, '../../../..'),
    env: { PATH: process.env['PATH'], ...COMPILED, ...env },
    timeout: PROCESS_MS_MAX,
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, text })))
}
