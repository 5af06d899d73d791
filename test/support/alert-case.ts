// One case of an alert: the series that Prometheus sees, and what fires then.
export interface AlertCase {
  readonly what: string
  readonly series: Readonly<Record<string, string>>
  /** Minutes after the first sample. */
  readonly at: number
  /** All alerts that fire then. */
  readonly fires: readonly string[]
}
