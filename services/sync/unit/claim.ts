// Step 1 of a unit. Invariant: a unit that runs holds a new epoch, committed; one that does not run
// leaves the epoch as it was, so it disturbs no other unit.
import { performance } from 'node:perf_hooks'
import type { Failure } from '#shared/domain/failure.ts'
import { connectionId, type CalendarId, type ConnectionId, type Micros } from '#shared/domain/ids.ts'
import { readCalendars, type CalendarRow } from '#shared/store/calendars.ts'
import { bumpEpoch, type ClaimedConnection } from '#shared/store/connections.ts'
import { recordedKeys } from '#shared/store/dedupe.ts'
import { holdRequests } from '#shared/store/held-requests.ts'
import { refusedByGate } from './moments.ts'
import { isFullRead } from './read-run.ts'
import { isIll, judgeClaim, type Verdict } from './claim-rules.ts'
import type { Permit } from '../lanes.ts'
import { closedGate, type Unit, type UnitDeps, type UnitEnd, type UnitRequest } from './unit.ts'

export type Claim = { readonly kind: 'claimed'; readonly unit: Unit } | UnitEnd

/** Thrown inside the claim to roll the epoch back; it never leaves this file. */
class NotRun extends Error {
  readonly end: UnitEnd

  constructor(end: UnitEnd) {
    super(end.kind)
    this.end = end
  }
}

/**
 * Claims the connection of these requests (at least one, all of one connection), or says
 * why there is nothing to run. A refusal by a gate is a durable row when this returns.
 * Throws Failure `store/*`.
 */
export async function claimUnit(
  deps: Pick<UnitDeps, 'db' | 'gates'>,
  requests: readonly UnitRequest[],
  permit: Pick<Permit, 'slot'>,
): Promise<Claim> {
  const id = connectionId(requests[0]!.message.connectionId)
  const claim = await tryClaim(deps, id, requests, permit.slot)
  if (claim.kind === 'held') {
    await holdRequests(deps.db, [{ connectionId: id, gate: claim.gate }])
    refusedByGate(claim.gate)
  }
  return claim
}

async function tryClaim(
  deps: Pick<UnitDeps, 'db' | 'gates' | 'rules'>,
  id: ConnectionId,
  requests: readonly UnitRequest[],
  slot: Permit['slot'],
): Promise<Claim> {
  try {
    return await deps.db.transaction(async (tx) => {
      // Two statements on purpose: the first takes the row lock,
      // so the second cannot read anything older than the lock.
      const connection = await bumpEpoch(tx, id)
      if (connection === null) throw new NotRun({ kind: 'done', why: 'unknown-connection' })
      const calendars = await readCalendars(tx, id, deps.rules)
      const verdict = judgeClaim({
        connection,
        calendars,
        requests: requests.map((request) => request.message),
        recordedKeys: await recordedKeys(tx, id, keysOf(requests)),
        closedGate: closedGate(deps.gates, connection),
      })
      if (verdict.kind !== 'run') throw new NotRun(verdict)
      const run = slot === 'live' ? withoutIllBackfill(verdict, connection.now) : verdict
      if (slot === 'live' && run.scope.some((calendar) => isFullRead(calendar, connection.now))) {
        throw new NotRun({ kind: 'backfill' })
      }
      return { kind: 'claimed', unit: unitOf({ connection, calendars, requests }, run) }
    })
  } catch (error) {
    if (error instanceof NotRun) return error.end
    throw error
  }
}

/** The delivery keys of requests, each once. */
export function keysOf(requests: readonly UnitRequest[]): readonly string[] {
  return [...new Set(requests.flatMap(({ message }) => message.deliveryKey ?? []))]
}

type Run = Extract<Verdict, { readonly kind: 'run' }>

/**
 * A sibling does not wait for a backfill slot because an ill calendar needs one:
 * that calendar gets a unit of its own.
 */
function withoutIllBackfill(run: Run, now: Micros): Run {
  const waits = (calendar: CalendarRow) => isIll(calendar) && isFullRead(calendar, now)
  if (run.scope.every(waits)) return run
  return {
    ...run,
    scope: run.scope.filter((calendar) => !waits(calendar)),
    early: [...run.early, ...run.scope.filter(waits)],
  }
}

function unitOf(
  of: {
    readonly connection: ClaimedConnection
    readonly calendars: readonly CalendarRow[]
    readonly requests: readonly UnitRequest[]
  },
  { scope, early, isNotified }: Run,
): Unit {
  const startedAt = performance.now()
  const progress = {
    changes: 0,
    pages: 0,
    done: new Set<CalendarId>(),
    failed: new Map<CalendarId, Failure>(),
    putOff: new Set<CalendarId>(),
    toReread: new Map<CalendarId, Micros | null>(),
    left: new Set(early),
    isClosed: false,
    openAt: startedAt,
  }
  return { ...of, scope, isNotified, startedAt, progress }
}
