// A failed unit, recorded. Invariant: the failure, the backoff and the next ring commit together under the fence, and only then
// are the unit's requests done. One dead letter per streak is a signal to a person; the sweep keeps trying every hour.
import { TOPICS } from '#schemas/topics.ts'
import { backoffMs } from '#shared/domain/backoff.ts'
import { asFailure, countsAsAttempt, disposition, Failure, FAILURE_CODES } from '#shared/domain/failure.ts'
import { shardOf } from '#shared/domain/ids.ts'
import { crashPoint } from '#shared/platform/crash-point.ts'
import { deadLetterRecord } from '#shared/platform/dead-letter.ts'
import { metrics } from '#shared/platform/metrics.ts'
import { redact } from '#shared/platform/redact.ts'
import { currentTraceparent } from '#shared/platform/telemetry.ts'
import { saveFailure, type RecordedFailure } from '#shared/store/connections.ts'
import { recordKeys } from '#shared/store/dedupe.ts'
import { insertOutbox, type OutboxMessage } from '#shared/store/outbox.ts'
import { keysOf } from './claim-unit.ts'
import type { Turn } from './lanes.ts'
import { connectionMessage } from './publish-changes.ts'
import { writeFenced, type Unit, type UnitDeps, type UnitEnd } from './unit.ts'

const DEAD_LETTER_AT = 12
const HOUR_MS = 3_600_000
const MESSAGE_MAX = 500

type Deps = Pick<UnitDeps, 'db' | 'codec' | 'clock'>
type Saved = Awaited<ReturnType<typeof saveFailure>>

/**
 * How a unit ends that broke off: abandoned, blocked, or failed and recorded as such. Never rejects.
 * @param unit null when it was not claimed, so that nothing can be recorded.
 */
export async function endBroken(
  deps: Deps & Pick<UnitDeps, 'logger'>,
  unit: Unit | null,
  turn: Pick<Turn, 'signal'>,
  error: unknown,
): Promise<UnitEnd> {
  if (turn.signal.aborted) return { kind: 'abandoned' }
  const failure = asFailure(error)
  if (disposition(failure) === 'abandon') return { kind: 'abandoned' }
  if (failure.scope === 'process') return { kind: 'blocked', code: failure.code }
  if (failure.kind === 'defect') deps.logger.error({ err: error }, 'a unit met a fault of calstream')
  if (unit === null) return { kind: 'abandoned' }
  try {
    return await recordFailure(deps, unit, failure)
  } catch (second) {
    // What cannot even be recorded leaves the requests to be done again.
    return endBroken(deps, null, turn, second)
  }
}

/** Records why a unit failed and when it is tried again. Throws Failure `store/*` when that could not be written. */
export async function recordFailure(deps: Deps, unit: Unit, failure: Failure): Promise<UnitEnd> {
  try {
    await write(deps, unit, failure, 'whole')
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'store/rejected-data') throw error
    // Postgres refused a text in it. The bare code is ours and can always be stored; the keys only save work.
    await write(deps, unit, failure, 'bare')
  }
  metrics.syncFailures.add(1, { vendor: unit.connection.vendor, code: failure.code })
  return { kind: 'failed', code: failure.code }
}

async function write(deps: Deps, unit: Unit, failure: Failure, form: 'whole' | 'bare'): Promise<void> {
  const { connection } = unit
  const record = recordOf(deps, unit, failure, form)
  await writeFenced(deps, unit, 0, async ({ tx }) => {
    const saved = await saveFailure(tx, record)
    if (form === 'whole') await recordKeys(tx, connection.connectionId, keysOf(unit.requests))
    await insertOutbox(tx, messagesOf(deps, unit, record, saved))
    crashPoint('sync.failure-before-commit')
  })
  crashPoint('sync.failure-committed')
}

function recordOf(deps: Deps, unit: Unit, failure: Failure, form: 'whole' | 'bare'): RecordedFailure {
  const { connection } = unit
  const isParked = disposition(failure) === 'park'
  const errorCount = connection.errorCount + (countsAsAttempt(failure) ? 1 : 0)
  const attempt = connection.failures + 1
  return {
    connectionId: connection.connectionId,
    errorCount,
    error: {
      code: failure.code,
      message: form === 'whole' ? messageOf(failure) : '',
      attempt,
      traceId: currentTraceparent()?.split('-')[1] ?? null,
    },
    backoffMs: isParked ? null : waitMs(deps, failure, { errorCount, attempt }),
    status: isParked ? 'needs_reauth' : 'active',
  }
}

/** `retryAt` is by our clock, backoff by the database's: what counts is how far it is ahead. */
function waitMs(
  { clock }: Deps,
  failure: Failure,
  { errorCount, attempt }: { readonly errorCount: number; readonly attempt: number },
): number {
  const floorMs =
    failure.retryAt === undefined ? 0 : Math.max(0, Math.ceil((failure.retryAt - clock.now()) / 1000))
  const backoff = backoffMs({ attempt, floorMs, random: Math.random() })
  return errorCount >= DEAD_LETTER_AT ? Math.max(HOUR_MS, backoff) : backoff
}

/** Our own text, cleaned. The text of a defect comes from anywhere, so it stays in the log. */
function messageOf(failure: Failure): string {
  const text = failure.code === 'internal/defect' ? FAILURE_CODES[failure.code].text : failure.message
  return redact(text)
    .replaceAll(/\p{Cc}/gu, ' ')
    .slice(0, MESSAGE_MAX)
    .toWellFormed()
}

function messagesOf(deps: Deps, unit: Unit, record: RecordedFailure, saved: Saved): readonly OutboxMessage[] {
  if (record.status === 'needs_reauth') return [parkMessage(deps, unit, record, saved)]
  if (record.errorCount < DEAD_LETTER_AT) return [retryMessage(deps, unit, record, saved)]
  // The 12th counted failure alone; from then on the sweep rings, so there is no retry message.
  const isTwelfth = unit.connection.errorCount < DEAD_LETTER_AT
  return isTwelfth ? [deadLetter(unit, record, saved)] : []
}

function retryMessage(deps: Deps, unit: Unit, record: RecordedFailure, saved: Saved): OutboxMessage {
  const { connectionId, providerId, vendor, epoch } = unit.connection
  return connectionMessage(
    deps,
    bandOf(record.backoffMs ?? 0),
    {
      connectionId,
      providerId,
      vendor,
      epoch,
      attempt: record.error.attempt,
      dueAt: saved.backoffUntil ?? saved.now,
      reason: 'retry',
      code: record.error.code,
      requestedAt: saved.now,
    },
    { type: 'calendar.sync.retry-scheduled.v1', at: saved.now },
  )
}

function bandOf(waitMs: number): typeof TOPICS.retry30s | typeof TOPICS.retry10m | typeof TOPICS.retry6h {
  if (waitMs <= 30_000) return TOPICS.retry30s
  return waitMs <= 600_000 ? TOPICS.retry10m : TOPICS.retry6h
}

function parkMessage(deps: Deps, unit: Unit, record: RecordedFailure, saved: Saved): OutboxMessage {
  const { connectionId, providerId, vendor, status } = unit.connection
  return connectionMessage(
    deps,
    TOPICS.connectionChanged,
    {
      connectionId,
      providerId,
      vendor,
      status: 'needs_reauth',
      previousStatus: status,
      code: record.error.code,
      at: saved.now,
    },
    { type: 'calendar.connection.changed.v1', at: saved.now },
  )
}

function deadLetter(unit: Unit, record: RecordedFailure, saved: Saved): OutboxMessage {
  const last = unit.requests.at(-1)!
  metrics.deadLetters.add(1, { topic: last.record.topic, code: record.error.code })
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
