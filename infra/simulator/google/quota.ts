// Google's budgets: calls per minute of the project and of each of its users, in a sliding window.
// What is over is refused and does not count.
// https://developers.google.com/workspace/calendar/api/guides/quota; a patch costs three.
import type { Answer } from '../http.ts'
import type { QuotaKnobs } from '../control/knobs.ts'
import { faultError } from './errors.ts'

const BUCKETS = 60
const PATCH_COST = 3
const PROJECT = ''

interface Window {
  /** Second (of the epoch) of the newest bucket. */
  second: number
  readonly spent: number[]
}

export interface Quota {
  /** Takes a call's cost from the budgets; the refusal when one of them is spent. */
  admit(method: string, accountId: string | null): Answer | null
}

export function createQuota(knobs: QuotaKnobs, now: () => number): Quota {
  const windows = new Map<string, Window>()
  let refused = 0
  return {
    admit(method, accountId) {
      const cost = method === 'PATCH' ? PATCH_COST : 1
      const second = Math.floor(now() / 1000)
      const budgets = [
        { key: PROJECT, limit: knobs.perProjectPerMinute, reason: 'rateLimitExceeded' },
        { key: accountId ?? 'nobody', limit: knobs.perUserPerMinute, reason: 'userRateLimitExceeded' },
      ].flatMap(({ key, limit, reason }) => (limit === null ? [] : [{ key, limit, reason }]))
      const held = budgets.map((budget) => ({ ...budget, window: moved(windows, budget.key, second) }))
      const spent = held.find(({ window, limit }) => sum(window) + cost > limit)
      if (!spent) {
        for (const { window } of held)
          window.spent[second % BUCKETS] = (window.spent[second % BUCKETS] ?? 0) + cost
        return null
      }
      refused += 1
      return refusal(knobs, spent.reason, { second, window: spent.window, refused })
    },
  }
}

function moved(windows: Map<string, Window>, key: string, second: number): Window {
  const window = windows.get(key) ?? { second, spent: Array.from({ length: BUCKETS }, () => 0) }
  windows.set(key, window)
  for (let at = Math.max(window.second + 1, second - BUCKETS + 1); at <= second; at += 1)
    window.spent[at % BUCKETS] = 0
  window.second = Math.max(window.second, second)
  return window
}

function sum(window: Window): number {
  return window.spent.reduce((total, spent) => total + spent, 0)
}

/**
 * Both statuses are documented for the same refusal,
 * so `alternate` plays now one and now the other.
 */
function refusal(
  knobs: QuotaKnobs,
  reason: string,
  at: { readonly second: number; readonly window: Window; readonly refused: number },
): Answer {
  const status = knobs.answer === 'alternate' ? (at.refused % 2 === 0 ? 429 : 403) : knobs.answer
  const error = faultError(status, status === 429 ? 'rateLimitExceeded' : reason)
  if (!knobs.retryAfter) return error
  return { ...error, headers: { ...error.headers, 'retry-after': String(freeIn(at.window, at.second)) } }
}

/** Seconds until the oldest spent bucket leaves the window. */
function freeIn(window: Window, second: number): number {
  for (let age = BUCKETS - 1; age >= 0; age -= 1) {
    if ((window.spent[(second - age + BUCKETS * 2) % BUCKETS] ?? 0) > 0) return BUCKETS - age
  }
  return 1
}
