// Tells of sockets that were turned away:
// each in a counter, all of ten seconds in one line of the log.
import type { Logger } from '#shared/process/log.ts'
import { metrics } from '#shared/process/metrics.ts'

export type Reason =
  /** No place, and no socket that could give way. */
  | 'full'
  /** The same among the sockets of one address. */
  | 'address_full'
  /** Closed for a newcomer: it had kept us waiting longest. */
  | 'gave_way'
  /** Its request did not arrive in time. */
  | 'too_slow'
  /** What it sent is no HTTP/1.1, or too long. */
  | 'unreadable'

export interface TurnedAway {
  count(reason: Reason): void
}

const EVERY_MS = 10_000

/**
 * The first one is told at once, what follows after ten seconds,
 * and so on while there is something to tell.
 */
export function createTurnedAway(logger: Logger): TurnedAway {
  let since: Partial<Record<Reason, number>> = {}
  let isQuiet = true

  function tell(): void {
    isQuiet = Object.keys(since).length === 0
    if (isQuiet) return
    logger.warn({ sockets: since, withinMs: EVERY_MS }, 'sockets were turned away')
    since = {}
    setTimeout(tell, EVERY_MS).unref()
  }

  return {
    count(reason) {
      metrics.socketsTurnedAway.add(1, { reason })
      since[reason] = (since[reason] ?? 0) + 1
      if (isQuiet) tell()
    },
  }
}
