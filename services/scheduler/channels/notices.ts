// Notices of vendors about channels, taken in by the ingress. Invariant: the ring for a channel
// that the vendor ended is durable before the channel is forgotten, and it is forgotten
// before its calendar gets another.
import {
  deleteEnded,
  endedChannels,
  takeReauthorizations,
  takeRefused,
} from '#shared/store/channel-notices.ts'
import type { JobDeps } from '../deps.ts'
import { ring, ringOf, type DoorbellDeps } from '../rings/doorbell.ts'

const PER_RUN = 500

/**
 * @returns how many notices were acted on. Throws Failure `store/*` or `kafka/*`;
 * what was not done stays.
 */
export async function applyNotices(deps: DoorbellDeps & Pick<JobDeps, 'db'>): Promise<number> {
  const asked = await takeReauthorizations(deps.db)
  const refused = await takeRefused(deps.db)
  const ended = await endedChannels(deps.db, PER_RUN)
  if (ended.length > 0) {
    const rings = ended.map((channel) => ringOf(channel))
    await ring(deps, 'reconcile', rings)
    await deleteEnded(deps.db, ended)
  }
  return asked + refused + ended.length
}
