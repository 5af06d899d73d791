// More life for a channel. Invariant: a channel that lives is not given up here; it is stopped once
// another is open.
import { asFailure } from '#shared/domain/failure.ts'
import { deleteChannel, markRenewed } from '#shared/store/channels.ts'
import type { JobDeps } from '../deps.ts'
import { ring } from '../ringing/ring.ts'
import { settleJob } from '../settle-job.ts'
import { LIFE_MS, lifeEnd, type RenewableCalendar } from './life.ts'
import { channelAttempts, putOff } from './put-off.ts'

/** So often in a row refused, in whatever words; then another channel takes its place. */
const RENEWALS_MAX = 3

/** Renews one. @returns `gone` when another is wanted. Throws what is no fault of this calendar. */
export async function renewChannel(
  deps: JobDeps,
  calendar: RenewableCalendar,
  signal: AbortSignal,
): Promise<'renewed' | 'gone' | 'failed'> {
  const { channelId } = calendar
  try {
    const answer = await deps.mailboxes.of(calendar).renewChannel({ channelId, lifeMs: LIFE_MS }, signal)
    if (answer.kind === 'gone') {
      await deleteChannel(deps.db, channelId)
      return 'gone'
    }
    // A channel that was to be reauthorized may have been silent for a while.
    if (calendar.isAsked) await ring(deps, 'reconcile', [calendar])
    await markRenewed(deps.db, channelId, lifeEnd(answer.expiresAt, deps.clock.now()))
    return 'renewed'
  } catch (error) {
    if (signal.aborted) return 'failed'
    const failure = asFailure(error)
    // Odd words may be about this channel: another is asked for, and this one goes once it is open.
    const isOdd = settleJob(failure) !== 'later'
    if (isOdd && channelAttempts(failure, calendar.attempts) >= RENEWALS_MAX) return 'gone'
    await putOff(deps, calendar, null, failure)
    return 'failed'
  }
}
