// What processes share about calls to vendors: budgets and cool-downs, as they are asked for and
// answered. Kept by store/budgets.ts, spent by vendors/limits.

/** A wish for calls out of one budget. */
export interface CallWish {
  readonly key: string
  /** 0 only asks whether the key cools down. */
  readonly calls: number
  /** Microseconds in which one call is earned. */
  readonly stepMicros: number
  /** Microseconds of earned calls that may be spent at once. */
  readonly roomMicros: number
}

export interface CallGrant {
  readonly key: string
  /** As much as fits of what was wished. */
  readonly granted: number
  /** Microseconds until one call fits or the cool-down is over; 0 when something was granted. */
  readonly waitMicros: number
  /** The vendor asked for silence: nothing was taken from any budget. */
  readonly isCoolingDown: boolean
}

/** Its methods throw Failure `store/*`. */
export interface BudgetStore {
  /**
   * Takes calls out of budgets, in the order given: name the narrower one first, so that locks are
   * taken in one order everywhere. When one of the keys cools down, the answer holds only
   * keys that do.
   */
  take(wishes: readonly CallWish[]): Promise<readonly CallGrant[]>
  /** Remembers that a vendor wants no call for this key for so long, and never shortens that. */
  coolDown(key: string, micros: number): Promise<void>
}
