// Alerts about symptoms, each with its runbook docs/runbooks/<name>.md. One fires when a person
// has something to do, or to know, and stays silent otherwise: the tests of promtool hold both. How
// fast the budgets of the promises burn stands in slo.yml.
import {
  connections,
  DEPENDENCIES_AWAY,
  GATES_CLOSED,
  GATES_UNKNOWN,
  grew,
  missing,
  SERVICES,
} from './expressions.ts'
import { breakersOpen, heldBack, isIll } from './illness.ts'
import type { Pace } from './pace.ts'

/** critical: wake a person. warning: within the day. info: explains the silence of another. */
export type Severity = 'critical' | 'warning' | 'info'

export interface Symptom {
  readonly name: string
  readonly severity: Severity
  /** Seconds that the condition holds before it fires. */
  readonly holdsS: number
  /** Seconds that must have passed before the condition can be true at all. */
  readonly looksBackS?: number
  readonly expr: (pace: Pace) => string
  readonly summary: string
  readonly description: string
}

const [MINUTE, HOUR] = [60, 3_600]
/** A reconcile looks at each connection every 12 min at the latest. */
const NO_UNIT_S = 20 * MINUTE
const AGE_MAX_S = 2 * MINUTE
/** The backlog is counted to this. */
const ROWS_MAX = 100_000
/** A connection in sync is looked at each 12 min at the latest. */
const STALE_S = 30 * MINUTE
/** Notifications may come late, and a lost one or two are no silence. */
const SILENCE_S = 15 * MINUTE

const failing = `(${connections('backing_off')} > 2) / ${connections('active')} > 0.05`

const stale = (pace: Pace): string =>
  `max by (vendor) (calendar_sync_oldest_synced_seconds) > ${pace.age(STALE_S)}`

const PARTS: readonly Symptom[] = [
  {
    name: 'CalstreamServiceMissing',
    severity: 'critical',
    holdsS: MINUTE,
    expr: () =>
      SERVICES.map((service) => `label_replace(${missing(service)}, "service", "${service}", "", "")`).join(
        '\nor ',
      ),
    summary: 'No process of {{ $labels.service }} can be scraped',
    description:
      'The work of {{ $labels.service }} stands still. Nothing is lost; it is caught up after a restart.',
  },
  {
    name: 'CalstreamInstanceDown',
    severity: 'warning',
    holdsS: 5 * MINUTE,
    expr: () => 'up{job="calstream"} == 0 and on (service) max by (service) (up{job="calstream"}) == 1',
    summary: 'One process of {{ $labels.service }} cannot be scraped: {{ $labels.instance }}',
    description: 'Other processes of the service do its work.',
  },
  {
    name: 'CalstreamDependencyAway',
    severity: 'critical',
    holdsS: MINUTE,
    expr: () => DEPENDENCIES_AWAY,
    summary: 'Every service that asks {{ $labels.dependency }} finds it away or unfit',
    description: 'What needs it waits. /readyz of each process and calstream doctor say why.',
  },
  {
    name: 'CalstreamGatesUnknown',
    severity: 'critical',
    holdsS: MINUTE,
    expr: () => GATES_UNKNOWN,
    summary: 'The flag server has not answered for 30 s, so all gates are closed',
    description: 'No unit starts, and notifications are answered 503 with Retry-After.',
  },
  {
    name: 'CalstreamGateClosed',
    severity: 'warning',
    holdsS: 5 * MINUTE,
    expr: () => GATES_CLOSED,
    summary: '{{ $labels.gate }} is off, or lets no one in',
    description: 'An operator closed it. What it refuses is kept and is rung when it opens.',
  },
  {
    name: 'CalstreamDiskFull',
    severity: 'critical',
    holdsS: 0,
    expr: (pace) =>
      grew('calendar_sync_postgres_failures_total{code="store/disk-full"}', 'code', {
        range: pace.duration(5 * MINUTE),
        more: 0,
      }),
    summary: 'The disk of Postgres is full',
    description: 'Units and publishing wait until there is space.',
  },
]

const WORK: readonly Symptom[] = [
  {
    name: 'CalstreamSyncStopped',
    severity: 'critical',
    holdsS: 5 * MINUTE,
    looksBackS: NO_UNIT_S,
    expr: (pace) =>
      [
        `${connections('active')} > 0`,
        // A Prometheus that has just begun knows nothing of 20 min.
        `and on (vendor) max by (vendor) (calendar_sync_connections{state="active"} offset ${pace.duration(NO_UNIT_S)}) > 0`,
        `unless on (vendor) sum by (vendor) (increase(calendar_sync_runs_total{outcome="done"}[${pace.duration(NO_UNIT_S)}])) > 0`,
        `unless on () ${GATES_UNKNOWN}`,
        `unless on () max(calendar_sync_gate_state{gate="CALENDAR_SYNC_ENABLED"}) == 0`,
      ].join('\n'),
    summary: 'Not one unit of {{ $labels.vendor }} has ended well for 20 min',
    description: 'The gates are open and {{ $value }} connections are active, yet none is read.',
  },
  {
    name: 'CalstreamRequestsWait',
    severity: 'critical',
    holdsS: MINUTE,
    expr: (pace) => `max by (vendor) (calendar_sync_ring_oldest_seconds) > ${pace.age(AGE_MAX_S)}`,
    summary: 'Sync requests of {{ $labels.vendor }} wait and are not done',
    description: 'The oldest waits for {{ $value | humanizeDuration }}. Its calendar is that late.',
  },
  {
    name: 'CalstreamOutboxWaits',
    severity: 'critical',
    holdsS: MINUTE,
    expr: (pace) => `max(calendar_sync_outbox_oldest_seconds) > ${pace.age(AGE_MAX_S)}`,
    summary: 'Stored changes do not reach Kafka',
    description:
      'The oldest waits for {{ $value | humanizeDuration }}. A relay that dies is replaced within 6 s.',
  },
  {
    name: 'CalstreamOutboxLarge',
    severity: 'warning',
    holdsS: 15 * MINUTE,
    expr: () => `max(calendar_sync_outbox_backlog) >= ${ROWS_MAX}`,
    summary: 'At least {{ $value }} changes wait in the outbox and take space of Postgres',
    description: 'A row takes about 1 kB. The relay works them off in order once it can.',
  },
  {
    name: 'CalstreamDeadLetters',
    severity: 'warning',
    holdsS: 0,
    expr: (pace) =>
      grew('calendar_sync_dead_letters_total', 'topic', { range: pace.duration(15 * MINUTE), more: 0 }),
    summary: 'Records of {{ $labels.topic }} were given up',
    description: 'They are kept as dead letters with their bytes. Records behind them continue.',
  },
  {
    name: 'CalstreamJobFails',
    severity: 'warning',
    holdsS: 5 * MINUTE,
    expr: (pace) => {
      const runs = (outcome: string) =>
        `sum by (exported_job) (increase(calendar_sync_scheduler_runs_total{outcome="${outcome}"}[${pace.duration(10 * MINUTE)}]))`
      return [
        `${runs('failed')} > 3`,
        `unless on (exported_job) ${runs('done')} > 0`,
        `unless on () ${DEPENDENCIES_AWAY}`,
      ].join('\n')
    },
    summary: 'The job {{ $labels.exported_job }} of the scheduler fails each time',
    description: 'Its work waits. The log of the scheduler has the reason.',
  },
]

const VENDORS: readonly Symptom[] = [
  {
    name: 'CalstreamCanaryDead',
    severity: 'critical',
    holdsS: MINUTE,
    expr: () => 'max by (vendor, leg) (calendar_sync_canary_dead) == 1',
    summary: 'The change of the canary of {{ $labels.vendor }} does not come back: {{ $labels.leg }}',
    description:
      'Other calendars of {{ $labels.vendor }} meet the same, also while all else looks well. calstream canary list says since when.',
  },
  {
    name: 'CalstreamVendorAway',
    severity: 'warning',
    holdsS: 2 * MINUTE,
    expr: (pace) => breakersOpen('vendor, door', pace, '{door!~".*-refusals"}'),
    summary: '{{ $labels.vendor }} ({{ $labels.door }}) does not answer and is left alone',
    description: 'Its connections back off and are read again after it answers.',
  },
  {
    name: 'CalstreamVendorRefusesAll',
    severity: 'critical',
    holdsS: 2 * MINUTE,
    expr: (pace) => breakersOpen('vendor, door', pace, '{door=~".*-refusals"}'),
    summary: '{{ $labels.vendor }} refuses many accounts in a row',
    description: 'No account is parked for it. It is the vendor, or our app there.',
  },
  {
    name: 'CalstreamUnitsFail',
    severity: 'warning',
    holdsS: 10 * MINUTE,
    expr: (pace) => {
      const runs = (outcome: string) =>
        `sum by (vendor) (increase(calendar_sync_runs_total${outcome}[${pace.duration(5 * MINUTE)}]))`
      return `(${runs('{outcome="failed"}')} > 5) / ${runs('')} > 0.5\n${isIll(pace)}`
    },
    summary: '{{ $value | humanizePercentage }} of the units of {{ $labels.vendor }} fail',
    description: 'No part is away. calendar_sync_failures_total says with which code.',
  },
  {
    name: 'CalstreamConnectionsFail',
    severity: 'warning',
    holdsS: 10 * MINUTE,
    expr: (pace) => `${failing}\n${isIll(pace)}`,
    summary: '{{ $value | humanizePercentage }} of the connections of {{ $labels.vendor }} back off',
    description: 'These accounts are not up to date, while the fleet is well.',
  },
  {
    name: 'CalstreamConnectionStale',
    severity: 'warning',
    holdsS: 5 * MINUTE,
    expr: (pace) => `${stale(pace)}\n${isIll(pace)}`,
    summary: 'An account of {{ $labels.vendor }} has not been in sync for {{ $value | humanizeDuration }}',
    description: 'It is one of those that calstream connections list shows first. The fleet is well.',
  },
  {
    name: 'CalstreamConnectionAlertsHeldBack',
    severity: 'info',
    holdsS: MINUTE,
    expr: (pace) => heldBack(`${failing} or ${stale(pace)}`, pace),
    summary: 'Alerts about single connections of {{ $labels.vendor }} are held back',
    description: 'Connections are not up to date because the fleet or the vendor is ill; that alert fires.',
  },
  {
    name: 'CalstreamPushSilent',
    severity: 'critical',
    holdsS: 0,
    looksBackS: SILENCE_S,
    expr: (pace) => {
      const range = pace.duration(SILENCE_S)
      const found = (by: string) => `calendar_sync_found_by_total{by="${by}"}`
      return [
        `(${grew(found('reconcile'), 'vendor', { range, more: 5 })})`,
        `unless on (vendor) (${grew(found('notification'), 'vendor', { range, more: 0 })})`,
      ].join('\n')
    },
    summary: 'Changes of {{ $labels.vendor }} are found, and no notification tells of any',
    description: 'For 15 min the reconcile alone has found changes, each up to 12 min late.',
  },
  {
    name: 'CalstreamReauthWave',
    severity: 'critical',
    holdsS: 5 * MINUTE,
    expr: (pace) => {
      const parked = 'calendar_sync_connections{state="needs_reauth"}'
      return `max by (vendor) (${parked}) - min by (vendor) (min_over_time(${parked}[${pace.duration(HOUR)}])) > 5`
    },
    summary: '{{ $value }} accounts of {{ $labels.vendor }} lost their grant within an hour',
    description: 'Each waits until its owner connects again. So many at once have one cause.',
  },
  {
    name: 'CalstreamGrantsEnding',
    severity: 'warning',
    holdsS: HOUR,
    expr: () => 'max by (vendor) (calendar_sync_grants_ending) > 0',
    summary: '{{ $value }} grants of {{ $labels.vendor }} end within a week whatever is done',
    description: 'The app at Google is in testing, where a grant lives for seven days.',
  },
  {
    name: 'CalstreamChannelsEnding',
    severity: 'warning',
    holdsS: HOUR,
    expr: () => 'max by (vendor) (calendar_sync_channels{state="ending"}) > 0',
    summary: '{{ $value }} channels of {{ $labels.vendor }} end without a successor',
    description: 'Their calendars will be polled every two minutes.',
  },
]

/** All of them. */
export const SYMPTOMS: readonly Symptom[] = [...PARTS, ...WORK, ...VENDORS]
