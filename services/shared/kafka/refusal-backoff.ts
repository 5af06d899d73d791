// How often we ask a broker or a token endpoint that refuses our certificate, login or client, or
// whose certificate we refuse: no wait makes them take it, only a person or a rotated file does.
// Every client of a process has retries of its own, some within milliseconds. Invariant: after a
// refusal no client asks before the time has come, and then one at a time, until we are taken.
// Other credentials than the refused ones are tried at once.

const FIRST_MS = 1_000
const MAX_MS = 30_000
/** Up to this part more, so that many processes do not come at the same moment. */
const JITTER = 0.25
/** As long as a connection may take to say whether it is refused. */
const TRIAL_MS = 2_000

/** What is compared: certificates, password, secret as they are now. */
export type Credentials = readonly unknown[]

interface Refusal {
  readonly of: Credentials
  readonly error: Error
  readonly delayMs: number
  askAgainAt: number
  /** One client asks again now, for all. */
  isTrial: boolean
}

/** Of all clients with the same settings. A place is a `host:port`, or an address. */
export class RefusalBackoff {
  readonly #refusals = new Map<string, Refusal>()
  readonly #now: () => number

  /** `now`: in ms, only differences matter. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** The refusal to tell instead of asking; null: its time has come, or nothing was refused. */
  held(place: string, of: Credentials): Error | null {
    const refusal = this.#refusalOf(place, of)
    return refusal !== null && this.#now() < refusal.askAgainAt ? refusal.error : null
  }

  /** As `held`; a caller that gets null after a refusal asks for all others. */
  enter(place: string, of: Credentials): Error | null {
    const refusal = this.#refusalOf(place, of)
    const held = this.held(place, of)
    if (refusal === null || held !== null) return held
    refusal.isTrial = true
    refusal.askAgainAt = this.#now() + TRIAL_MS
    return null
  }

  /**
   * Doubles the wait of the last refusal, up to 30 s. Of many who were refused at the same moment
   * the first counts.
   */
  refused(place: string, of: Credentials, error: Error): void {
    const last = this.#refusalOf(place, of)
    const now = this.#now()
    if (last !== null && !last.isTrial && now < last.askAgainAt) return
    const delayMs = Math.min(MAX_MS, Math.max(FIRST_MS, (last?.delayMs ?? 0) * 2))
    const wait = Math.min(MAX_MS, delayMs * (1 + Math.random() * JITTER))
    this.#refusals.set(place, { of, error, delayMs, askAgainAt: now + wait, isTrial: false })
  }

  /** We were taken there. */
  taken(place: string): void {
    this.#refusals.delete(place)
  }

  #refusalOf(place: string, of: Credentials): Refusal | null {
    const refusal = this.#refusals.get(place)
    return refusal?.of.every((one, index) => one === of[index]) === true ? refusal : null
  }
}
