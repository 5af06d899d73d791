// The circuit breaker of one endpoint of a vendor. One watches for outages, one for refusals of
// everybody (ADR 17). Invariants: only trouble of the whole vendor opens it (failures in a row, of
// more than one mailbox, with no answer in between), never the answer to one mailbox; while it is
// open exactly one call at a time goes through to probe, first of a caller whose own calls did not
// fail, and only the verdict of a probe closes it; after that calls go out at about the rate of
// before (ramp.ts). Time is monotonic, so a wall clock that is set back cannot keep it open. A
// caller that is kept back backs off without an attempt being counted.
import { performance } from 'node:perf_hooks'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { Clock } from '#shared/process/clock.ts'
import { Ramp, RATE_MIN } from './ramp.ts'

/** What a breaker takes for a failure, and what it does then. */
export interface Watch {
  readonly failures: ReadonlySet<FailureCode>
  readonly inARow: number
  /** One mailbox that breaks every answer must not close the endpoint for the others. */
  readonly callersMin: number
  readonly pauseMaxMs: number
  /** The failure of those who are kept back. */
  readonly code: 'vendor/circuit-open' | 'vendor/refusing-all'
  /**
   * Those who are kept back come again spread over so many a second; null: as their backoff says.
   */
  readonly comeBackPerSecond: number | null
  /** Calls per second that go out at least when the endpoint is open again. */
  readonly rateMin: number
}

/**
 * At 30 % of failures ten in a row come once in some 240 000 calls,
 * in an outage with 24 units at once within one round.
 */
export const FAILURES_IN_A_ROW = 10
/**
 * Failures that lie further apart are no row:
 * with so little traffic the backoff of each connection does.
 */
const ROW_GAP_MS = 60_000
const PAUSE_MIN_MS = 5_000
const WAITING_MAX = 50_000
/** Own refusals and silence say nothing about whether the vendor refuses everybody. */
const SAYS_NOTHING: ReadonlySet<FailureCode> = new Set([
  'vendor/circuit-open',
  'vendor/recovering',
  'vendor/refusing-all',
  'vendor/unavailable',
  'vendor/timeout',
  'vendor/unreadable-answer',
])

export const OUTAGES: Watch = {
  failures: new Set(['vendor/unavailable', 'vendor/timeout', 'vendor/unreadable-answer']),
  inARow: FAILURES_IN_A_ROW,
  callersMin: 2,
  pauseMaxMs: 60_000,
  code: 'vendor/circuit-open',
  comeBackPerSecond: null,
  rateMin: RATE_MIN,
}

/**
 * A vendor that refuses everybody answers at once and is not overloaded: it is asked more often,
 * and everybody is back within a minute of its first good answer. A mailbox meets up to two of
 * these a unit, so six are three mailboxes.
 */
export const REFUSALS: Watch = {
  failures: new Set([
    'vendor/token-rejected',
    'vendor/token-refused',
    'vendor/client-rejected',
    'vendor/no-mailbox',
  ]),
  inARow: 6,
  callersMin: 3,
  pauseMaxMs: 15_000,
  code: 'vendor/refusing-all',
  comeBackPerSecond: 20,
  rateMin: 20,
}
/** How long those wait who come while a probe runs. */
const PROBE_MS = 5_000
/**
 * So much longer those wait whose own calls failed, while others are kept back: a probe of another
 * says more. Without it three refused accounts kept one that is well out for more than a minute.
 */
const YIELD_MS = 2_000

interface BreakerDeps {
  /** For people, as in "Google does not answer". */
  readonly vendor: string
  readonly watch?: Watch
  readonly clock: Clock
  /** Milliseconds that only grow. */
  readonly monotonic?: () => number
  /** 0 ≤ random < 1. */
  readonly random?: () => number
  /** `cause`: the code of the failure that opened it. */
  readonly changed?: (state: 'open' | 'closed', cause: string) => void
  /** The endpoint stays closed for so many ms from now, unless a probe says otherwise. */
  readonly coolDown?: (ms: number) => void
}

type State =
  | { readonly kind: 'closed' }
  | { readonly kind: 'open'; readonly until: number }
  | { readonly kind: 'probing' }

/** The breaker of one endpoint. */
export class Breaker {
  readonly #deps: Required<BreakerDeps>
  #state: State = { kind: 'closed' }
  #failures = 0
  /** Who failed since the last answer, probes included. */
  readonly #callers = new Set<string>()
  /** Kept back since the endpoint closed. */
  readonly #waiting = new Set<string>()
  /** Those of them whose own calls did not fail. */
  readonly #unheard = new Set<string>()
  readonly #ramp = new Ramp()
  #lastFailureAt = Number.NEGATIVE_INFINITY
  #pauseMs = PAUSE_MIN_MS
  #cause = ''

  constructor(deps: BreakerDeps) {
    this.#deps = {
      watch: OUTAGES,
      monotonic: () => performance.now(),
      random: Math.random,
      changed: () => {},
      coolDown: () => {},
      ...deps,
    }
  }

  /** For how many ms it keeps calls back from now; null while it lets them through. */
  closedForMs(): number | null {
    if (this.#state.kind === 'closed') return null
    return this.#state.kind === 'probing' ? 0 : Math.max(0, this.#state.until - this.#deps.monotonic())
  }

  /**
   * Runs a call of this caller (a mailbox). Throws Failure with `retryAt` instead: the code of its
   * watch while the vendor is left alone, `vendor/recovering` when it has just come back and this
   * caller's turn is later. Otherwise throws what the call throws.
   */
  async run<T>(caller: string, work: () => Promise<T>): Promise<T> {
    const isProbe = this.#enter(caller)
    try {
      const result = await work()
      this.#answered(isProbe)
      return result
    } catch (error) {
      const verdict = verdictOf(error, this.#deps.watch)
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
    if (this.#state.kind === 'probing') throw this.#refusal(caller, PROBE_MS)
    const isYielding = this.#unheard.size > 0 && this.#callers.has(caller)
    const until = this.#state.until + (isYielding ? YIELD_MS : 0)
    if (now < until) throw this.#refusal(caller, until - now)
    this.#state = { kind: 'probing' }
    return true
  }

  #answered(isProbe: boolean): void {
    // What began before the endpoint closed says nothing about now.
    if (this.#state.kind !== 'closed' && !isProbe) return
    const now = this.#deps.monotonic()
    this.#failures = 0
    this.#callers.clear()
    this.#ramp.answered(now)
    if (!isProbe) return
    this.#state = { kind: 'closed' }
    this.#ramp.begin(now, this.#deps.watch.rateMin)
    this.#waiting.clear()
    this.#unheard.clear()
    this.#pauseMs = PAUSE_MIN_MS
    this.#deps.changed('closed', this.#cause)
  }

  #failed(isProbe: boolean, caller: string, error: unknown): void {
    const now = this.#deps.monotonic()
    const { watch } = this.#deps
    if (this.#state.kind === 'closed' && now - this.#lastFailureAt > ROW_GAP_MS) {
      this.#failures = 0
      this.#callers.clear()
    }
    if (this.#callers.size < WAITING_MAX) this.#callers.add(caller)
    this.#unheard.delete(caller)
    if (isProbe) {
      this.#pauseMs = Math.min(watch.pauseMaxMs, this.#pauseMs * 2)
      return this.#open(now)
    }
    if (this.#state.kind !== 'closed') return
    this.#lastFailureAt = now
    this.#failures += 1
    if (this.#failures < watch.inARow || this.#callers.size < watch.callersMin) return
    this.#cause = error instanceof Failure ? error.code : 'unknown'
    this.#ramp.closed(now)
    this.#open(now)
    this.#deps.changed('open', this.#cause)
  }

  #open(now: number): void {
    // Half fixed, half random, like every backoff:
    // processes that opened together do not probe together.
    const ms = this.#pauseMs * (0.5 + this.#deps.random() / 2)
    this.#state = { kind: 'open', until: now + ms }
    this.#deps.coolDown(ms)
  }

  #refusal(caller: string, waitMs: number): Failure {
    const { watch, vendor, clock, random } = this.#deps
    if (this.#waiting.size < WAITING_MAX) {
      this.#waiting.add(caller)
      if (!this.#callers.has(caller)) this.#unheard.add(caller)
    }
    const spreadMs =
      watch.comeBackPerSecond === null ? 0 : (this.#waiting.size / watch.comeBackPerSecond) * 1000 * random()
    const what =
      watch.code === 'vendor/circuit-open' ? 'did not answer many calls' : 'refused calls of several accounts'
    return new Failure(
      watch.code,
      `${vendor} ${what} in a row (${this.#cause}), so it is left alone for a moment. Work continues automatically.`,
      { retryAt: clock.now() + Math.ceil((waitMs + spreadMs) * 1000), isKeptBack: true },
    )
  }

  #notYet(waitMs: number): Failure {
    return new Failure('vendor/recovering', undefined, {
      retryAt: this.#deps.clock.now() + Math.ceil(waitMs * 1000),
      isKeptBack: true,
    })
  }
}

/**
 * What the end of a call says about the vendor. What the watch does not look for is an answer, if
 * it is one; a call that was cut off from our side, or met trouble of ours, says nothing.
 */
function verdictOf(error: unknown, { failures }: Watch): 'failed' | 'answered' | 'unknown' {
  if (!(error instanceof Failure)) return 'unknown'
  if (failures.has(error.code)) return 'failed'
  if (SAYS_NOTHING.has(error.code)) return 'unknown'
  return error.code.startsWith('vendor/') ? 'answered' : 'unknown'
}
