// Live changes at the play vendor, rung by webhooks,
// and how long each took until a reader of the topic had it.
import { setTimeout as delay } from 'node:timers/promises'
import type { StoredConnection } from '../oracle/rows.ts'
import type { LoadState, SimulatorAdmin, VendorChange } from '../oracle/simulator-admin.ts'
import type { StreamReader } from '../oracle/stream-reader.ts'
import {
  eventKey,
  measureFreshness,
  percentile,
  type Freshness,
  type LedgerChange,
  type Observation,
} from '../oracle/verify.ts'

const POLL_MS = 500
/** For a load whose ticks come late on a busy machine. */
const LATE_MAX_MS = 180_000

/**
 * Makes changes at a steady rate and resolves when all are made.
 * `progress` hears how many, about twice a second.
 */
export async function runLoad(
  simulator: SimulatorAdmin,
  load: { changesPerSecond: number; durationMs: number; accountIds: readonly string[] },
  progress: (state: LoadState) => void,
  signal: AbortSignal,
): Promise<LoadState> {
  const { loadId } = await simulator.startLoad(load)
  const deadline = Date.now() + load.durationMs + LATE_MAX_MS
  for (;;) {
    const state = await simulator.readLoad(loadId)
    progress(state)
    if (state.done) return state
    if (Date.now() > deadline) throw new Error(`The load made only ${state.changes} changes in its time.`)
    await delay(POLL_MS, undefined, { signal })
  }
}

/**
 * The vendor's changes under our names.
 * Events that no side ever saw lie outside the window and are left out.
 */
export function toLedger(
  changes: readonly VendorChange[],
  connections: readonly StoredConnection[],
  known: (key: string) => boolean,
  accounts: ReadonlyMap<string, string>,
): LedgerChange[] {
  const byEmail = new Map(connections.map((connection) => [connection.email, connection]))
  return changes.flatMap((change) => {
    const connection = byEmail.get(accounts.get(change.accountId) ?? '')
    const calendarId = connection?.calendars.get(change.calendarId)
    if (!connection || calendarId === undefined) return []
    const keys = (ids: readonly string[]) =>
      ids.map((id) => eventKey(connection.connectionId, calendarId, id)).filter(known)
    const [changed, removed] = [keys(change.eventIds), keys(change.removedEventIds)]
    return changed.length + removed.length === 0
      ? []
      : [{ atMs: change.at, version: versionOf(change.etag), changed, removed }]
  })
}

/** What the reader saw, as versions. */
export function toObservations(stream: StreamReader, topic: string): Observation[] {
  return stream.records(topic).flatMap(({ message, receivedAtMs }) =>
    message === null
      ? []
      : [
          {
            key: eventKey(message.connectionId, message.calendarId, message.vendorEventId),
            receivedAtMs,
            version: message.event === null ? null : versionOf(message.event.etag ?? ''),
          },
        ],
  )
}

/**
 * The play vendors' etags are quoted numbers, weak ones at Microsoft,
 * that grow with every change of their world.
 */
function versionOf(etag: string): number {
  return Number(etag.replaceAll(/\D/g, ''))
}

/**
 * Freshness as a person reads it: of how many changes, since those that did not arrive have none.
 * @param atEnd everything has arrived that ever will: the others had nothing to tell.
 */
export function describeFreshness({ samplesMs }: Freshness, changes: number, atEnd = false): string {
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => percentile(samplesMs, share))
  const others = changes - samplesMs.length
  const rest = atEnd && others > 0 ? ` (${others} lie outside the window or were undone at once)` : ''
  const arrived = `${samplesMs.length} of ${changes} arrived${rest}`
  return `${arrived}, p50 ${secondsOf(p50)}, p95 ${secondsOf(p95)}, p99 ${secondsOf(p99)}`
}

function secondsOf(milliseconds: number | null | undefined): string {
  return milliseconds === null || milliseconds === undefined ? '–' : `${(milliseconds / 1000).toFixed(2)} s`
}

/** Freshness of these changes, by what the reader has seen so far. */
export function freshnessOf(
  changes: readonly VendorChange[],
  where: {
    readonly connections: readonly StoredConnection[]
    /** Account id at the vendor → email. */
    readonly accounts: ReadonlyMap<string, string>
    readonly stream: StreamReader
    readonly topic: string
    /** Whether the vendor has the event now. */
    readonly exists: (key: string) => boolean
  },
): Freshness {
  const observations = toObservations(where.stream, where.topic)
  const seen = new Set(observations.map(({ key }) => key))
  return measureFreshness(
    toLedger(changes, where.connections, (key) => seen.has(key), where.accounts),
    observations,
    where.exists,
  )
}
