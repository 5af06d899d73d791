// How many calls of a mailbox Outlook takes at a time:
// learn.microsoft.com/graph/throttling-limits#outlook-service-limits. A call has its place from
// its arrival to its answer; what finds none is refused, and may say when to come back in
// either form, or not at all.
import type { MicrosoftKnobs } from '../control/knobs.ts'
import type { Answer } from '../http.ts'
import { graphError } from './errors.ts'

export interface Concurrency {
  /** The refusal, or what gives the place back. */
  enter(accountId: string): Answer | (() => void)
}

const RETRY_AFTER_SECONDS = 1

export function createConcurrency(knobs: MicrosoftKnobs, now: () => number): Concurrency {
  const inFlight = new Map<string, number>()
  return {
    enter(accountId) {
      const key = knobs.concurrencyScope === 'app' ? 'app' : accountId
      const running = inFlight.get(key) ?? 0
      if (running >= knobs.concurrencyMax) return refusal(knobs, now())
      inFlight.set(key, running + 1)
      return () => {
        const left = (inFlight.get(key) ?? 1) - 1
        if (left > 0) inFlight.set(key, left)
        else inFlight.delete(key)
      }
    },
  }
}

function refusal({ concurrencyStatus, concurrencyRetryAfter }: MicrosoftKnobs, now: number): Answer {
  const at = new Date(now + RETRY_AFTER_SECONDS * 1000).toUTCString()
  const headers = {
    ...(concurrencyRetryAfter === 'seconds' ? { 'retry-after': String(RETRY_AFTER_SECONDS) } : {}),
    ...(concurrencyRetryAfter === 'date' ? { 'retry-after': at } : {}),
  }
  return graphError('ApplicationThrottled', { status: concurrencyStatus, headers })
}
