// A unit seen from outside: one span (linked to the doorbells it answers, since several became one
// unit), one log line, its metrics; and what its end means for the lane.
import { performance } from 'node:perf_hooks'
import { inSpan } from '#shared/process/telemetry.ts'
import type { LaneEnd, Permit } from '../lanes.ts'
import { unitEnded } from './events.ts'
import { syncConnection } from './sync-connection.ts'
import { LANE_ENDS, type UnitDeps, type UnitRequest } from './unit.ts'

/** A trace backend has limits, and the newest doorbells tell most. */
const LINKS_MAX = 32

/** Runs a unit for the requests of one lane. Never rejects. */
export async function runUnit(
  deps: UnitDeps,
  requests: readonly [UnitRequest, ...UnitRequest[]],
  permit: Permit,
): Promise<LaneEnd> {
  const { connectionId, vendor } = requests[0].message
  const links = requests.flatMap(({ record }) => record.headers.get('traceparent') ?? []).slice(-LINKS_MAX)
  const startedAt = performance.now()
  const end = await inSpan('sync unit', { links, attributes: { vendor }, kind: 'consumer' }, () =>
    syncConnection(deps, requests, permit),
  )
  const about = { connectionId, vendor, requests: requests.length }
  unitEnded(deps, about, end, performance.now() - startedAt)
  return { ...LANE_ENDS[end.kind], waitMs: end.kind === 'early' ? end.waitMs : 0 }
}
