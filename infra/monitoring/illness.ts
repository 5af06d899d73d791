// When the whole fleet or a whole vendor is ill. An alert about single connections is held back
// then, because they are ill of the same cause, and the alert of that cause fires.
import { DEPENDENCIES_AWAY, GATES_CLOSED, GATES_UNKNOWN, missing, SERVICES } from './expressions.ts'
import type { Pace } from './pace.ts'
import type { RecordingRule } from './rule-file.ts'

const [MINUTE, LINGERS] = [60, 600]
export const FLEET_ILL = 'calstream:fleet_ill'
export const VENDOR_ILL = 'calstream:vendor_ill'

/** A breaker closes for a moment at each probe; this looks past that. */
export function breakersOpen(by: string, pace: Pace, which = ''): string {
  return `max by (${by}) (max_over_time(calendar_sync_vendor_breaker${which}[${pace.duration(2 * MINUTE)}])) == 1`
}

/** Series of the value 1 that say by `reason` why all connections are ill. */
export function illnessRules(pace: Pace): readonly RecordingRule[] {
  const fleet = (reason: string, expr: string): RecordingRule => ({
    record: FLEET_ILL,
    expr,
    labels: { reason },
  })
  return [
    fleet('a service is missing', `max(${SERVICES.map(missing).join(' or ')})`),
    fleet('a dependency is away', `max(${DEPENDENCIES_AWAY})`),
    fleet('the gates are unknown', GATES_UNKNOWN),
    fleet('a gate is closed', `max(${GATES_CLOSED})`),
    { record: VENDOR_ILL, expr: breakersOpen('vendor', pace), labels: { reason: 'the vendor is away' } },
  ]
}

/**
 * What holds alerts about connections back. It holds for ten minutes more: connections that backed
 * off meanwhile come back one after the other.
 */
export function isIll(pace: Pace): string {
  const range = pace.duration(LINGERS)
  return [
    `unless on () max(max_over_time(${FLEET_ILL}[${range}])) == 1`,
    `unless on (vendor) max by (vendor) (max_over_time(${VENDOR_ILL}[${range}])) == 1`,
  ].join('\n')
}

/** The opposite of `isIll`: only what is held back. */
export function heldBack(condition: string, pace: Pace): string {
  const range = pace.duration(LINGERS)
  return [
    `(${condition}) and on () max(max_over_time(${FLEET_ILL}[${range}])) == 1`,
    `or (${condition}) and on (vendor) max by (vendor) (max_over_time(${VENDOR_ILL}[${range}])) == 1`,
  ].join('\n')
}
