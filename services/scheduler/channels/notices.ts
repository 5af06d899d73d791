// Notices of vendors about channels, taken in by the ingress. Invariant: the sync request for a
// channel that the vendor ended is durable before the channel is forgotten, and it is forgotten
// before its calendar gets another.
import {
  deleteEnded,
  endedChannels,
  takeReauthorizations,
  takeRefused,
} from '#shared/store/channel-notices.ts'
import type { JobDeps } from '../deps.ts'
import { ring } from '../ringing/ring.ts'

const PER_RUN = 500

/** Acts on what came. Throws Failure `store/*` or `kafka/*`; what was not done stays. */
export async function applyNotices(deps: JobDeps): Promise<void> {
  await takeReauthorizations(deps.db)
  await takeRefused(deps.db)
  const ended = await endedChannels(deps.db, PER_RUN)
  if (ended.length === 0) return
  await ring(deps, 'reconcile', ended)
  await deleteEnded(deps.db, ended)
}
