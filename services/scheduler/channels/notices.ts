// What vendors told about channels through the ingress. Invariant: the ring for a channel
// that the vendor ended is durable before the channel is forgotten, and it is forgotten
// before its calendar gets another.
import type { Queryable } from '#shared/store/database.ts'
import { calendarId } from '#shared/domain/ids.ts'
import {
  deleteEnded,
  endedChannels,
  takeReauthorizations,
  takeRefused,
} from '#shared/store/channel-notices.ts'
import { ring, type DoorbellDeps } from '../rings/doorbell.ts'

const PER_RUN = 500

/**
 * @returns how many notices were acted on. Throws Failure `store/*` or `kafka/*`;
 * what was not done stays.
 */
export async function heedNotices(deps: DoorbellDeps & { readonly db: Queryable }): Promise<number> {
  const asked = await takeReauthorizations(deps.db)
  const refused = await takeRefused(deps.db)
  const ended = await endedChannels(deps.db, PER_RUN)
  if (ended.length > 0) {
    await ring(
      deps,
      'reconcile',
      ended.map(({ connectionId, providerId, vendor, calendarId: id }) => ({
        connectionId,
        providerId,
        vendor,
        calendarId: calendarId(id),
        asOf: null,
      })),
    )
    await deleteEnded(deps.db, ended)
  }
  return asked + refused + ended.length
}
