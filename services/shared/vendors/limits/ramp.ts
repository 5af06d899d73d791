// How fast calls go out again when a vendor has come back, so that what waited for it does not fall
// on it at once. Invariants: until a minute has passed in which no caller waited, calls go out one
// by one at a rate that follows from the usual second before the outage; who has to wait has a turn
// of its own, so no caller comes twice in vain; no turn lies further away than a unit waits. In the
// hands of the breaker, per process and endpoint like it. Time is monotonic and given by the
// caller.

/**
 * Of the usual second before: the usual work, and half as much of what waited.
 * Its busiest seconds had about as many.
 */
const SHARE = 1.5
/**
 * With so little traffic before, the usual is no measure.
 * 24 units at once then wait for at most 5 s.
 */
export const RATE_MIN = 5
/**
 * Every minute that the backlog lasts the rate doubles,
 * so that a quiet installation is not kept waiting for hours.
 */
const DOUBLES_AFTER_MS = 60_000
/**
 * What was sent away during the outage comes back within its backoff;
 * later than this the herd is over.
 */
const QUIET_MS = 60_000
export const TURN_MAX_MS = 5_000
/** A turn that was not used in time is gone: many of them at once would be a herd again. */
const TURN_LIFE_MS = 1_000
const SECONDS_KEPT = 60

export class Ramp {
  /** Answers per second of the last minute, by second. */
  readonly #answers = new Map<number, number>()
  readonly #turns = new Map<string, number>()
  #usual = 0
  #rateMin = RATE_MIN
  #startedAt: number | null = null
  #next = 0
  #waitedAt = 0

  /** A call was answered while the endpoint was open. */
  answered(now: number): void {
    if (this.#startedAt !== null) return
    const second = Math.floor(now / 1_000)
    this.#answers.set(second, (this.#answers.get(second) ?? 0) + 1)
    const [oldest] = this.#answers.keys()
    if (this.#answers.size > SECONDS_KEPT && oldest !== undefined) this.#answers.delete(oldest)
  }

  /** The vendor is away from now on: what was usual until now is kept. */
  closed(now: number): void {
    if (this.#startedAt !== null) return
    const end = Math.floor(now / 1_000)
    const [first = end] = this.#answers.keys()
    const from = Math.max(first, end - SECONDS_KEPT)
    const counts = Array.from({ length: end - from }, (_, second) => this.#answers.get(from + second) ?? 0)
    // The middle one: a burst, like everybody's first sync, is not usual.
    this.#usual = counts.toSorted((a, b) => a - b)[Math.floor(counts.length / 2)] ?? 0
    this.#answers.clear()
  }

  /** The vendor is back. `rateMin`: calls per second that it is sure to bear. */
  begin(now: number, rateMin: number = RATE_MIN): void {
    this.#rateMin = rateMin
    this.#startedAt = this.#waitedAt = now
    this.#next = now
    this.#turns.clear()
  }

  /** How long this caller has to wait, in ms; 0 = it may go now, and is expected to. */
  waitMs(caller: string, now: number): number {
    if (this.#startedAt === null) return 0
    if (now - this.#waitedAt > QUIET_MS) {
      this.#startedAt = null
      this.#turns.clear()
      return 0
    }
    const own = this.#turns.get(caller)
    if (own !== undefined && own > now) return own - now
    this.#turns.delete(caller)
    if (own !== undefined && now - own <= TURN_LIFE_MS) return 0
    const turn = Math.max(now, this.#next)
    if (turn > now) this.#waitedAt = now
    if (turn - now > TURN_MAX_MS) return turn - now
    this.#next = turn + 1_000 / this.#rate(now, this.#startedAt)
    if (turn > now) this.#turns.set(caller, turn)
    return turn - now
  }

  /** Calls per second. */
  #rate(now: number, startedAt: number): number {
    const first = Math.max(this.#rateMin, this.#usual * SHARE)
    return first * 2 ** Math.min(10, Math.floor((now - startedAt) / DOUBLES_AFTER_MS))
  }
}
