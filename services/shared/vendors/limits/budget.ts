// Our own share of a vendor's quota, held by all processes together. Invariants: in any minute,
// however it begins, the calls of all processes stay below the quota; no call goes out inside a
// cool-down that a vendor asked for, whichever process heard it; backfill may use half of the room,
// so live work always finds the other half. Calls are taken from the shared budget in small chunks,
// so a busy vendor costs one write per chunk; whether a key cools down is asked before every call,
// one read by key.
import { performance } from 'node:perf_hooks'
import { Failure } from '#shared/domain/failure.ts'
import type { BudgetStore } from '#shared/domain/call-budget.ts'
import type { ConnectionId, VendorName } from '#shared/domain/ids.ts'
import type { Clock } from '#shared/process/clock.ts'

export type Priority = 'live' | 'backfill'

/** Calls that a vendor allows in a minute. */
export interface Quota {
  readonly perMinute: number
  readonly mailboxPerMinute: number
}

interface BudgetDeps {
  readonly vendor: VendorName
  readonly quota: Quota
  readonly store: BudgetStore
  readonly clock: Clock
  /** Milliseconds that only grow. */
  readonly monotonic?: () => number
}

export interface Caller {
  /** null: no mailbox yet, as in the callback of a consent. */
  readonly mailbox: ConnectionId | null
  /** Whose account a call is about that the limits of its mailbox do not hold back. */
  readonly about?: ConnectionId
  /** The token server has its own quota, which is not documented: only its cool-downs count. */
  readonly endpoint: 'api' | 'login'
  readonly priority: Priority
}

/**
 * The key under which all processes hear that an endpoint refuses every account;
 * no call goes out while it cools down.
 */
export function refusalsKey(vendor: VendorName, endpoint: Caller['endpoint']): string {
  return `${vendor} ${endpoint} refusals`
}

/** Of a quota: earned evenly over the minute … */
const EARNED = 0.7
/**
 * … and what may be spent at once. With a chunk's life on top,
 * a minute holds 0.2 + 0.7 · 65/60 = 96 %.
 */
const ROOM = 0.2
const BACKFILL_ROOM = 0.1
/** A chunk that is not used soon is forgotten, which wastes calls but never exceeds a quota. */
const CHUNK_LIFE_MS = 5_000
/** Of a quota: with twenty processes that each hold one there is still room. */
const CHUNK_MAX = 0.01
const CHUNKS_HELD_MAX = 10_000

interface Chunk {
  left: number
  size: number
  bornAt: number
  isFilling: boolean
}

/** The budget of one vendor as one process sees it. */
export class Budget {
  readonly #deps: Required<BudgetDeps>
  readonly #chunks = new Map<string, Chunk>()

  constructor(deps: BudgetDeps) {
    this.#deps = { monotonic: () => performance.now(), ...deps }
  }

  /**
   * One call, taken; it goes out now or never. Throws Failure with `retryAt`:
   * `vendor/budget-spent`, or `vendor/throttled` or `vendor/quota-exhausted` while the mailbox or
   * the vendor cools down. Throws Failure `store/*`.
   */
  async take(caller: Caller): Promise<void> {
    const keys = this.#keysOf(caller)
    const wishes = keys.map(({ key, perMinute }) => {
      const chunk = perMinute === null ? null : this.#chunkOf(`${caller.priority} ${key}`)
      const isHeld = chunk === null || chunk.left > 0
      // Taken at once, not after the answer: meanwhile others take from the same chunk.
      if (chunk && isHeld) chunk.left -= 1
      const calls = isHeld ? 0 : this.#wishFor(chunk, perMinute ?? 1)
      return { key, chunk, isHeld, perMinute, calls, isFill: calls > 1 }
    })
    for (const { chunk, isFill } of wishes) if (chunk && isFill) chunk.isFilling = true
    try {
      const grants = await this.#deps.store.take(
        wishes.map(({ key, calls, perMinute }) => ({ key, calls, ...pace(perMinute ?? 1, caller.priority) })),
      )
      const coolingDown = grants.filter(({ isCoolingDown }) => isCoolingDown)
      const [longest] = coolingDown.toSorted((a, b) => b.waitMicros - a.waitMicros)
      if (longest) throw this.#coolDownFailure(longest, caller)
      this.#fill(wishes, grants)
      const spent = grants.filter(({ granted }) => granted === 0)
      const waitMicros = Math.max(0, ...spent.map((grant) => grant.waitMicros))
      if (spent.length > 0) {
        const retryAt = this.#deps.clock.now() + waitMicros
        throw new Failure('vendor/budget-spent', undefined, { retryAt, isKeptBack: true })
      }
      for (const { chunk, isHeld } of wishes) if (chunk && !isHeld) chunk.left -= 1
    } catch (error) {
      for (const { chunk, isHeld } of wishes) if (chunk && isHeld) chunk.left += 1
      throw error
    } finally {
      for (const { chunk, isFill } of wishes) if (chunk && isFill) chunk.isFilling = false
    }
  }

  /**
   * Remembers for all processes what a failed call said about when to come back.
   * Throws Failure `store/*`.
   */
  async heard(caller: Caller, failure: Failure): Promise<void> {
    if (failure.retryAt === undefined) return
    const micros = failure.retryAt - this.#deps.clock.now()
    if (micros <= 0) return
    const isVendors = failure.kind === 'throttled' && failure.scope === 'vendor'
    if (isVendors) return this.#deps.store.coolDown(this.#endpointKey(caller), micros)
    if (caller.mailbox !== null) await this.#deps.store.coolDown(this.#mailboxKey(caller.mailbox), micros)
  }

  /** The mailbox before the vendor: the order in which their rows are locked. */
  #keysOf(caller: Caller): readonly { readonly key: string; readonly perMinute: number | null }[] {
    const { quota } = this.#deps
    const isApi = caller.endpoint === 'api'
    const endpoint = { key: this.#endpointKey(caller), perMinute: isApi ? quota.perMinute : null }
    const refusals = { key: refusalsKey(this.#deps.vendor, caller.endpoint), perMinute: null }
    if (caller.mailbox === null) return [endpoint, refusals]
    const perMinute = isApi ? quota.mailboxPerMinute : null
    return [{ key: this.#mailboxKey(caller.mailbox), perMinute }, endpoint, refusals]
  }

  #endpointKey({ endpoint }: Caller): string {
    return endpoint === 'api' ? this.#deps.vendor : `${this.#deps.vendor} login`
  }

  #mailboxKey(mailbox: ConnectionId): string {
    return `${this.#deps.vendor} ${mailbox}`
  }

  #chunkOf(name: string): Chunk {
    const now = this.#deps.monotonic()
    const held = this.#chunks.get(name)
    if (!held) {
      const chunk: Chunk = { left: 0, size: 1, bornAt: now, isFilling: false }
      this.#chunks.set(name, chunk)
      this.#forgetOldest()
      return chunk
    }
    if (held.left > 0 && now - held.bornAt > CHUNK_LIFE_MS) {
      // What was used of it is what the next one needs.
      held.size = Math.max(1, held.size - held.left)
      held.left = 0
    }
    return held
  }

  /**
   * How many to ask for: a chunk that was used up in time was too small. While one is asked for,
   * others ask for themselves alone.
   */
  #wishFor(chunk: Chunk, perMinute: number): number {
    if (chunk.isFilling) return 1
    const isQuick = this.#deps.monotonic() - chunk.bornAt < CHUNK_LIFE_MS
    const max = Math.max(1, Math.floor(perMinute * CHUNK_MAX))
    return Math.min(max, isQuick ? chunk.size * 2 : chunk.size)
  }

  #fill(
    wishes: readonly { readonly key: string; readonly chunk: Chunk | null; readonly isFill: boolean }[],
    grants: readonly { readonly key: string; readonly granted: number }[],
  ): void {
    for (const { key, chunk, isFill } of wishes) {
      const granted = grants.find((grant) => grant.key === key)?.granted ?? 0
      if (chunk === null || granted === 0) continue
      chunk.left += granted
      if (!isFill) continue
      chunk.size = granted
      chunk.bornAt = this.#deps.monotonic()
    }
  }

  #forgetOldest(): void {
    const [oldest] = this.#chunks.keys()
    if (this.#chunks.size > CHUNKS_HELD_MAX && oldest !== undefined) this.#chunks.delete(oldest)
  }

  #coolDownFailure(
    { key, waitMicros }: { readonly key: string; readonly waitMicros: number },
    caller: Caller,
  ) {
    const kept = { retryAt: this.#deps.clock.now() + waitMicros, isKeptBack: true }
    if (key === refusalsKey(this.#deps.vendor, caller.endpoint))
      return new Failure('vendor/refusing-all', undefined, kept)
    const isVendors = key === this.#endpointKey(caller)
    return new Failure(isVendors ? 'vendor/quota-exhausted' : 'vendor/throttled', undefined, kept)
  }
}

function pace(perMinute: number, priority: Priority) {
  const stepMicros = Math.max(1, Math.round(60_000_000 / (perMinute * EARNED)))
  const calls = Math.max(1, Math.floor(perMinute * (priority === 'live' ? ROOM : BACKFILL_ROOM)))
  return { stepMicros, roomMicros: calls * stepMicros }
}
