// Channels that proved whose they are: Graph now and then sends an item without the clientState
// that the subscription was made with. Its id is a random uuid that only Graph and we know;
// what rings under it costs a look, at the rate of its calendar. In memory, because the webhook
// path knows no database: a process that never saw its token refuses it, and a channel whose
// items are all refused is silent (the scheduler polls it and opens another). Invariant: a
// bounded number, each for a day.
import type { ChannelClaims } from '#shared/domain/channel-token.ts'
import type { Clock } from '#shared/process/clock.ts'

/** Some 5 MB. */
const KNOWN_MAX = 20_000
const KNOWN_FOR_MICROS = 24 * 3600 * 1_000_000

export interface KnownChannels {
  /** This channel named these claims in a token that is good. */
  learn(channelId: string, claims: ChannelClaims): void
  /** What it named within the last day; null for one that did not. */
  claimsOf(channelId: string): ChannelClaims | null
}

export function createKnownChannels(clock: Clock): KnownChannels {
  const known = new Map<string, { readonly claims: ChannelClaims; readonly at: number }>()
  return {
    learn(channelId, claims) {
      if (channelId === '') return
      known.delete(channelId)
      known.set(channelId, { claims, at: clock.now() })
      const [oldest] = known.keys()
      if (known.size > KNOWN_MAX && oldest !== undefined) known.delete(oldest)
    },
    claimsOf(channelId) {
      const found = known.get(channelId)
      return found !== undefined && clock.now() - found.at < KNOWN_FOR_MICROS ? found.claims : null
    },
  }
}
