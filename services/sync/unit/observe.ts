// A unit seen from outside: one span (linked to the doorbells it answers, since several became one
// unit), one log line, its metrics; and what its end means for the lane.
import { performance } from 'node:perf_hooks'
import { FAILURE_CODES } from '#shared/domain/failure.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import { metrics } from '#shared/process/metrics.ts'
import { inSpan } from '#shared/process/telemetry.ts'
import type { Permit, PermitEnd } from '../lanes.ts'
import { syncConnection } from './sync-connection.ts'
import type { UnitDeps, UnitEnd, UnitRequest } from './unit.ts'

/** A trace backend has limits, and the newest doorbells tell most. */
const LINKS_MAX = 32

/** Runs a unit for the requests of one lane. Never rejects. */
export async function runUnit(
  deps: UnitDeps,
  requests: readonly [UnitRequest, ...UnitRequest[]],
  permit: Permit,
): Promise<PermitEnd> {
  const { connectionId, vendor } = requests[0].message
  const links = requests.flatMap(({ record }) => record.headers.get('traceparent') ?? []).slice(-LINKS_MAX)
  const startedAt = performance.now()
  const end = await inSpan('sync unit', { links, attributes: { vendor }, kind: 'consumer' }, () =>
    syncConnection(deps, requests, permit),
  )
  const ms = performance.now() - startedAt
  metrics.syncRuns.add(1, { vendor, outcome: end.kind })
  metrics.syncLatencyMs.record(ms, { vendor, outcome: end.kind })
  const line = { connectionId, vendor, requests: requests.length, ms: Math.round(ms), ...end }
  if (end.kind === 'failed') deps.logger.warn(line, 'unit failed')
  else if (end.kind === 'partly')
    deps.logger.warn(line, 'calendars could not be read beside others that could')
  else if (end.kind === 'blocked') deps.logger.warn(line, 'unit waits for Postgres')
  else deps.logger.debug(line, 'unit ended')
  return turnEnd(end)
}

/**
 * Makes the counters that people alert on exist from the start: a rate over a series that begins at
 * 1 misses the first failure.
 */
export function countFromZero(vendors: Iterable<VendorName>): void {
  for (const vendor of vendors) {
    for (const outcome of ['done', 'failed']) metrics.syncRuns.add(0, { vendor, outcome })
    for (const code of Object.keys(FAILURE_CODES)) {
      metrics.syncFailures.add(0, { vendor, code })
      metrics.calendarFailures.add(0, { vendor, code })
    }
    metrics.itemsProcessed.add(0, { vendor })
  }
}

function turnEnd(end: UnitEnd): PermitEnd {
  switch (end.kind) {
    case 'done':
    case 'failed':
    case 'partly':
    case 'held':
    case 'handed-over':
      return { kind: 'complete' }
    case 'abandoned':
      return { kind: 'returned' }
    case 'early':
    case 'backfill':
    case 'blocked':
      return end
    default:
      return end satisfies never
  }
}
