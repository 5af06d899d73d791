// What becomes of a calendar whose channel could not be opened or renewed: it waits for its next
// try, longer each time, and is polled meanwhile.
import type { Failure } from '#shared/domain/failure.ts'
import { metrics } from '#shared/process/metrics.ts'
import { putOffOpening, putOffOpenings, type UnwatchedCalendar } from '#shared/store/channels.ts'
import type { JobDeps } from '../deps.ts'
import { ring, ringOf } from '../rings/doorbell.ts'
import { settleJob } from '../settle-job.ts'
import { channelAttempts, channelWaitMs, limitWaitMs } from '../wait-after.ts'

/** Puts one calendar off after a failure. Throws what is no fault of this calendar. */
export async function putOff(
  deps: JobDeps,
  calendar: UnwatchedCalendar,
  openingId: string | null,
  failure: Failure,
): Promise<void> {
  // Kafka or Postgres is away: the row in opening is what remembers,
  // and is tried again two minutes later.
  const settled = settleJob(failure)
  const { code } = failure
  metrics.channelFailures.add(1, { vendor: calendar.vendor, code })
  deps.logger.info(
    { code, connectionId: calendar.connectionId },
    'a channel could not be opened or renewed; tried again',
  )
  const attempts = channelAttempts(failure, calendar.attempts)
  const waitMs = channelWaitMs(failure, attempts, deps.clock)
  await putOffOpening(deps.db, calendar.calendarId, { openingId, attempts, waitMs })
  // A calendar that is gone, or an account that lets nobody in,
  // is for a unit to find out and to record.
  if (settled === 'gone' || settled === 'locked-out') await ring(deps, 'reconcile', [ringOf(calendar)])
}

/**
 * The account has all the channels that it may have:
 * none of its calendars asks for another for a long time.
 */
export async function putOffLimited(
  deps: Pick<JobDeps, 'db' | 'logger'>,
  { connectionId, vendor, attempts }: UnwatchedCalendar,
  openingId: string,
): Promise<void> {
  metrics.channelFailures.add(1, { vendor, code: 'limit-reached' })
  deps.logger.info(
    { connectionId, vendor },
    'the vendor allows no further channel for this account; its calendars are polled, and it is asked again later',
  )
  const put = { openingId, attempts: attempts + 1, waitMs: limitWaitMs(attempts + 1) }
  await putOffOpenings(deps.db, connectionId, put)
}
