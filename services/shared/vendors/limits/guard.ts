// The limits of one vendor in this process: calls per mailbox at a time, budgets and cool-downs
// shared by all processes, and a circuit breaker per endpoint. It changes nothing of a call that
// goes out. Invariants: no call goes out inside a cool-down, beyond a budget or through an open
// breaker, and what a method of the port sends is counted call by call; a refused call fails at
// once as `throttled` with `retryAt`, so a unit backs off without an attempt being counted, and
// nothing waits here behind a gate that may close meanwhile. That a vendor refuses everybody
// reaches all processes as a cool-down.
import { performance } from 'node:perf_hooks'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { BudgetStore } from '#shared/domain/call-budget.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import type { OpenBreaker } from '#shared/domain/service-instances.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Logger } from '#shared/process/log.ts'
import { pause } from '#shared/process/loop.ts'
import { metrics } from '#shared/process/metrics.ts'
import { Breaker, OUTAGES, REFUSALS, type Watch } from './breaker.ts'
import { Budget, refusalsKey, type Caller, type Quota } from './budget.ts'
import { createLimiter, type Limiter } from './limiter.ts'
import type { EachCall } from '../vendor.ts'

/**
 * Of the four that a vendor allows per mailbox (Graph: MailboxConcurrency,
 * learn.microsoft.com/graph/throttling-limits). One sync process works a connection and one
 * scheduler maintains its channels, so two each stay within it without asking each other.
 */
const CALLS_PER_MAILBOX = 2
const CALLS_WAITING_MAX = 64
/**
 * How long the second and further calls of a method wait for the budget: when it is spent all the
 * time, methods that begin anew with each refusal would use it up without ever coming to an end. A
 * gate that closes stops calls within 2 s.
 */
const PATIENCE_MS = 1_000

export interface GuardDeps {
  readonly quota: Quota
  readonly store: BudgetStore
  readonly clock: Clock
  readonly logger: Logger
  /** Milliseconds that only grow; 0 ≤ random < 1. For tests. */
  readonly monotonic?: () => number
  readonly random?: () => number
}

export interface Guard {
  /**
   * Runs a method of the port for this caller: the breakers judge it as a whole, each of its calls
   * waits for its mailbox and is taken from the budget. A caller without a mailbox has the vendor's
   * limits alone. Throws Failure with `retryAt` for a call that did not go out; otherwise what the
   * method throws.
   */
  run<T>(caller: Caller, signal: AbortSignal, method: (each: EachCall) => Promise<T>): Promise<T>
  /** Where this process leaves the vendor alone at the moment. */
  openBreakers(): readonly OpenBreaker[]
}

/**
 * A call that did not go out, as the breaker must see it:
 * neither an answer of the vendor nor its silence.
 */
class NotSent extends Error {
  override readonly name = 'NotSent'
}

const ENDPOINTS = ['api', 'login'] as const satisfies readonly Caller['endpoint'][]

const OURS: ReadonlySet<FailureCode> = new Set([
  'vendor/circuit-open',
  'vendor/recovering',
  'vendor/refusing-all',
])

/** The guard of one vendor. Every call of an installation has to go through one per process. */
export function createGuard(vendor: VendorName, deps: GuardDeps): Guard {
  return new VendorGuard(vendor, deps)
}

class VendorGuard implements Guard {
  readonly #vendor: VendorName
  readonly #deps: GuardDeps
  readonly #budget: Budget
  readonly #limiter: Limiter = createLimiter({ perKey: CALLS_PER_MAILBOX, waitingMax: CALLS_WAITING_MAX })
  readonly #outages: Readonly<Record<Caller['endpoint'], Breaker>>
  readonly #refusals: Readonly<Record<Caller['endpoint'], Breaker>>

  constructor(vendor: VendorName, deps: GuardDeps) {
    this.#vendor = vendor
    this.#deps = deps
    this.#budget = new Budget({ ...deps, vendor })
    const breakers = (watch: Watch) => ({
      api: breakerOf(vendor, 'api', watch, deps),
      login: breakerOf(vendor, 'login', watch, deps),
    })
    this.#outages = breakers(OUTAGES)
    this.#refusals = breakers(REFUSALS)
  }

  async run<T>(caller: Caller, signal: AbortSignal, method: (each: EachCall) => Promise<T>): Promise<T> {
    const { mailbox, endpoint } = caller
    const who = mailbox ?? caller.about ?? 'no mailbox'
    let opening: Promise<void> | null = null
    const each: EachCall = async (send) => {
      let isSent = false
      try {
        using _place = mailbox === null ? null : await this.#limiter.enter(`${mailbox} ${endpoint}`, signal)
        // The first call decides at once whether the method begins;
        // those after it, or beside it, wait a little.
        if (opening === null) await (opening = this.#take(caller, 0, signal))
        else {
          await opening
          await this.#take(caller, PATIENCE_MS, signal)
        }
        signal.throwIfAborted()
        isSent = true
        return await send()
      } catch (error) {
        throw isSent ? error : new NotSent('not sent', { cause: error })
      }
    }
    try {
      return await this.#refusals[endpoint].run(who, () =>
        this.#outages[endpoint].run(who, () => method(each)),
      )
    } catch (error) {
      if (error instanceof NotSent) {
        countRefusal(this.#vendor, error.cause)
        throw error.cause
      }
      await this.#remember(caller, error)
      throw error
    }
  }

  openBreakers(): readonly OpenBreaker[] {
    return [this.#outages, this.#refusals].flatMap((breakers) =>
      ENDPOINTS.flatMap((part) => {
        const ms = breakers[part].closedForMs()
        const until = this.#deps.clock.now() + Math.ceil((ms ?? 0) * 1000)
        return ms === null ? [] : [{ vendor: this.#vendor, part, until }]
      }),
    )
  }

  /** Takes a call from the budget; waits for it when it fits within the patience. */
  async #take(caller: Caller, patienceMs: number, signal: AbortSignal): Promise<void> {
    const until = performance.now() + patienceMs
    for (;;) {
      try {
        return await this.#budget.take(caller)
      } catch (error) {
        const isSpent = error instanceof Failure && error.code === 'vendor/budget-spent'
        if (!isSpent || error.retryAt === undefined) throw error
        const waitMs = Math.max(1, (error.retryAt - this.#deps.clock.now()) / 1000)
        if (performance.now() + waitMs > until) throw error
        await pause(waitMs, signal)
        signal.throwIfAborted()
      }
    }
  }

  /** What the vendor said about when to come back; never what we refused ourselves. */
  async #remember(caller: Caller, error: unknown): Promise<void> {
    if (!(error instanceof Failure) || !error.code.startsWith('vendor/')) return
    if (OURS.has(error.code)) return
    try {
      await this.#budget.heard(caller, error)
    } catch (trouble) {
      // The failure of the call counts more: its caller records it with the same floor.
      this.#deps.logger.info({ err: trouble }, 'a rest could not be stored for the other processes')
    }
  }
}

function countRefusal(vendor: VendorName, error: unknown): void {
  if (error instanceof Failure) metrics.vendorRefusals.add(1, { vendor, code: error.code })
}

function breakerOf(vendor: VendorName, endpoint: Caller['endpoint'], watch: Watch, deps: GuardDeps): Breaker {
  const { clock, monotonic, random, logger, store } = deps
  const isOutage = watch === OUTAGES
  const labels = { vendor, door: isOutage ? endpoint : `${endpoint}-refusals` }
  metrics.vendorBreaker.record(0, labels)
  const name = vendor === 'google' ? 'Google' : 'Microsoft'
  const coolDown = (ms: number) => {
    // A little shorter than our own pause,
    // so that the probe of this process is not kept back by it.
    store.coolDown(refusalsKey(vendor, endpoint), ms * 900).catch((error: unknown) => {
      logger.info({ err: error, ...labels }, 'a rest could not be stored for the other processes')
    })
  }
  return new Breaker({
    vendor: endpoint === 'api' ? name : `The login of ${name}`,
    watch,
    clock,
    ...(monotonic && { monotonic }),
    ...(random && { random }),
    ...(isOutage ? {} : { coolDown }),
    changed: (state, cause) => {
      metrics.vendorBreaker.record(state === 'open' ? 1 : 0, labels)
      if (state === 'closed') return logger.info(labels, 'the vendor answers again')
      // Refusals of every account end without an operator only when they are the vendor's fault.
      logger[isOutage ? 'warn' : 'error']({ ...labels, code: cause }, OPEN_TEXT[watch.code])
    },
  })
}

const OPEN_TEXT: Readonly<Record<Watch['code'], string>> = {
  'vendor/circuit-open': 'the vendor is left alone for a moment',
  'vendor/refusing-all':
    'the vendor refuses several accounts in a row: no account is parked for it; look at its status page and at the settings of our app there',
}
