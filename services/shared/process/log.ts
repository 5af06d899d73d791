// Logs: one line of JSON per event on standard output, with the trace that it belongs to.
// Invariant: no line carries a secret or a value of a row: lines are redacted as a whole, errors
// are reduced to what we know to be clean.
import { isSpanContextValid, trace } from '@opentelemetry/api'
import pino from 'pino'
import { redact } from './redact.ts'
import { VERSION } from './version.ts'

export { registerSecret } from './redact.ts'

export type Logger = pino.Logger

interface LoggerOptions {
  readonly service: string
  readonly level: string
  /** Where lines go; standard output when absent. */
  readonly destination?: { write(line: string): void }
}

const CAUSES_MAX = 4

/**
 * A logger. Lines are written before the call returns,
 * so that the last one before a crash is there.
 */
export function createLogger({ service, level, destination = standardOutput() }: LoggerOptions): Logger {
  return pino(
    {
      level,
      base: { service, version: VERSION, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError, error: describeError },
      mixin: traceFields,
    },
    { write: (line: string) => destination.write(redact(line)) },
  )
}

/**
 * An error as a log field: name, message, code, stack and causes. Whatever else a library hung on
 * it (requests, rows, headers) stays behind.
 */
function describeError(error: unknown): unknown {
  return describe(error, CAUSES_MAX)
}

function describe(error: unknown, causesLeft: number): unknown {
  if (typeof error === 'string') return error
  if (!(error instanceof Error)) return `[${typeof error}]`
  const { name, message, stack, cause } = error
  const code = 'code' in error ? { code: String(error.code) } : {}
  const because = cause === undefined || causesLeft === 0 ? {} : { cause: describe(cause, causesLeft - 1) }
  const several =
    error instanceof AggregateError && causesLeft > 0
      ? { errors: error.errors.slice(0, CAUSES_MAX).map((one) => describe(one, causesLeft - 1)) }
      : {}
  return { name, message, ...code, stack, ...because, ...several }
}

function traceFields(): Record<string, string> {
  const span = trace.getActiveSpan()?.spanContext()
  return span && isSpanContextValid(span) ? { trace_id: span.traceId, span_id: span.spanId } : {}
}

function standardOutput(): { write(line: string): void } {
  const stream = pino.destination({ fd: 1, sync: true })
  // A reader that went away (a closed pipe) must not end the process.
  stream.on('error', () => undefined)
  return { write: (line) => void stream.write(line) }
}
