// How the whole installation is, read again and again for all who watch. Invariants: a reading
// costs the database the same however many watch; what could not be read is told as unknown, and
// the last figures with their age.
import { STALE_AFTER_MS } from '#shared/domain/connection-facts.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import { admissionOf, describeGates, type Toggles } from '#shared/gates/toggles.ts'
import type { Queryable } from '#shared/store/database.ts'
import { readVendors, type VendorLine } from '#shared/store/console.ts'
import {
  countFailures,
  countStates,
  readBacklog,
  type Backlog,
  type StateCount,
} from '#shared/store/status.ts'
import { SERVICE_NAMES } from '#shared/domain/causes-of-installation.ts'
import { healthOfService } from '#shared/domain/service-instances.ts'
import { countCauses, type CauseCount } from '#shared/store/cause-counts.ts'
import { readInstances, type Instances } from '#shared/store/service-instances.ts'
import { findingsOf } from './findings.ts'
import type { Fleet, ServiceFigures, StateLine, VendorFigures } from './fleet.ts'
import { createHistory, type History } from './history.ts'

export interface Watch {
  /** The last reading; waits for the first. Rejects with Failure `store/*` while there was none. */
  read(): Promise<Fleet>
  readonly history: History
  /** How old the last reading is, in ms; Infinity before the first. */
  ageMs(): number
  /** Reads now. @returns how long it took, in ms. Never rejects. */
  refresh(): Promise<number>
}

interface WatchDeps {
  readonly db: Queryable
  readonly gates: { standing(): Toggles | null }
}

/** The states of a connection of which freshness is asked: those that should be well. */
const SHOULD_BE_FRESH = new Set(['in_sync', 'catching_up', 'late'])

/** Starts without a reading; the first to ask waits for one. */
export function createWatch({ db, gates }: WatchDeps): Watch {
  const history = createHistory()
  let last: Fleet | null = null
  let flight: Promise<Fleet> | null = null
  let readAt = -Infinity

  async function readOnce(): Promise<Fleet> {
    const standing = gates.standing()
    const judged = { admission: admissionOf(standing), staleAfterMs: STALE_AFTER_MS }
    const [states, backlog, failures, vendors, causes, instances] = await Promise.all([
      countStates(db, judged),
      readBacklog(db),
      countFailures(db),
      readVendors(db),
      countCauses(db, judged.admission),
      readInstances(db),
    ])
    const fleet = fleetOf({ states, backlog, failures, vendors, causes, instances, standing })
    history.add(Date.parse(fleet.as_of), fleet)
    readAt = performance.now()
    return fleet
  }

  /** One reading at a time; those that come meanwhile share it. */
  function readNow(): Promise<Fleet> {
    flight ??= readOnce()
      .then((fleet) => (last = fleet))
      .finally(() => {
        flight = null
      })
    return flight
  }

  return {
    history,
    ageMs: () => performance.now() - readAt,
    read: async () => last ?? readNow(),
    async refresh() {
      const began = performance.now()
      await readNow().catch((error: unknown) => {
        if (last !== null) last = agedOf(last, error)
      })
      return performance.now() - began
    },
  }
}

interface Seen {
  readonly states: readonly StateCount[]
  readonly backlog: Backlog
  readonly failures: Awaited<ReturnType<typeof countFailures>>
  readonly vendors: readonly VendorLine[]
  readonly causes: readonly CauseCount[]
  readonly instances: Instances
  readonly standing: Toggles | null
}

function fleetOf({ states, backlog, failures, vendors, causes, instances, standing }: Seen): Fleet {
  const byState = states.map(({ oldestSyncSeconds, ...line }) => ({
    ...line,
    oldest_sync_seconds: oldestSyncSeconds,
  }))
  const alive = byState.filter(({ state }) => state !== 'disconnected')
  const facts = {
    as_of: new Date().toISOString(),
    database_problem: null,
    connections: {
      total: sum(alive),
      in_sync: sum(alive.filter(({ state }) => state === 'in_sync')),
      by_state: byState,
    },
    failures,
    backlog: {
      outbox_rows: backlog.outboxRows,
      outbox_oldest_seconds: backlog.outboxOldestSeconds,
      held: backlog.held,
      dead_letters: backlog.deadLetters,
    },
    holds: { calendars: backlog.calendars, events: backlog.events },
    gates:
      standing && describeGates(standing).map(({ gate, state, isOpen }) => ({ gate, state, open: isOpen })),
    vendors: vendors.map((line) => vendorOf(line, byState, backlog)),
    causes: causes
      .filter(({ cause }) => cause !== 'disconnected')
      .map(({ oldestSince, ...line }) => ({ ...line, oldest_since: isoOf(oldestSince) })),
    services: SERVICE_NAMES.map((name) => serviceOf(name, instances)),
  }
  const findings = findingsOf(facts)
  return { ...facts, findings, is_well: findings.length === 0 }
}

function vendorOf(
  line: VendorLine,
  states: readonly StateLine[],
  { lastNotificationAt }: Backlog,
): VendorFigures {
  const ages = states
    .filter(({ vendor, state }) => vendor === line.vendor && SHOULD_BE_FRESH.has(state))
    .flatMap(({ oldest_sync_seconds: age }) => age ?? [])
  return {
    vendor: line.vendor,
    connections: line.connections,
    open_channels: line.openChannels,
    channels_ending: line.channelsEnding,
    oldest_sync_seconds: ages.length === 0 ? null : Math.max(0, ...ages),
    last_notification_at: isoOf(lastNotificationAt[line.vendor as VendorName] ?? null),
  }
}

function serviceOf(name: string, { instances, now }: Instances): ServiceFigures {
  const { service, state, live, versions, since, problems, lastProgressAt } = healthOfService(
    name,
    instances,
    now,
  )
  return {
    service,
    state,
    processes: live.length,
    versions,
    since: isoOf(since),
    problems,
    last_progress_at: isoOf(lastProgressAt),
  }
}

/** The last figures, told as what they are. */
function agedOf(fleet: Fleet, error: unknown): Fleet {
  const problem = error instanceof Error ? error.message : 'It cannot be read.'
  const facts = { ...fleet, database_problem: problem }
  return { ...facts, findings: findingsOf(facts), is_well: false }
}

function sum(lines: readonly { readonly connections: number }[]): number {
  return lines.reduce((total, { connections }) => total + connections, 0)
}
