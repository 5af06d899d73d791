// A failed unit, recorded. Invariant: the failure, the backoff and the next request commit
// together under the fence, and only then are the unit's requests done. What one calendar met
// is that calendar's (ill-calendars.ts) as long as a sibling is well; what the account met, or
// all calendars at once, is the connection's. One dead letter per streak is a signal to a
// person; tries continue every hour.
import { backoffMs, floorMs } from '#shared/domain/backoff.ts'
import { asFailure, Failure } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import { shardOf } from '#shared/domain/ids.ts'
import { connectionChanged } from '#shared/messages/connection-changed.ts'
import { sentBy, type OutboxMessage } from '#shared/messages/message.ts'
import { bandOf, syncRetryScheduled } from '#shared/messages/sync-retry-scheduled.ts'
import { step } from '#shared/process/step.ts'
import { deadLetterRecord } from '#shared/kafka/dead-letter.ts'
import { saveCalendarFailures, waitTogether } from '#shared/store/calendar-failures.ts'
import { saveFailure, type RecordedFailure } from '#shared/store/connections.ts'
import { recordKeys } from '#shared/store/dedupe.ts'
import { markParked } from '#shared/store/refusals.ts'
import { insertOutbox } from '#shared/store/outbox.ts'
import { failureCommitted, faultMet, givenUp } from './moments.ts'
import { keysOf } from './claim.ts'
import { closeUnit, judgeEnd } from './end.ts'
import {
  DEAD_LETTER_AT,
  failedCalendars,
  saveIllCalendars,
  textOf,
  traceId,
  type Form,
} from './ill-calendars.ts'
import type { Permit } from '../lanes.ts'
import { ruleOnRefusal, type Ruling } from './judge-refusal.ts'
import { writeFenced, type FencedWrite, type Unit, type UnitDeps, type UnitEnd } from './unit.ts'

const HOUR_MS = 3_600_000

type Deps = Pick<UnitDeps, 'db' | 'codec' | 'clock' | 'logger'>
type Saved = Awaited<ReturnType<typeof saveFailure>>

/**
 * Whose failure it is, and whether it may park:
 * a refusal that only some of the calendars met may not.
 */
interface Blame {
  readonly scope: RecordedFailure['scope']
  readonly mayPark: boolean
}

export type UnitSettlement =
  /** It is recorded, and a retry is scheduled. */
  | 'record'
  /** It is recorded; `judgeRefusal` says whether the connection is parked. */
  | 'judge'
  /** Nothing is written: its requests are done again. */
  | 'abandon'
  /** Nothing can be written: the lane waits. */
  | 'wait'

/** What a unit does with the failure that ends it. */
export function settleUnit(failure: Failure): UnitSettlement {
  const { action } = settlementOf(failure)
  switch (action) {
    case 'retry':
    case 'retry-refused':
    case 'retry-fault':
    case 'check-list':
    case 'dead-letter':
      return 'record'
    case 'judge':
    case 'park':
      return 'judge'
    case 'abandon':
    case 'drop-shard':
      return 'abandon'
    case 'wait':
      return 'wait'
    default:
      return action satisfies never
  }
}

/**
 * How a unit ends that broke off: abandoned, blocked,
 * or failed and recorded as such. Never rejects.
 * @param unit null when it was not claimed, so that nothing can be recorded.
 */
export async function settleBroken(
  deps: Deps,
  unit: Unit | null,
  permit: Pick<Permit, 'signal'>,
  error: unknown,
): Promise<UnitEnd> {
  if (permit.signal.aborted) return { kind: 'abandoned' }
  const failure = asFailure(error)
  const settled = settleUnit(failure)
  if (settled === 'abandon') return { kind: 'abandoned' }
  if (settled === 'wait') return { kind: 'blocked', code: failure.code }
  if (failure.kind === 'defect') faultMet(deps, 'a unit', error)
  if (unit === null) return { kind: 'abandoned' }
  try {
    return await recordFailure(deps, unit, failure, { scope: 'account', mayPark: true })
  } catch (second) {
    // What cannot even be recorded leaves the requests to be done again.
    return settleBroken(deps, null, permit, second)
  }
}

/**
 * The end of a unit of which calendars could not be read.
 * Throws Failure `store/*` when that could not be written.
 */
export async function endIll(deps: Deps, unit: Unit): Promise<UnitEnd> {
  const verdict = judgeEnd({ ...unit, ...unit.progress })
  if (verdict.kind === 'all-ill')
    return recordFailure(deps, unit, verdict.failure, { scope: 'calendars', mayPark: verdict.isRefused })
  await writeFormed(deps, unit, async (write, form) => {
    await closeUnit(deps, unit, write, form)
    step('sync.failure-before-commit')
  })
  step('sync.failure-committed')
  const [first = new Failure('internal/defect')] = unit.progress.failed.values()
  const { size: calendars } = unit.progress.failed
  return { kind: 'partly', code: first.code, problem: textOf(first, 'whole'), calendars }
}

async function recordFailure(deps: Deps, unit: Unit, failure: Failure, blame: Blame): Promise<UnitEnd> {
  await writeFormed(deps, unit, async (write, form) => {
    const { tx } = write
    const mayPark = blame.mayPark && settleUnit(failure) === 'judge'
    const ruling = await ruleOnRefusal(deps, tx, unit, { failure, mayPark })
    const record = recordOf(deps, unit, { failure, blame, form, ruling })
    const saved = await saveFailure(tx, record)
    if (ruling.isParked) await markParked(tx, unit.connection.connectionId, { code: failure.code, ...ruling })
    if (blame.scope === 'account') await saveIllCalendars(deps, unit, write, form)
    else await saveTogether(tx, unit, { form, saved })
    if (form === 'whole') await recordKeys(tx, unit.connection.connectionId, keysOf(unit.requests))
    await insertOutbox(tx, messagesOf(deps, unit, record, { saved, write }))
    step('sync.failure-before-commit')
  })
  failureCommitted(unit, failure)
  return { kind: 'failed', code: failure.code, problem: textOf(failure, 'whole') }
}

async function writeFormed(
  deps: Deps,
  unit: Unit,
  work: (write: FencedWrite, form: Form) => Promise<void>,
): Promise<void> {
  try {
    await writeFenced(deps, unit, 0, (write) => work(write, 'whole'))
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'store/rejected-data') throw error
    // Postgres refused a text in it. The bare code is ours and can always be stored;
    // the keys only save work.
    await writeFenced(deps, unit, 0, (write) => work(write, 'bare'))
  }
}

/**
 * All calendars at once: each remembers its streak,
 * and they wait together for the request of their connection.
 */
async function saveTogether(
  tx: FencedWrite['tx'],
  unit: Unit,
  { form, saved }: { readonly form: Form; readonly saved: Saved },
): Promise<void> {
  const waitsMs = Math.max(0, ((saved.backoffUntil ?? saved.now) - saved.now) / 1000)
  await saveCalendarFailures(
    tx,
    failedCalendars(unit, form, () => waitsMs),
  )
  await waitTogether(tx, unit.connection.connectionId, saved.backoffUntil ?? saved.now)
}

function recordOf(
  deps: Deps,
  { connection }: Unit,
  failed: { readonly failure: Failure; readonly blame: Blame; readonly form: Form; readonly ruling: Ruling },
): RecordedFailure {
  const { failure, blame, form, ruling } = failed
  const { countsAsAttempt, growsBackoff } = settlementOf(failure)
  const errorCount = connection.errorCount + (countsAsAttempt ? 1 : 0)
  const attempt = connection.failures + (growsBackoff ? 1 : 0)
  return {
    connectionId: connection.connectionId,
    errorCount,
    scope: blame.scope,
    error: {
      code: failure.code,
      message: textOf(failure, form),
      attempt,
      traceId: traceId(),
      number: failure.number ?? null,
    },
    backoffMs: ruling.isParked ? null : waitMs(deps, failure, { errorCount, attempt, ruling }),
    status: ruling.isParked ? 'needs_reauth' : 'active',
  }
}

function waitMs(
  { clock }: Deps,
  failure: Failure,
  streak: { readonly errorCount: number; readonly attempt: number; readonly ruling: Ruling },
): number {
  const floor = floorMs(failure, clock.now())
  const random = Math.random()
  const { growsBackoff, isThrottledByVendor: isThrottled } = settlementOf(failure)
  if (!growsBackoff) return backoffMs({ attempt: 1, floorMs: floor, random, isThrottled })
  const { attempt, errorCount, ruling } = streak
  const backoff = backoffMs({ attempt, floorMs: floor, random, isThrottled })
  if (ruling.soonMs !== null) return Math.max(floor, Math.min(backoff, ruling.soonMs * (0.5 + random / 2)))
  return errorCount >= DEAD_LETTER_AT ? Math.max(HOUR_MS, backoff) : backoff
}

function messagesOf(
  deps: Deps,
  unit: Unit,
  record: RecordedFailure,
  { saved, write }: { readonly saved: Saved; readonly write: FencedWrite },
): readonly OutboxMessage[] {
  if (record.status === 'needs_reauth') return [parkMessage(deps, unit, record, saved)]
  if (record.errorCount < DEAD_LETTER_AT) return [retryMessage(deps, unit, record, saved)]
  // The 12th counted failure alone; from then on the sweep rings, so there is no retry message.
  const isTwelfth = unit.connection.errorCount < DEAD_LETTER_AT
  if (!isTwelfth) return []
  const last = unit.requests.at(-1)!
  write.onceCommitted(() => givenUp(last.record.topic, record.error.code))
  return [deadLetter(unit, record, saved)]
}

function retryMessage(deps: Deps, unit: Unit, record: RecordedFailure, saved: Saved): OutboxMessage {
  const { attempt, code } = record.error
  const dueAt = saved.backoffUntil ?? saved.now
  const topic = bandOf(record.backoffMs ?? 0)
  const due = { topic, attempt, dueAt, reason: 'retry', code, at: saved.now } as const
  return syncRetryScheduled(unit.connection, due, sentBy('sync', deps.codec))
}

function parkMessage(deps: Deps, unit: Unit, record: RecordedFailure, saved: Saved): OutboxMessage {
  const { connection } = unit
  const { code } = record.error
  const park = { status: 'needs_reauth', previousStatus: connection.status, code, at: saved.now } as const
  return connectionChanged(connection, park, sentBy('sync', deps.codec))
}

function deadLetter(unit: Unit, record: RecordedFailure, saved: Saved): OutboxMessage {
  const last = unit.requests.at(-1)!
  return {
    shard: shardOf(unit.connection.connectionId),
    ...deadLetterRecord(last.record, {
      code: record.error.code,
      problem: record.error.message,
      attempts: record.errorCount,
      firstFailedAt: saved.failingSince,
      lastFailedAt: saved.now,
    }),
  }
}
