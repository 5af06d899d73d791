// The shape of a checker: ledgers in, verdict out, pure. A checker that found nothing to check says
// so (invalid): an invariant over nothing is always true.
import type { Ledgers } from '../ledgers/ledgers.ts'

export type InvariantId = `I${number}`

export interface CheckResult {
  readonly id: InvariantId
  readonly title: string
  readonly verdict: 'pass' | 'fail' | 'invalid'
  /** How many things were looked at. */
  readonly checked: number
  readonly failed: number
  /** The first ones, each with its story. */
  readonly failures: readonly string[]
}

export interface Checker {
  readonly id: InvariantId
  readonly title: string
  readonly check: (ledgers: Ledgers) => Findings
}

export interface Findings {
  readonly checked: number
  readonly failures: readonly string[]
}

const SHOWN = 20

export function runChecker({ id, title, check }: Checker, ledgers: Ledgers): CheckResult {
  const { checked, failures } = check(ledgers)
  const verdict = failures.length > 0 ? 'fail' : checked === 0 ? 'invalid' : 'pass'
  return { id, title, verdict, checked, failed: failures.length, failures: failures.slice(0, SHOWN) }
}
