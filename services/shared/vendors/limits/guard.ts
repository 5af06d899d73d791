// A vendor behind its limits: calls per mailbox at a time, budgets and rests shared by all
// processes, and a circuit breaker per door. A decorator over the port: it changes nothing of a
// call that goes out. Invariants: no call goes out inside a rest, beyond a budget or through an
// open breaker, and what a method of the port sends is counted call by call; a refused call fails
// at once as `throttled` with `retryAt`, so a unit backs off without an attempt being counted, and
// nothing waits here behind a gate that may close meanwhile. That a vendor refuses everybody is
// told to all processes as a rest.
import { performance } from 'node:perf_hooks'
import { Failure, type FailureCode } from '#shared/domain/failure.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { Logger } from '#shared/process/log.ts'
import { pause } from '#shared/process/loop.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { Access } from '../tokens.ts'
import { createBreaker, OUTAGES, REFUSALS, type Breaker, type Watch } from './breaker.ts'
import {
  createBudget,
  refusalsKey,
  type Budget,
  type BudgetStore,
  type Caller,
  type Quota,
  type Share,
} from './budget.ts'
import { createLimiter, type Limiter } from '../fetch.ts'
import type { EachCall, Grant, PageRequest, Vendor } from '../vendor.ts'

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

export interface BudgetedVendorDeps {
  readonly quota: Quota
  readonly store: BudgetStore
  readonly clock: Clock
  readonly logger: Logger
  /** Milliseconds that only grow; 0 ≤ random < 1. For tests. */
  readonly monotonic?: () => number
  readonly random?: () => number
}

export interface BudgetedVendor extends Vendor {
  /** `connectionId`: whose token it is; without it only the vendor's own rests count. */
  refresh(refreshToken: string, signal: AbortSignal, connectionId?: ConnectionId): Promise<Grant>
  /**
   * The same access, which tells whose mailbox a call is for: calls with a token from elsewhere
   * have the vendor's budget alone.
   */
  bind(access: Access): Access
}

interface Guard {
  readonly vendor: Vendor
  readonly budget: Budget
  readonly limiter: Limiter
  readonly clock: Clock
  readonly logger: Logger
  readonly breakers: Readonly<Record<Caller['door'], Breaker>>
  /** Those that watch for refusals of everybody. */
  readonly refusals: Readonly<Record<Caller['door'], Breaker>>
  /** Whose token it is, while calls with it run. */
  readonly owners: Map<string, { readonly connectionId: ConnectionId; uses: number }>
}

/**
 * Puts a vendor behind its limits. Every call of an installation has to go through
 * one of these per process.
 */
export function withBudgets(vendor: Vendor, deps: BudgetedVendorDeps): BudgetedVendor {
  const guard: Guard = {
    vendor,
    budget: createBudget({ ...deps, vendor: vendor.name }),
    clock: deps.clock,
    logger: deps.logger,
    limiter: createLimiter({ perKey: CALLS_PER_MAILBOX, waitingMax: CALLS_WAITING_MAX }),
    breakers: {
      api: breakerOf(vendor, 'api', OUTAGES, deps),
      login: breakerOf(vendor, 'login', OUTAGES, deps),
    },
    refusals: {
      api: breakerOf(vendor, 'api', REFUSALS, deps),
      login: breakerOf(vendor, 'login', REFUSALS, deps),
    },
    owners: new Map(),
  }
  const calls = <T>(
    token: string,
    signal: AbortSignal,
    work: (each: EachCall) => Promise<T>,
    share: Share = 'live',
  ) => {
    const mailbox = guard.owners.get(token)?.connectionId ?? null
    return guarded(guard, { mailbox, door: 'api', share }, signal, work)
  }
  const call = <T>(token: string, signal: AbortSignal, send: () => Promise<T>) =>
    calls(token, signal, (each) => each(send))
  const login = <T>(mailbox: ConnectionId | null, signal: AbortSignal, send: () => Promise<T>) =>
    guarded(guard, { mailbox, door: 'login', share: 'live' }, signal, (each) => each(send))
  const fetchSeries = vendor.fetchSeries?.bind(vendor)
  return {
    name: vendor.name,
    approvalUrl: vendor.approvalUrl ?? null,
    consentUrl: (request) => vendor.consentUrl(request),
    exchangeCode: (code, signal) => login(null, signal, () => vendor.exchangeCode(code, signal)),
    refresh: (token, signal, connectionId) =>
      login(connectionId ?? null, signal, () => vendor.refresh(token, signal)),
    revoke: (token, signal) => login(null, signal, () => vendor.revoke(token, signal)),
    account: (token, signal) => call(token, signal, () => vendor.account(token, signal)),
    listCalendars: (token, signal) =>
      calls(token, signal, (each) => vendor.listCalendars(token, signal, each)),
    fetchPage: (token, request, signal) =>
      calls(token, signal, (each) => vendor.fetchPage(token, request, signal, each), shareOf(request)),
    ...(fetchSeries && {
      fetchSeries: (token, request, signal) =>
        calls(token, signal, (each) => fetchSeries(token, request, signal, each)),
    }),
    lookUp: (token, request, signal) =>
      calls(token, signal, (each) => vendor.lookUp(token, request, signal, each), 'backfill'),
    openChannel: (token, request, signal) =>
      call(token, signal, () => vendor.openChannel(token, request, signal)),
    renewChannel: (token, channel, signal) =>
      call(token, signal, () => vendor.renewChannel(token, channel, signal)),
    stopChannel: (token, channel, signal) =>
      call(token, signal, () => vendor.stopChannel(token, channel, signal)),
    bind: (access) => bindOwner(guard, access),
  }
}

/** A read without a cursor reads a whole calendar: first sync or resync. */
function shareOf({ cursor }: PageRequest): Share {
  return cursor === null ? 'backfill' : 'live'
}

/**
 * A call that did not go out, as the breaker must see it:
 * neither an answer of the vendor nor its silence.
 */
class NotSent extends Error {
  override readonly name = 'NotSent'
}

/**
 * A method of the port: the breaker judges it as a whole, each of its calls waits for its mailbox
 * and is taken from the budget.
 */
async function guarded<T>(
  guard: Guard,
  caller: Caller,
  signal: AbortSignal,
  work: (each: EachCall) => Promise<T>,
): Promise<T> {
  const { mailbox, door } = caller
  let opening: Promise<void> | null = null
  /**
   * The first call decides at once whether the method begins;
   * those after it, or beside it, wait a little.
   */
  const budgeted = async () => {
    if (opening === null) return (opening = takeWithin(guard, caller, 0, signal))
    await opening
    return takeWithin(guard, caller, PATIENCE_MS, signal)
  }
  const each: EachCall = async (send) => {
    let isSent = false
    const take = async () => {
      await budgeted()
      signal.throwIfAborted()
      isSent = true
      return send()
    }
    try {
      return await (mailbox === null ? take() : guard.limiter.run(`${mailbox} ${door}`, signal, take))
    } catch (error) {
      throw isSent ? error : new NotSent('not sent', { cause: error })
    }
  }
  try {
    const who = mailbox ?? 'nobody'
    return await guard.refusals[door].run(who, () => guard.breakers[door].run(who, () => work(each)))
  } catch (error) {
    if (error instanceof NotSent) {
      countRefusal(guard.vendor, error.cause)
      throw error.cause
    }
    await remember(guard, caller, error)
    throw error
  }
}

/** Takes a call from the budget; waits for it when it fits within the patience. */
async function takeWithin(
  { budget, clock }: Guard,
  caller: Caller,
  patienceMs: number,
  signal: AbortSignal,
): Promise<void> {
  const until = performance.now() + patienceMs
  for (;;) {
    try {
      return await budget.take(caller)
    } catch (error) {
      const isSpent = error instanceof Failure && error.code === 'vendor/budget-spent'
      if (!isSpent || error.retryAt === undefined) throw error
      const waitMs = Math.max(1, (error.retryAt - clock.now()) / 1000)
      if (performance.now() + waitMs > until) throw error
      await pause(waitMs, signal)
      signal.throwIfAborted()
    }
  }
}

const OURS: ReadonlySet<FailureCode> = new Set([
  'vendor/circuit-open',
  'vendor/recovering',
  'vendor/refusing-all',
])

/** What the vendor said about when to come back; never what we refused ourselves. */
async function remember({ budget, logger }: Guard, caller: Caller, error: unknown): Promise<void> {
  if (!(error instanceof Failure) || !error.code.startsWith('vendor/')) return
  if (OURS.has(error.code)) return
  try {
    await budget.heard(caller, error)
  } catch (trouble) {
    // The failure of the call counts more: whoever asked records it with the same floor.
    logger.info({ err: trouble }, 'a rest could not be stored for the other processes')
  }
}

function countRefusal({ name }: Vendor, error: unknown): void {
  if (error instanceof Failure) metrics.vendorRefusals.add(1, { vendor: name, code: error.code })
}

function breakerOf(vendor: Vendor, door: Caller['door'], watch: Watch, deps: BudgetedVendorDeps): Breaker {
  const { clock, monotonic, random, logger, store } = deps
  const isOutage = watch === OUTAGES
  const labels = { vendor: vendor.name, door: isOutage ? door : `${door}-refusals` }
  metrics.vendorBreaker.record(0, labels)
  const name = vendor.name === 'google' ? 'Google' : 'Microsoft'
  const rest = (ms: number) => {
    // A little shorter than our own pause,
    // so that the probe of this process is not kept back by it.
    store.rest(refusalsKey(vendor.name, door), ms * 900).catch((error: unknown) => {
      logger.info({ err: error, ...labels }, 'a rest could not be stored for the other processes')
    })
  }
  return createBreaker({
    vendor: door === 'api' ? name : `The login of ${name}`,
    watch,
    clock,
    ...(monotonic && { monotonic }),
    ...(random && { random }),
    ...(isOutage ? {} : { rests: rest }),
    changed: (state, cause) => {
      metrics.vendorBreaker.record(state === 'open' ? 1 : 0, labels)
      const text = state === 'open' ? OPEN_TEXT[watch.code] : 'the vendor answers again'
      // Refusals of everybody end by themselves only when they are the vendor's fault.
      logger[isOutage || state === 'closed' ? 'warn' : 'error']({ ...labels, code: cause }, text)
    },
  })
}

const OPEN_TEXT: Readonly<Record<Watch['code'], string>> = {
  'vendor/circuit-open': 'the vendor is left alone for a moment',
  'vendor/refusing-all':
    'the vendor refuses several accounts in a row: nobody is parked for it; look at its status page and at the settings of our app there',
}

function bindOwner({ owners }: Guard, access: Access): Access {
  return {
    token: (connectionId, signal) => access.token(connectionId, signal),
    invalidate: (connectionId, rejected) => access.invalidate(connectionId, rejected),
    withToken: (connectionId, signal, work) =>
      access.withToken(connectionId, signal, async (token) => {
        const owner = owners.get(token) ?? { connectionId, uses: 0 }
        owners.set(token, owner)
        owner.uses += 1
        try {
          return await work(token)
        } finally {
          owner.uses -= 1
          if (owner.uses === 0) owners.delete(token)
        }
      }),
  }
}
