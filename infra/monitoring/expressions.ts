// Pieces that several expressions are made of. Each reads alike under Prometheus 2.42 and 3.x.

/** What `service` of a target may be: one of these, or `all` for a process that runs them all. */
export const SERVICES = ['ingress', 'sync', 'relay', 'retry', 'scheduler'] as const
export type ServiceName = (typeof SERVICES)[number]

/** True when no process of a service could be scraped the last time. */
export function missing(service: ServiceName): string {
  return `absent(up{job="calstream", service=~"${service}|all"} == 1)`
}

/**
 * Counters that grew by more than `more` within a range. A counter that began within it counts from
 * 0: `increase` alone never sees the first event of a label.
 */
export function grew(counter: string, by: string, { range, more }: { range: string; more: number }): string {
  return [
    `sum by (${by}) (increase(${counter}[${range}])) > ${more}`,
    `or sum by (${by}) (${counter} unless ${counter} offset ${range}) > ${more}`,
  ].join('\n')
}

/** A state of connections; one scheduler at a time counts them. */
export function connections(state: string): string {
  return `max by (vendor) (calendar_sync_connections{state="${state}"})`
}

/** Dependencies that every process which asks for them finds away. Their value is 1. */
export const DEPENDENCIES_AWAY =
  '(max by (dependency) (calendar_sync_dependency_ready{dependency=~"kafka|postgres|registry|tables"}) == bool 0) == 1'

/** 1 while a process does not know its gates. */
export const GATES_UNKNOWN = '(min(calendar_sync_gate_state) == bool -1) == 1'

/** Gates that a process sees closed. Their value is 1. */
export const GATES_CLOSED = '(max by (gate) (calendar_sync_gate_state == bool 0)) == 1'
