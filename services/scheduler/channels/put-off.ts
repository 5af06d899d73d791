// What becomes of a calendar whose channel could not be opened or renewed: it waits for its next
// try, longer each time, and is polled meanwhile.
import type { Failure, FailureCode } from '#shared/domain/failure.ts'
import { putOffOpening, putOffOpenings, type UnwatchedCalendar } from '#shared/store/channels.ts'
import type { JobDeps } from '../deps.ts'
import { ring } from '../ringing/ring.ts'
import { settleJob, waitMsAfter } from '../settle-job.ts'
import { channelFailed, limitReached } from './events.ts'

/** Of our own limits: the vendor was not asked, so nothing was refused. */
const NOT_ASKED: readonly FailureCode[] = ['vendor/budget-spent', 'vendor/circuit-open', 'vendor/recovering']
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/** Openings and renewals in a row that failed. A refusal counts, whatever it says. */
export function channelAttempts({ code }: Failure, before: number): number {
  return NOT_ASKED.includes(code) ? before : before + 1
}

/**
 * Puts one calendar off after a failure. What passes (an outage, a quota) comes back within the
 * hour. After a refusal it waits a minute, doubling to a day: it is polled meanwhile, so nothing is
 * lost but quota, and a refusal in words unknown to us was sent 298 times in a week.
 * Throws what is no fault of this calendar.
 */
export async function putOff(
  deps: JobDeps,
  calendar: UnwatchedCalendar,
  openingId: string | null,
  failure: Failure,
): Promise<void> {
  // With Kafka or Postgres away the row in opening remembers; it is tried again two minutes later.
  const settled = settleJob(failure)
  channelFailed(deps, calendar, failure.code)
  const attempts = channelAttempts(failure, calendar.attempts)
  const soonMs = waitMsAfter(failure, attempts, deps.clock)
  const waitMs = settled === 'later' ? soonMs : Math.max(soonMs, growingMs(MINUTE_MS, attempts))
  await putOffOpening(deps.db, calendar.calendarId, { openingId, attempts, waitMs })
  // A unit is to find out and record that a calendar is gone, or an account lets us in no more.
  if (settled === 'gone' || settled === 'locked-out') await ring(deps, 'reconcile', [calendar])
}

/** The account has all its channels: none of its calendars asks for another for an hour or more. */
export async function putOffLimited(
  deps: JobDeps,
  calendar: UnwatchedCalendar,
  openingId: string,
): Promise<void> {
  limitReached(deps, calendar)
  const attempts = calendar.attempts + 1
  const waitMs = growingMs(HOUR_MS, attempts)
  await putOffOpenings(deps.db, calendar.connectionId, { openingId, attempts, waitMs })
}

function growingMs(first: number, attempts: number): number {
  return Math.min(DAY_MS, first * 2 ** Math.max(0, attempts - 1)) * (0.75 + 0.5 * Math.random())
}
