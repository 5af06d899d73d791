// Lanes: one queue per key (a connection), worked one unit at a time. Knows no Kafka and no
// calendar. Invariants: a lane runs at most one unit; what is queued when a unit starts is worked
// by that unit, what arrives during it causes another; a lane holds a slot only while its unit
// runs; a request leaves its lane only as completed or withdrawn.
//
// A lane is
// - ready: it waits for a slot, in the order of arrival, so no key can starve another
// - running; then it is gone, or ready again when something arrived meanwhile
// - due, member or resumed: its unit gave the requests back, and it pauses until its time, a proof
//   that we are in the group still, or resume().
import { performance } from 'node:perf_hooks'
import { atMost } from '#shared/process/loop.ts'

export interface LaneRequest {
  readonly key: string
  /** Whose slots it takes: those of its vendor. */
  readonly bulkhead: string
  /** Where it came from; what came from one source is withdrawn together. */
  readonly source: string
  /**
   * live: a vendor told of a change; asked: an app or calstream wants to know whether there is one,
   * often for very many keys at once.
   */
  readonly urgency: 'live' | 'asked'
}

/** What a unit may use while it runs. */
export interface Permit {
  /** none: it waited for a slot too long and may only hand over. */
  readonly slot: 'live' | 'backfill' | 'none'
  /** With `none`: how many lanes wait for the same kind of slot. */
  readonly waiting?: number
  /** Aborted when the unit shall hand over soon. */
  readonly stopping: AbortSignal
  /** Aborted when the unit shall write nothing more. */
  readonly signal: AbortSignal
  /**
   * Aborted when a live request came into the lane while its unit runs:
   * it waits for the end of this unit.
   */
  readonly rung?: AbortSignal
  /** An ill calendar is read that does not give way; see endOfCall of give-way.ts. */
  readonly isPatient?: boolean
}

type Pause = 'due' | 'member' | 'resumed'

/** What the end of a unit means for its lane. */
export interface LaneEnd {
  /** done: their effect, or its failure, is durable. again: the lane keeps them. */
  readonly requests: 'done' | 'again'
  /** When the next unit of the lane may run. `resumed`: no other lane would fare better now. */
  readonly when: 'slot' | 'backfill-slot' | Pause
  /** With `due`. */
  readonly waitMs?: number
}

export interface LaneLimits {
  readonly slots: number
  readonly bulkheadSlots: number
  /** Of the slots, how many may read whole calendars. */
  readonly backfillSlots: number
  readonly slotWaitMs: number
}

export interface LanesOptions<R extends LaneRequest> {
  /** Works the requests of one lane. Must not reject. */
  readonly run: (requests: readonly [R, ...R[]], permit: Permit) => Promise<LaneEnd>
  /** These requests are done. */
  readonly completed: (requests: readonly R[]) => void
  /** Every lane pauses until resume(). */
  readonly blocked: () => void
  /** performance.now() of the last proof that we are a member of the group. */
  readonly acknowledgedAt: () => number
  readonly limits: LaneLimits
  /** How many of the backfill slots may be used now; all of them when absent. */
  readonly backfillShare?: () => number
}

export interface Lanes<R extends LaneRequest> extends Disposable {
  add(request: R): void
  /**
   * Forgets what came from a source that is ours no longer,
   * and takes the permit from units that work on it.
   */
  withdraw(source: string): void
  resume(): void
  /**
   * Starts nothing more, asks running units to hand over, and takes their permit after `graceMs`.
   */
  drain(graceMs: number): Promise<void>
  /** Lanes by state, as the metric calls it: one that pauses is `resting`. */
  counts(): Readonly<Record<'ready' | 'running' | 'resting', number>>
  /**
   * By kind of slot: for how many ms the lane that waits longest for one has waited. 0 where none
   * waits, and while all pause for an outage, since more slots would not help then.
   */
  waits(): Readonly<Record<Slot, number>>
}

type Slot = LaneRequest['urgency'] | 'backfill'

interface Lane<R> {
  readonly key: string
  readonly bulkhead: string
  queue: R[]
  slot: Slot
  state: 'ready' | 'running' | Pause
  /** performance.now() at which the state began, or for `due` at which it ends. */
  at: number
  running: { requests: R[]; readonly abort: AbortController; readonly rung: AbortController } | null
}

const TICK_MS = 100
/** Which lane gets a free slot first. */
const RANKS: Readonly<Record<Slot, number>> = { live: 0, asked: 1, backfill: 2 }
/**
 * A claim costs a short transaction, reading a whole calendar about ten of them and more in the
 * relay: so what is asked may take this many slots for each of a backfill's, and 500 first syncs
 * that are let in at one moment do not stand before a notification.
 */
const ASKED_PER_BACKFILL = 4
const STOCK_PER_SLOT = 4
/** After a permit was taken away its unit needs a moment to notice. */
const ABORT_GRACE_MS = 500

export function createLanes<R extends LaneRequest>(options: LanesOptions<R>): Lanes<R> {
  return new LaneTable(options)
}

class LaneTable<R extends LaneRequest> implements Lanes<R> {
  readonly #options: LanesOptions<R>
  readonly #lanes = new Map<string, Lane<R>>()
  /** Lanes that wait for a slot, by bulkhead and kind of slot; each queue in order of arrival. */
  readonly #ready = new Map<string, Set<Lane<R>>>()
  readonly #paused = new Set<Lane<R>>()
  /** Running units by what they hold: all, a bulkhead, asked, backfill, none. */
  readonly #used = new Map<string, number>()
  readonly #units = new Set<Promise<void>>()
  readonly #stopping = new AbortController()
  readonly #ticker: NodeJS.Timeout
  #isSuspended = false

  constructor(options: LanesOptions<R>) {
    this.#options = options
    this.#ticker = setInterval(() => this.#tick(), TICK_MS)
  }

  add(request: R): void {
    const known = this.#lanes.get(request.key)
    const lane = known ?? this.#create(request)
    lane.queue.push(request)
    if (request.urgency === 'live') lane.running?.rung.abort()
    if (lane.slot === 'asked' && request.urgency === 'live') this.#hurry(lane)
    // News may end an early wait: the claim decides again.
    if (!known || lane.state === 'due') this.#makeReady(lane)
    this.#start()
  }

  withdraw(source: string): void {
    const stays = (request: R) => request.source !== source
    for (const lane of this.#lanes.values()) {
      lane.queue = lane.queue.filter(stays)
      if (lane.running && !lane.running.requests.every(stays)) {
        lane.running.requests = lane.running.requests.filter(stays)
        lane.running.abort.abort()
      }
      if (lane.queue.length === 0 && !lane.running) this.#forget(lane)
    }
  }

  resume(): void {
    this.#isSuspended = false
    for (const lane of this.#paused) if (lane.state === 'resumed') this.#makeReady(lane)
    this.#start()
  }

  async drain(graceMs: number): Promise<void> {
    this.#stopping.abort()
    await atMost(Promise.all(this.#units), graceMs, [])
    for (const lane of this.#lanes.values()) lane.running?.abort.abort()
    await atMost(Promise.all(this.#units), ABORT_GRACE_MS, [])
  }

  counts(): Record<'ready' | 'running' | 'resting', number> {
    const running = this.#units.size
    const paused = this.#paused.size
    return { ready: this.#lanes.size - running - paused, running, resting: paused }
  }

  waits(): Record<Slot, number> {
    const waits = { live: 0, asked: 0, backfill: 0 }
    if (this.#isSuspended) return waits
    const now = performance.now()
    for (const [first] of this.#ready.values())
      if (first) waits[first.slot] = Math.max(waits[first.slot], now - first.at)
    return waits
  }

  [Symbol.dispose](): void {
    clearInterval(this.#ticker)
  }

  #create({ key, bulkhead, urgency }: R): Lane<R> {
    const lane: Lane<R> = { key, bulkhead, queue: [], slot: urgency, state: 'ready', at: 0, running: null }
    this.#lanes.set(key, lane)
    return lane
  }

  #hurry(lane: Lane<R>): void {
    this.#leaveQueue(lane)
    lane.slot = 'live'
    if (lane.state === 'ready') this.#makeReady(lane)
  }

  #makeReady(lane: Lane<R>): void {
    this.#paused.delete(lane)
    lane.state = 'ready'
    lane.at = performance.now()
    const name = `${lane.slot} ${lane.bulkhead}`
    const queue = this.#ready.get(name) ?? new Set()
    this.#ready.set(name, queue.add(lane))
  }

  #pause(lane: Lane<R>, state: Pause, waitMs = 0): void {
    lane.state = state
    lane.at = performance.now() + waitMs
    this.#paused.add(lane)
  }

  #forget(lane: Lane<R>): void {
    this.#lanes.delete(lane.key)
    this.#paused.delete(lane)
    this.#leaveQueue(lane)
  }

  #leaveQueue(lane: Lane<R>): void {
    for (const queue of this.#ready.values()) queue.delete(lane)
  }

  /** Gives free slots to ready lanes: live work first, then what is asked, then backfill. */
  #start(): void {
    if (this.#isSuspended || this.#stopping.signal.aborted) return
    const firsts = () =>
      [...this.#ready.values()]
        .flatMap(([lane]) => lane ?? [])
        .toSorted((a, b) => RANKS[a.slot] - RANKS[b.slot])
    for (let isMoving = true; isMoving;) {
      isMoving = false
      for (const lane of firsts()) {
        if (!this.#hasSlot(lane)) continue
        this.#begin(lane, lane.slot === 'backfill' ? 'backfill' : 'live')
        isMoving = true
      }
    }
  }

  #hasSlot({ bulkhead, slot }: Lane<R>): boolean {
    const { slots, bulkheadSlots, backfillSlots } = this.#options.limits
    if (this.#count('all') >= slots || this.#count(bulkhead) >= bulkheadSlots) return false
    if (slot === 'live') return true
    const share = Math.min(backfillSlots, this.#options.backfillShare?.() ?? backfillSlots)
    return this.#count(slot) < (slot === 'asked' ? share * ASKED_PER_BACKFILL : share)
  }

  #count(name: string): number {
    return this.#used.get(name) ?? 0
  }

  #begin(lane: Lane<R>, slot: Permit['slot'], waiting = 0): void {
    this.#leaveQueue(lane)
    const holds = slot === 'none' ? ['none'] : ['all', lane.bulkhead, lane.slot]
    for (const name of holds) this.#used.set(name, this.#count(name) + 1)
    lane.state = 'running'
    const permit = this.#run(lane, { slot, waiting }).finally(() => {
      for (const name of holds) this.#used.set(name, this.#count(name) - 1)
      this.#units.delete(permit)
      this.#start()
    })
    this.#units.add(permit)
  }

  async #run(lane: Lane<R>, place: Pick<Permit, 'slot' | 'waiting'>): Promise<void> {
    const [first, ...others] = lane.queue
    lane.queue = []
    if (!first) return this.#forget(lane)
    const running = {
      requests: [first, ...others],
      abort: new AbortController(),
      rung: new AbortController(),
    }
    lane.running = running
    const permit = {
      ...place,
      stopping: this.#stopping.signal,
      signal: running.abort.signal,
      rung: running.rung.signal,
    }
    const end = await this.#options.run([first, ...others], permit)
    lane.running = null
    if (end.requests === 'done') this.#options.completed(running.requests)
    else lane.queue.unshift(...running.requests)
    this.#settle(lane, end)
  }

  #settle(lane: Lane<R>, { when, waitMs }: LaneEnd): void {
    if (lane.queue.length === 0) return this.#forget(lane)
    switch (when) {
      case 'slot':
        lane.slot = lane.queue.some(({ urgency }) => urgency === 'live') ? 'live' : 'asked'
        return this.#makeReady(lane)
      case 'backfill-slot':
        lane.slot = 'backfill'
        return this.#makeReady(lane)
      case 'resumed':
        this.#pause(lane, when)
        if (!this.#isSuspended) this.#options.blocked()
        this.#isSuspended = true
        return
      case 'due':
      case 'member':
        return this.#pause(lane, when, waitMs)
      default:
        return when satisfies never
    }
  }

  /** Wakes lanes that have paused long enough, and lets those that wait too long hand over. */
  #tick(): void {
    const now = performance.now()
    for (const lane of this.#paused) {
      const isAwake =
        (lane.state === 'due' && lane.at <= now) ||
        (lane.state === 'member' && this.#options.acknowledgedAt() > lane.at)
      if (isAwake) this.#makeReady(lane)
    }
    this.#start()
    if (!this.#isSuspended && !this.#stopping.signal.aborted) this.#handOverLate(now)
  }

  #handOverLate(now: number): void {
    const { slots, backfillSlots, slotWaitMs } = this.#options.limits
    for (const queue of this.#ready.values()) {
      for (const [place, lane] of [...queue].entries()) {
        // A quarter of the slots, on top: handing over takes two short transactions and no vendor.
        if (now - lane.at < slotWaitMs || this.#count('none') * 4 >= slots) break
        // The next in line for a backfill stay, so that its slots never wait for a request.
        if (lane.slot === 'backfill' && place < backfillSlots * STOCK_PER_SLOT) continue
        this.#begin(lane, 'none', queue.size)
      }
    }
  }
}
