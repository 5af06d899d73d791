// Channels without a use are stopped: replaced ones, those of calendars and connections that are
// not synced any more, and orphans, which ring although we know nothing of them (a scheduler died
// between the vendor's answer and the row). Invariant: a row goes when the vendor stopped the
// channel or we can stop it no more.
import { asFailure } from '#shared/domain/failure.ts'
import {
  deleteSettledNotices,
  forgetOrphan,
  orphanChannels,
  putOffOrphan,
  type OrphanChannel,
} from '#shared/store/channel-notices.ts'
import { deleteChannel, putOffStop, takeUnneeded, type Channel } from '#shared/store/channels.ts'
import type { JobDeps } from '../deps.ts'
import { settleJob, waitMsAfter } from '../settle-job.ts'
import { boundedEach } from '../bounded-each.ts'

const PER_RUN = 200
const WITHIN_MS = 5000
/** Longer than an opening may take and its leftovers live. */
const UNKNOWN_FOR_SECONDS = 300

/** Stops what is replaced or not synced any more. Throws Failure `store/*`. */
export async function stopUnneeded(deps: JobDeps, signal: AbortSignal): Promise<void> {
  const unneeded = await takeUnneeded(deps.db, PER_RUN)
  await boundedEach(unneeded, { signal, withinMs: WITHIN_MS }, async (channel) => {
    const waitMs = await stopOne(deps, channel.id, channel, signal)
    if (waitMs === null) await deleteChannel(deps.db, channel.id)
    else if (waitMs > 0) await putOffStop(deps.db, channel.id, waitMs)
    return waitMs === null
  })
}

/** Stops orphans. @returns how many. Throws Failure `store/*`. */
export async function stopOrphans(deps: JobDeps, signal: AbortSignal): Promise<number> {
  await deleteSettledNotices(deps.db, UNKNOWN_FOR_SECONDS)
  const orphans = await orphanChannels(deps.db, UNKNOWN_FOR_SECONDS, PER_RUN)
  return boundedEach(orphans, { signal, withinMs: WITHIN_MS }, async (orphan) => {
    const waitMs = await stopOne(deps, orphan.channelId, orphan, signal)
    if (waitMs === null) {
      await forgetOrphan(deps.db, orphan)
      deps.logger.info({ vendor: orphan.vendor }, 'a channel that rang and that we did not know was stopped')
    } else if (waitMs > 0) await putOffOrphan(deps.db, orphan, waitMs)
    return waitMs === null
  })
}

/**
 * @returns null when there is nothing left to stop; else how many milliseconds to wait before the
 * vendor is asked again, 0 if it was not asked.
 */
async function stopOne(
  deps: JobDeps,
  channelId: string,
  channel: Channel | OrphanChannel,
  signal: AbortSignal,
): Promise<number | null> {
  if (!deps.mailboxes.vendors.has(channel.vendor)) return null
  if (deps.gates.jobs().state !== 'on') return 0
  try {
    await deps.mailboxes.of(channel).stopChannel({ channelId, resourceId: channel.resourceId }, signal)
    return null
  } catch (error) {
    if (signal.aborted) return 0
    const failure = asFailure(error)
    const settled = settleJob(failure)
    // Without a way in we cannot stop it: it expires, and its notifications find nothing to do.
    if (settled === 'locked-out' || settled === 'gone') return null
    return waitMsAfter(failure, channel.attempts + 1, deps.clock)
  }
}
