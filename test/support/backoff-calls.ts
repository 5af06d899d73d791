// The judge of "nobody is called inside a backoff" where clocks are moved by hand. Pure.

/** A span of time, in ms epoch of the simulated clock. */
export interface Span {
  readonly from: number
  readonly to: number
}

export interface BackoffSpan extends Span {
  readonly connectionId: string
}

export interface VendorCall {
  readonly connectionId: string
  /** ms epoch by the vendor's clock. */
  readonly at: number
}

/**
 * The calls that were made while their connection was backing off. `jumps`: the spans, by the
 * vendor's clock, in which the vendor's clock had moved and the database's had not; a call in one
 * of them has a time that says nothing about the backoff.
 */
export function callsInsideBackoffs<Call extends VendorCall>(
  calls: readonly Call[],
  backoffs: readonly BackoffSpan[],
  jumps: readonly Span[],
): readonly { readonly call: Call; readonly backoff: BackoffSpan }[] {
  return calls
    .filter(({ at }) => !jumps.some(({ from, to }) => at >= from && at <= to))
    .flatMap((call) =>
      backoffs
        .filter(
          ({ connectionId, from, to }) =>
            connectionId === call.connectionId && call.at > from && call.at < to,
        )
        .map((backoff) => ({ call, backoff })),
    )
}
