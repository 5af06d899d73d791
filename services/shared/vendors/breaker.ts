// The circuit breaker of one door of a vendor. Invariants: only trouble of the whole vendor opens it (failures in a row, of more
// than one mailbox, with no answer in between), never the answer to one mailbox; while it is open exactly one call at a time goes
// through to probe, and only the verdict of a probe closes it; after that calls go out at about the rate of before (ramp.ts). Time
// is monotonic, so a wall clock that is set back cannot keep it open. Who is refused backs off without an attempt being counted.
import { performance } from 'node:perf_hooks'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { Clock } from '#shared/platform/clock.ts'
import { Ramp } from './ramp.ts'

/** At 30 % of failures ten in a row come once in some 240 000 calls, in an outage with 24 units at once within one round. */
export const FAILURES_IN_A_ROW = 10
/** One mailbox that breaks every answer must not close the door for the others. */
const CALLERS_MIN = 2
/** Failures that lie further apart are no row: with so little traffic the backoff of each connection does. */
const ROW_GAP_MS = 60_000
const PAUSE_MIN_MS = 5_000
const PAUSE_MAX_MS = 60_000
/** How long those wait who come while a probe runs. */
const PROBE_MS = 5_000

export interface BreakerDeps {
  /** For people, as in "Google does not answer". */
  readonly vendor: string
  readonly clock: Clock
  /** Milliseconds that only grow. */
  readonly monotonic?: () => number
  /** 0 ≤ random < 1. */
  readonly random?: () => number
  /** `cause`: the code of the failure that opened it. */
  readonly changed?: (state: 'open' | 'closed', cause: string) => void
}

export interface Breaker {
  /**
   * Runs a call of this caller (a mailbox). Throws Failure with `retryAt` instead: `vendor/circuit-open` while the vendor is left
   * alone, `vendor/recovering` when it has just come back and this caller's turn is later. Otherwise throws what the call throws.
   */
  run<T>(caller: string, work: () => Promise<T>): Promise<T>
}

type State =
  | { readonly kind: 'closed' }
  | { readonly kind: 'open'; readonly until: number }
  | { readonly kind: 'probing' }

export function createBreaker(deps: BreakerDeps): Breaker {
  return new VendorBreaker(deps)
}

class VendorBreaker implements Breaker {
  readonly #deps: Required<BreakerDeps>
  #state: State = { kind: 'closed' }
  #failures = 0
  readonly #callers = new Set<string>()
  readonly #ramp = new Ramp()
  #lastFailureAt = Number.NEGATIVE_INFINITY
  #pauseMs = PAUSE_MIN_MS
  #cause = ''

  constructor(deps: BreakerDeps) {
    this.#deps = { monotonic: () => performance.now(), random: Math.random, changed: () => {}, ...deps }
  }

  async run<T>(caller: string, work: () => Promise<T>): Promise<T> {
    const isProbe = this.#enter(caller)
    try {
      const result = await work()
      this.#answered(isProbe)
      return result
    } catch (error) {
      const verdict = verdictOf(error)
      if (verdict === 'failed') this.#failed(isProbe, caller, error)
      else if (verdict === 'answered') this.#answered(isProbe)
      else if (isProbe) this.#state = { kind: 'open', until: this.#deps.monotonic() }
      throw error
    }
  }

  /** @returns whether this call is the probe. */
  #enter(caller: string): boolean {
    const now = this.#deps.monotonic()
    if (this.#state.kind === 'closed') {
      const waitMs = this.#ramp.waitMs(caller, now)
      if (waitMs > 0) throw this.#notYet(waitMs)
      return false
    }
    if (this.#state.kind === 'probing') throw this.#refusal(PROBE_MS)
    if (now < this.#state.until) throw this.#refusal(this.#state.until - now)
    this.#state = { kind: 'probing' }
    return true
  }

  #answered(isProbe: boolean): void {
    // What began before the door closed says nothing about now.
    if (this.#state.kind !== 'closed' && !isProbe) return
    const now = this.#deps.monotonic()
    this.#failures = 0
    this.#callers.clear()
    this.#ramp.answered(now)
    if (!isProbe) return
    this.#state = { kind: 'closed' }
    this.#ramp.begin(now)
    this.#pauseMs = PAUSE_MIN_MS
    this.#deps.changed('closed', this.#cause)
  }

  #failed(isProbe: boolean, caller: string, error: unknown): void {
    const now = this.#deps.monotonic()
    if (isProbe) {
      this.#pauseMs = Math.min(PAUSE_MAX_MS, this.#pauseMs * 2)
      return this.#open(now)
    }
    if (this.#state.kind !== 'closed') return
    if (now - this.#lastFailureAt > ROW_GAP_MS) {
      this.#failures = 0
      this.#callers.clear()
    }
    this.#lastFailureAt = now
    this.#failures += 1
    // Two are enough to know; more would only be memory.
    if (this.#callers.size < CALLERS_MIN) this.#callers.add(caller)
    if (this.#failures < FAILURES_IN_A_ROW || this.#callers.size < CALLERS_MIN) return
    this.#cause = error instanceof Failure ? error.code : 'unknown'
    this.#ramp.closed(now)
    this.#open(now)
    this.#deps.changed('open', this.#cause)
  }

  #open(now: number): void {
    // Half fixed, half random, like every backoff: processes that opened together do not probe together.
    this.#state = { kind: 'open', until: now + this.#pauseMs * (0.5 + this.#deps.random() / 2) }
  }

  #refusal(waitMs: number): Failure {
    return new Failure(
      'vendor/circuit-open',
      `${this.#deps.vendor} did not answer many calls in a row (${this.#cause}), so it is left alone for a moment. Work goes on by itself.`,
      { retryAt: this.#deps.clock.now() + Math.ceil(waitMs * 1000) },
    )
  }

  #notYet(waitMs: number): Failure {
    return new Failure('vendor/recovering', undefined, {
      retryAt: this.#deps.clock.now() + Math.ceil(waitMs * 1000),
    })
  }
}

const NO_ANSWER: ReadonlySet<FailureCode> = new Set([
  'vendor/unavailable',
  'vendor/timeout',
  'vendor/unreadable-answer',
])

/**
 * What the end of a call says about the vendor. A refusal of any kind is an answer; a call that was cut off from our side, or
 * met trouble of ours, says nothing.
 */
function verdictOf(error: unknown): 'failed' | 'answered' | 'unknown' {
  if (!(error instanceof Failure)) return 'unknown'
  if (NO_ANSWER.has(error.code)) return 'failed'
  return error.code.startsWith('vendor/') ? 'answered' : 'unknown'
}
