// The knobs: how the simulated vendor behaves when nothing is injected. Every knob has a default that a healthy vendor would show;
// the admin API turns them while the simulator runs.

/** `sometimes` decides per page from the seed; true forces it, false forbids it. */
export type PageKnob = boolean | 'sometimes'

export interface Knobs {
  /** Added to every vendor API call, half before the work and half after. */
  latencyMs: number
  accessTokenSeconds: number
  readonly paging: { shortPages: PageKnob; emptyPages: PageKnob; pageSizeMax: number }
  readonly notifications: NotificationKnobs
}

export interface NotificationKnobs {
  /** Probability that a notification is never sent. */
  drop: number
  /** Extra deliveries of the same message, with the same number. */
  duplicate: number
  delayMs: number
  /** Deliveries overtake each other (each waits a random part of 500 ms more). */
  reorder: boolean
  paused: boolean
  /** Messages per change, each with its own number: bursts are normal at Google. */
  perChange: number
  /** Whether the `sync` message goes out before the answer to watch, after it, or now so and now so. */
  syncMessage: 'before' | 'after' | 'mixed'
  retryBaseMs: number
  retryAttemptsMax: number
  /** Google documents retries for 500, 502, 503 and 504 only; a refused connection is not among them. */
  retryOnConnectionError: boolean
}

export function defaultKnobs(latencyMs: number): Knobs {
  return {
    latencyMs,
    accessTokenSeconds: 3599,
    paging: { shortPages: 'sometimes', emptyPages: 'sometimes', pageSizeMax: 2500 },
    notifications: {
      drop: 0,
      duplicate: 0,
      delayMs: 0,
      reorder: false,
      paused: false,
      perChange: 1,
      syncMessage: 'mixed',
      retryBaseMs: 500,
      retryAttemptsMax: 8,
      retryOnConnectionError: false,
    },
  }
}
