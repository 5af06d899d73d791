// The simulated clock: the vendor's own time, which its tokens, channels, stamps and waiting
// deliveries live by. It runs with the wall clock, ahead of it by what it was advanced, or it is
// manual and moves only when it is told to. It never goes back. What belongs to the wire stays on
// the wall clock: latency, slow answers, the time-out of a delivery, the rate of load.
import { createTimerHeap, type TimerHeap } from './timer-heap.ts'

/** Timers of Node take no longer delay; a later one is looked at again when this has passed. */
const DELAY_MS_MAX = 2_147_483_647
/**
 * How long an advance waits, in wall time, for what one of its timers began: a receiver that hangs
 * must not hold the clock.
 */
const SETTLE_MS_MAX = 2_000

export interface ClockOptions {
  readonly mode: 'running' | 'manual'
  /** First instant of a manual clock, ms epoch; absent = now. A running clock ignores it. */
  readonly startAt?: number | undefined
}

export interface SimulatorClock extends Disposable {
  readonly mode: 'running' | 'manual'
  /**
   * ms epoch; a running clock has fractions,
   * so that freshness can be measured from a change's own time.
   */
  now(): number
  /** Runs `run` once `delayMs` of simulated time have passed; returns what cancels it. */
  after(delayMs: number, run: () => void): () => void
  /**
   * Moves the clock on, stopping at every timer on the way: each one sees its own due time,
   * and what it began is over (or two seconds of wall time have passed) before the clock
   * goes on. Calls queue up.
   */
  advance(ms: number): Promise<void>
  onAdvance(hooks: AdvanceHooks): void
  /** Timers that wait. */
  readonly waiting: number
  /** What the journal keeps, and what brings the clock back after a restart. */
  readonly state: ClockState
  restore(state: ClockState): void
}

export interface ClockState {
  /** Milliseconds that a running clock is ahead of the wall clock. */
  readonly aheadMs: number
  /** Where a manual clock stands, ms epoch. */
  readonly at: number
}

export interface AdvanceHooks {
  /** Called before the clock moves, with where it is going to stand. */
  readonly begin?: (state: ClockState) => void
  /** Resolves when nothing that a timer began is still under way. */
  readonly settled?: () => Promise<void>
}

/** Starts a clock; disposing of it cancels every timer. */
export function createClock(options: ClockOptions): SimulatorClock {
  return new TimerClock(options)
}

class TimerClock implements SimulatorClock {
  readonly mode: 'running' | 'manual'
  readonly #wall = createWallClock()
  readonly #timers: TimerHeap = createTimerHeap()
  readonly #hooks: AdvanceHooks[] = []
  #aheadMs = 0
  #at: number
  #armed: NodeJS.Timeout | undefined
  #advancing: Promise<void> = Promise.resolve()
  #closed = false

  constructor(options: ClockOptions) {
    this.mode = options.mode
    this.#at = options.startAt ?? this.#wall()
  }

  get waiting(): number {
    return this.#timers.size
  }

  get state(): ClockState {
    return { aheadMs: this.#aheadMs, at: this.#at }
  }

  now(): number {
    return this.mode === 'manual' ? this.#at : this.#wall() + this.#aheadMs
  }

  restore(state: ClockState): void {
    this.#aheadMs = state.aheadMs
    if (this.mode === 'manual') this.#at = state.at
    this.#arm()
  }

  after(delayMs: number, run: () => void): () => void {
    const due = this.now() + Math.max(0, delayMs)
    const cancel = this.#timers.add(due, run)
    if (this.#timers.nextAt() === due) this.#arm()
    return cancel
  }

  onAdvance(hooks: AdvanceHooks): void {
    this.#hooks.push(hooks)
  }

  advance(ms: number): Promise<void> {
    const moved = this.#advancing.then(() => this.#move(ms))
    this.#advancing = moved.catch(() => {})
    return moved
  }

  [Symbol.dispose](): void {
    this.#closed = true
    clearTimeout(this.#armed)
    this.#timers.clear()
  }

  async #move(ms: number): Promise<void> {
    const isManual = this.mode === 'manual'
    const goal = isManual
      ? { ...this.state, at: this.#at + ms }
      : { ...this.state, aheadMs: this.#aheadMs + ms }
    const target = this.now() + ms
    for (const { begin } of this.#hooks) begin?.(goal)
    // What is under way when the clock is asked to move belongs to the time before.
    await this.#settle()
    for (;;) {
      if (this.#closed) return
      const due = this.#timers.nextAt()
      if (due === null || due > target) break
      this.#moveTo(due)
      for (const run of this.#timers.takeUntil(due)) run()
      await this.#settle()
    }
    // A running clock runs on while it is moved: the wall time that this takes is not lost to it.
    if (isManual) this.#moveTo(target)
    else this.#aheadMs = goal.aheadMs
    this.#arm()
  }

  #moveTo(instant: number): void {
    if (this.mode === 'manual') this.#at = Math.max(this.#at, instant)
    else this.#aheadMs += Math.max(0, instant - this.now())
  }

  async #settle(): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const tooLong = new Promise<void>((resolve) => (timer = setTimeout(resolve, SETTLE_MS_MAX)))
    await Promise.race([Promise.all(this.#hooks.map(async ({ settled }) => settled?.())), tooLong])
    clearTimeout(timer)
  }

  /** A running clock needs one timer of Node's for the earliest of its own. */
  #arm(): void {
    if (this.mode === 'manual' || this.#closed) return
    clearTimeout(this.#armed)
    const due = this.#timers.nextAt()
    if (due === null) return
    const delayMs = Math.min(DELAY_MS_MAX, Math.max(0, due - this.now()))
    this.#armed = setTimeout(() => {
      for (const run of this.#timers.takeUntil(this.now())) run()
      this.#arm()
    }, delayMs)
  }
}

/** The wall clock with fractions of a millisecond. */
function createWallClock(): () => number {
  let origin = performance.timeOrigin
  return () => {
    const at = origin + performance.now()
    const wall = Date.now()
    // The monotonic clock and the wall clock part when the wall clock is set or the machine sleeps.
    if (Math.abs(wall - at) < 5) return at
    origin += wall - at
    return wall
  }
}
