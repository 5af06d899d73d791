// A channel token as the scheduler gives it to a channel that opens now.
import { signChannelToken, type ChannelClaims, type ChannelKeys } from '#shared/domain/channel-token.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import { systemClock } from '#shared/process/clock.ts'

const WEEK_MICROS = 7 * 24 * 3600 * 1_000_000

/** Good for a week. */
export function freshToken(
  keys: ChannelKeys,
  channel: ChannelClaims & { readonly vendor: VendorName },
): string {
  return signChannelToken(keys, { ...channel, endsAt: systemClock.now() + WEEK_MICROS })
}
