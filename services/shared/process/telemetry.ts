// Traces and metrics of a process. Invariants: there is always a trace id, exported or not; nothing
// is sent anywhere unless an OTEL_* variable is set; stopping takes at most two seconds. Started
// once per process however many services run in it.
import { createRequire } from 'node:module'
import {
  type Attributes,
  context,
  defaultTextMapGetter,
  defaultTextMapSetter,
  diag,
  DiagLogLevel,
  isSpanContextValid,
  type Link,
  metrics as metricsApi,
  propagation,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import type * as SdkNode from '@opentelemetry/sdk-node'
import { TracerProvider } from '@opentelemetry/sdk-trace'
import { Failure } from '#shared/domain/failure.ts'
import { telemetryWanted } from './settings.ts'
import type { Logger } from './log.ts'
import { atMost } from './loop.ts'
import { bindMetrics, unbindMetrics } from './instruments.ts'
import { metrics } from './metrics.ts'
import { openScrape } from './scrape.ts'
import { ERROR_TYPE, SERVICE_NAME, SERVICE_VERSION } from './semantic-names.ts'
import { VERSION } from './version.ts'

export interface Telemetry extends AsyncDisposable {
  /** All metrics in the text format of Prometheus (0.0.4). */
  scrape(): Promise<string>
}

/** Work that a span also answers. */
export interface SpanLink {
  readonly traceparent: string
  readonly attributes?: Attributes
}

export interface SpanOptions {
  /** traceparent of the span that this one continues; without it the active span is the parent. */
  readonly parent?: string | undefined
  /**
   * Several sync requests that became one unit, say. Unreadable ones are left out, and what is the
   * parent already.
   */
  readonly links?: readonly SpanLink[] | undefined
  readonly attributes?: Attributes | undefined
  readonly kind?: 'internal' | 'server' | 'client' | 'producer' | 'consumer' | undefined
}

type Sdk = { readonly shutdown: () => Promise<void> }

const TRACER = 'calstream'
/** Without a collector it would last 7.6 s. */
const SHUTDOWN_MAX_MS = 2_000
const W3C = new W3CTraceContextPropagator()
const KINDS = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} as const

interface Running {
  readonly scrape: () => Promise<string>
  readonly stop: () => Promise<void>
  users: number
}

let running: Running | null = null

/**
 * Starts telemetry, or joins what another service of this process started;
 * the last one to be disposed of stops it.
 */
export function startTelemetry(options: { readonly service: string; readonly logger?: Logger }): Telemetry {
  const shared = (running ??= start(options.service, options.logger))
  shared.users += 1
  let open = true
  return {
    scrape: () => shared.scrape(),
    async [Symbol.asyncDispose]() {
      if (!open) return
      open = false
      shared.users -= 1
      if (shared.users > 0) return
      running = null
      await shared.stop()
    },
  }
}

/**
 * The traceparent of the active span, for a header or an outbox row;
 * undefined outside of any span. w3.org/TR/trace-context
 */
export function currentTraceparent(): string | undefined {
  const carrier: Record<string, string> = {}
  W3C.inject(context.active(), carrier, defaultTextMapSetter)
  return carrier['traceparent']
}

/** The id of the trace that the active span belongs to; undefined outside of any span. */
export function currentTraceId(): string | undefined {
  const span = trace.getActiveSpan()?.spanContext()
  return span && isSpanContextValid(span) ? span.traceId : undefined
}

/** Runs work inside a span; a rejection marks it as failed by its code and passes through. */
export async function inSpan<T>(name: string, options: SpanOptions, work: () => Promise<T>): Promise<T> {
  const parent = options.parent === undefined ? undefined : remoteSpan(options.parent)
  const start = parent ? trace.setSpanContext(ROOT_CONTEXT, parent) : context.active()
  const links = linksOf(options.links ?? [], trace.getSpanContext(start))
  const span = trace.getTracer(TRACER).startSpan(
    name,
    {
      kind: KINDS[options.kind ?? 'internal'],
      attributes: options.attributes ?? {},
      links,
    },
    start,
  )
  try {
    return await context.with(trace.setSpan(start, span), work)
  } catch (error) {
    // Only the code: a message may hold what must not leave the process.
    markFailed(span, errorType(error))
    throw error
  } finally {
    span.end()
  }
}

/**
 * Adds to the active span; outside of any it does nothing.
 * @param failure what went wrong, in a word; null when nothing did.
 */
export function noteInSpan(attributes: Attributes, failure: string | null): void {
  const span = trace.getActiveSpan()
  span?.setAttributes(attributes)
  if (span && failure !== null) markFailed(span, failure)
}

/**
 * Runs work that belongs to no span of its caller: a loop that one request starts works for those
 * of others too.
 */
export function outsideSpans<T>(work: () => T): T {
  return context.with(ROOT_CONTEXT, work)
}

function markFailed(span: Span, type: string): void {
  span.setAttribute(ERROR_TYPE, type)
  span.setStatus({ code: SpanStatusCode.ERROR })
}

function linksOf(links: readonly SpanLink[], parent: SpanContext | undefined): Link[] {
  return links.flatMap(({ traceparent, attributes = {} }) => {
    const linked = remoteSpan(traceparent)
    return linked === undefined || linked.spanId === parent?.spanId ? [] : { context: linked, attributes }
  })
}

function errorType(error: unknown): string {
  if (error instanceof Failure) return error.code
  return error instanceof Error ? error.name : typeof error
}

/**
 * From the root context: the active one would give our own span back when the
 * header is missing or broken.
 */
function remoteSpan(traceparent: string): SpanContext | undefined {
  const span = trace.getSpanContext(W3C.extract(ROOT_CONTEXT, { traceparent }, defaultTextMapGetter))
  return span && isSpanContextValid(span) ? span : undefined
}

function start(service: string, logger: Logger | undefined): Running {
  const { provider, text } = openScrape()
  bindMetrics(provider.getMeter(TRACER))
  const sdk = telemetryWanted() ? startSdk(service, logger) : null
  if (sdk) bindMetrics(metricsApi.getMeter(TRACER))
  metrics.buildInfo.record(1, { version: VERSION, node: process.versions.node })
  const bare = hasTracer() ? null : startBare()
  return {
    users: 0,
    scrape: () => text((error) => logger?.warn({ err: error }, 'a metric could not be collected')),
    stop: async () => {
      unbindMetrics()
      const ended = Promise.all([sdk?.shutdown(), bare?.shutdown(), provider.shutdown()])
      await atMost<unknown>(ended, SHUTDOWN_MAX_MS, undefined).catch(() => undefined)
      // Global state of the API package:
      // a later start in the same process must be able to set it again.
      for (const api of [trace, context, propagation, metricsApi]) api.disable()
    },
  }
}

/**
 * The SDK with its exporters, loaded only when asked for: it costs 20 MB. By require, so that
 * starting needs no await.
 */
function startSdk(service: string, logger: Logger | undefined): Sdk {
  const { startNodeSdk } = createRequire(import.meta.url)('@opentelemetry/sdk-node') as typeof SdkNode
  const sdk = startNodeSdk({
    // Until our own report is set it prints to the console, also that an exporter is switched off.
    logLevel: 'warn',
    resourceAttributes: { [SERVICE_NAME]: `calstream-${service}`, [SERVICE_VERSION]: VERSION },
  })
  // The SDK prints to the console; our output is JSON, and a missing collector is no error of ours.
  const report = (message: string) => logger?.warn({ telemetry: message }, 'OpenTelemetry reports a problem')
  diag.setLogger(
    { error: report, warn: report, info: () => undefined, debug: () => undefined, verbose: () => undefined },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  )
  return sdk
}

/** Trace ids and their propagation without any export. */
function startBare(): TracerProvider {
  const provider = new TracerProvider()
  trace.setGlobalTracerProvider(provider)
  propagation.setGlobalPropagator(W3C)
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  return provider
}

/** OTEL_SDK_DISABLED and OTEL_TRACES_EXPORTER=none leave no tracer behind. */
function hasTracer(): boolean {
  const span = trace.getTracer(TRACER).startSpan('probe')
  return isSpanContextValid(span.spanContext())
}
