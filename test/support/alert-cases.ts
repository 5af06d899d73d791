// For each alert of infra/monitoring: series under which it fires, and the nearest ones under which
// it stays silent. Every case says all alerts that fire, so that one cause never wakes a person for
// another. Series are in promtool's notation, a sample a minute: `1x5 0x60` is 1 six times, then 0.

import type { AlertCase } from './alert-case.ts'

const LONG = 600
const steady = (value: number): string => `${value}x${LONG}`
const rising = (perMinute: number): string => `0+${perMinute}x${LONG}`

const up = (service: string, instance = 'a'): string =>
  `up{job="calstream", service="${service}", instance="${instance}"}`
const connections = (state: string): string => `calendar_sync_connections{vendor="google", state="${state}"}`
const runs = (outcome: string): string => `calendar_sync_runs_total{vendor="google", outcome="${outcome}"}`
const jobs = (outcome: string): string =>
  `calendar_sync_scheduler_runs_total{exported_job="sweep", outcome="${outcome}"}`
const gate = (name: string): string => `calendar_sync_gate_state{gate="${name}", instance="a"}`
const breaker = (door: string): string => `calendar_sync_vendor_breaker{vendor="google", door="${door}"}`
const ready = (dependency: string, instance = 'a'): string =>
  `calendar_sync_dependency_ready{dependency="${dependency}", instance="${instance}"}`
const oldest = 'calendar_sync_oldest_synced_seconds{vendor="google"}'
const waiting = 'calendar_sync_ring_oldest_seconds{vendor="google"}'
const foundBy = (by: string): string => `calendar_sync_found_by_total{vendor="google", by="${by}"}`
const canary = (leg: string): string => `calendar_sync_canary_dead{vendor="google", leg="${leg}"}`
const SYNC_GATE = gate('CALENDAR_SYNC_ENABLED')

/** A fleet that is well: under each case, unless the case says otherwise. */
export const WELL: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    ['ingress', 'sync', 'relay', 'retry', 'scheduler'].map((service) => [up(service), steady(1)]),
  ),
  [connections('active')]: steady(50),
  [connections('backing_off')]: steady(1),
  [connections('needs_reauth')]: steady(3),
  [runs('done')]: rising(20),
  [runs('failed')]: rising(1),
  [jobs('done')]: rising(2),
  [jobs('failed')]: steady(7),
  [SYNC_GATE]: steady(1),
  [breaker('api')]: steady(0),
  [breaker('api-refusals')]: steady(0),
  [ready('kafka')]: steady(1),
  [ready('postgres')]: steady(1),
  [oldest]: steady(700),
  [waiting]: steady(2),
  [foundBy('notification')]: rising(4),
  [foundBy('reconcile')]: steady(30),
  calendar_sync_outbox_oldest_seconds: steady(1),
  calendar_sync_outbox_backlog: steady(12),
}

interface Cases {
  readonly fires: Omit<AlertCase, 'fires'> & { readonly others?: readonly string[] }
  readonly silent: readonly (Omit<AlertCase, 'fires'> & { readonly others?: readonly string[] })[]
}

const away = (what: string, series: Readonly<Record<string, string>>, at: number, ...others: string[]) => ({
  what,
  series,
  at,
  others,
})

const HELD_BACK = 'CalstreamConnectionAlertsHeldBack'
const manyBackOff = { [connections('backing_off')]: steady(20) }
const budget = (bad: number, le = '30', metric = 'freshness') => ({
  [`calendar_sync_${metric}_seconds_count`]: rising(100),
  [`calendar_sync_${metric}_seconds_bucket{le="${le}"}`]: rising(100 - bad),
})
const webhooks = (outcome: string): string =>
  `calendar_sync_webhooks_total{vendor="google", outcome="${outcome}"}`

const CASES: Readonly<Record<string, Cases>> = {
  CalstreamServiceMissing: {
    fires: away('the only relay is gone', { [up('relay')]: `1x10 0x${LONG}` }, 13),
    silent: [
      away('it is gone for less than a minute', { [up('relay')]: `1x10 0x${LONG}` }, 11),
      away('one process runs all services', { ...none('up'), [up('all')]: steady(1) }, 13),
    ],
  },
  CalstreamInstanceDown: {
    fires: away('one of two syncs is gone', { [up('sync', 'b')]: steady(0) }, 6),
    silent: [
      away('it was gone for a moment', { [up('sync', 'b')]: `0x3 1x${LONG}` }, 6),
      away(
        'both are gone, which another alert tells',
        { [up('sync')]: steady(0), [up('sync', 'b')]: steady(0) },
        6,
        'CalstreamServiceMissing',
      ),
    ],
  },
  CalstreamDependencyAway: {
    fires: away(
      'Kafka is away for all',
      { [ready('kafka')]: steady(0), [ready('kafka', 'b')]: steady(0) },
      3,
    ),
    silent: [
      away(
        'one process alone does not reach it',
        { [ready('kafka')]: steady(0), [ready('kafka', 'b')]: steady(1) },
        9,
      ),
      away('a check of the work itself is red', { [ready('work')]: steady(0) }, 9),
    ],
  },
  CalstreamGatesUnknown: {
    fires: away('Unleash is silent', { [SYNC_GATE]: steady(-1) }, 3),
    silent: [away('for a moment', { [SYNC_GATE]: `1x5 -1x0 1x${LONG}` }, 8)],
  },
  CalstreamGateClosed: {
    fires: away('an operator closed a gate', { [gate('CALENDAR_JOBS_ENABLED')]: steady(0) }, 6),
    silent: [
      away('for two minutes', { [gate('CALENDAR_JOBS_ENABLED')]: `0x2 1x${LONG}` }, 8),
      away(
        'it is unknown and not closed',
        { [gate('CALENDAR_JOBS_ENABLED')]: steady(-1) },
        8,
        'CalstreamGatesUnknown',
      ),
    ],
  },
  CalstreamDiskFull: {
    fires: away(
      'the first write is refused',
      { 'calendar_sync_postgres_failures_total{code="store/disk-full"}': `_x10 3x${LONG}` },
      12,
    ),
    silent: [
      away(
        'an hour later',
        { 'calendar_sync_postgres_failures_total{code="store/disk-full"}': `_x10 3x${LONG}` },
        70,
      ),
      away(
        'Postgres refuses for another reason',
        { 'calendar_sync_postgres_failures_total{code="store/contention"}': rising(5) },
        12,
      ),
    ],
  },
  CalstreamSyncStopped: {
    fires: away('no unit ends any more', { [runs('done')]: `0+20x10 200x${LONG}` }, 40),
    silent: [
      away('a quiet hour: one unit in 12 min', { [runs('done')]: `0x11 1x11 2x11 3x11 4x${LONG}` }, 45),
      away(
        'the gate is closed',
        { [runs('done')]: steady(200), [SYNC_GATE]: steady(0) },
        40,
        'CalstreamGateClosed',
      ),
      away('Prometheus has just begun to look', { [runs('done')]: steady(200) }, 15),
      away(
        'there are no active connections',
        { [runs('done')]: steady(200), [connections('active')]: steady(0) },
        40,
      ),
    ],
  },
  CalstreamOutboxWaits: {
    fires: away('the oldest waits ever longer', { calendar_sync_outbox_oldest_seconds: `0+60x${LONG}` }, 5),
    silent: [away('it waits for less', { calendar_sync_outbox_oldest_seconds: steady(100) }, 30)],
  },
  CalstreamOutboxLarge: {
    fires: away('more than is counted', { calendar_sync_outbox_backlog: steady(100_000) }, 16),
    silent: [away('for ten minutes', { calendar_sync_outbox_backlog: `100000x10 9x${LONG}` }, 20)],
  },
  CalstreamDeadLetters: {
    fires: away(
      'the first of a topic',
      { 'calendar_sync_dead_letters_total{topic="x", code="y"}': `_x30 1x${LONG}` },
      31,
    ),
    silent: [
      away(
        'an hour after it',
        { 'calendar_sync_dead_letters_total{topic="x", code="y"}': `_x30 1x${LONG}` },
        90,
      ),
    ],
  },
  CalstreamJobFails: {
    fires: away('each run of a job fails', { [jobs('done')]: steady(100), [jobs('failed')]: rising(2) }, 20),
    silent: [
      away('some runs fail', { [jobs('failed')]: rising(2) }, 20),
      away(
        'because Postgres is away',
        { [jobs('done')]: steady(100), [jobs('failed')]: rising(2), [ready('postgres')]: steady(0) },
        20,
        'CalstreamDependencyAway',
      ),
    ],
  },
  CalstreamVendorAway: {
    fires: away(
      'its breaker opens, and closes at each probe',
      { [breaker('api')]: `${'1x0 0x0 '.repeat(20)}1x${LONG}` },
      10,
    ),
    silent: [away('it opened once', { [breaker('api')]: `0x5 1x0 0x${LONG}` }, 9)],
  },
  CalstreamVendorRefusesAll: {
    fires: away('it refuses account after account', { [breaker('api-refusals')]: steady(1) }, 4),
    silent: [away('it does not answer at all', { [breaker('api')]: steady(1) }, 4, 'CalstreamVendorAway')],
  },
  CalstreamUnitsFail: {
    fires: away('most units fail', { [runs('failed')]: rising(60) }, 20),
    silent: [
      away('few fail', { [runs('failed')]: rising(2) }, 20),
      away(
        'the vendor is away',
        { [runs('failed')]: rising(60), [breaker('api')]: steady(1) },
        20,
        'CalstreamVendorAway',
      ),
      away(
        'one of one fails: too few to tell',
        { [runs('failed')]: `0x4 1x4 2x4 3x${LONG}`, [runs('done')]: steady(0) },
        12,
      ),
      away('no unit runs', { [runs('failed')]: steady(0), [runs('done')]: `0+20x5 100x${LONG}` }, 20),
    ],
  },
  CalstreamRequestsWait: {
    fires: away('no sync takes them', { [waiting]: `2x5 2+60x${LONG}` }, 12),
    silent: [away('they wait for a minute', { [waiting]: steady(60) }, 30)],
  },
  CalstreamConnectionStale: {
    fires: away('one account is left behind', { [oldest]: `600+60x${LONG}` }, 30),
    silent: [
      away('a reconcile is late', { [oldest]: steady(1_500) }, 30),
      away(
        'the vendor is away',
        { [oldest]: `600+60x${LONG}`, [breaker('api')]: steady(1) },
        30,
        'CalstreamVendorAway',
        HELD_BACK,
      ),
      away(
        'the flag server is away',
        { [oldest]: `600+60x${LONG}`, [SYNC_GATE]: steady(-1) },
        30,
        'CalstreamGatesUnknown',
        HELD_BACK,
      ),
    ],
  },
  CalstreamConnectionsFail: {
    fires: away('20 of 50 back off', manyBackOff, 12),
    silent: [
      away('two of 20', { [connections('backing_off')]: steady(2), [connections('active')]: steady(20) }, 12),
      away(
        'the vendor is away',
        { ...manyBackOff, [breaker('api')]: steady(1) },
        12,
        'CalstreamVendorAway',
        HELD_BACK,
      ),
      away(
        'a dependency is away',
        { ...manyBackOff, [ready('postgres')]: steady(0) },
        12,
        'CalstreamDependencyAway',
        HELD_BACK,
      ),
      away(
        'a service is gone',
        { ...manyBackOff, [up('relay')]: steady(0) },
        12,
        'CalstreamServiceMissing',
        HELD_BACK,
      ),
      away(
        'a gate is closed',
        { ...manyBackOff, [gate('CALENDAR_JOBS_ENABLED')]: steady(0) },
        12,
        'CalstreamGateClosed',
        HELD_BACK,
      ),
      away(
        'the vendor came back five minutes ago',
        { ...manyBackOff, [breaker('api')]: `1x20 0x${LONG}` },
        25,
        HELD_BACK,
      ),
    ],
  },
  CalstreamConnectionAlertsHeldBack: {
    fires: away(
      'another vendor is well',
      { ...manyBackOff, [breaker('auth')]: steady(1) },
      12,
      'CalstreamVendorAway',
    ),
    silent: [
      away(
        'the other vendor is ill',
        { ...manyBackOff, 'calendar_sync_vendor_breaker{vendor="microsoft", door="api"}': steady(1) },
        12,
        'CalstreamVendorAway',
        'CalstreamConnectionsFail',
      ),
      away(
        'the vendor has been back for long',
        { ...manyBackOff, [breaker('api')]: `1x20 0x${LONG}` },
        50,
        'CalstreamConnectionsFail',
      ),
    ],
  },
  CalstreamCanaryDead: {
    fires: away('the vendor does not ring', { [canary('push')]: `0x10 1x${LONG}` }, 13),
    silent: [
      away('for a moment', { [canary('push')]: `0x10 1x0 0x${LONG}` }, 13),
      away('every leg lives', { [canary('push')]: steady(0), [canary('relay')]: steady(0) }, 60),
    ],
  },
  CalstreamPushSilent: {
    fires: away(
      'the reconcile finds all changes',
      { [foundBy('notification')]: `0+4x10 40x${LONG}`, [foundBy('reconcile')]: `30x10 _x9 40+2x${LONG}` },
      40,
    ),
    silent: [
      away('the reconcile finds some of them', { [foundBy('reconcile')]: rising(3) }, 40),
      away(
        'one notification was lost in a quiet hour',
        { [foundBy('notification')]: steady(40), [foundBy('reconcile')]: `30x30 31x${LONG}` },
        40,
      ),
      away('no one changes anything', { [foundBy('notification')]: steady(40) }, 40),
    ],
  },
  CalstreamReauthWave: {
    fires: away('ten within an hour', { [connections('needs_reauth')]: `3x5 13x${LONG}` }, 20),
    silent: [
      away('one an hour', { [connections('needs_reauth')]: `3x55 4x55 5x55 6x55 7x55 8x55 9x${LONG}` }, 350),
      away('there have been many for long', { [connections('needs_reauth')]: steady(40) }, 120),
    ],
  },
  CalstreamGrantsEnding: {
    fires: away('an app in testing', { 'calendar_sync_grants_ending{vendor="google"}': steady(4) }, 61),
    silent: [away('none', { 'calendar_sync_grants_ending{vendor="google"}': steady(0) }, 61)],
  },
  CalstreamChannelsEnding: {
    fires: away(
      'no renewal works',
      { 'calendar_sync_channels{vendor="google", state="ending"}': steady(1) },
      61,
    ),
    silent: [
      away(
        'they are renewed in time',
        { 'calendar_sync_channels{vendor="google", state="ending"}': `2x30 0x${LONG}` },
        61,
      ),
    ],
  },
  CalstreamFreshnessBudgetBurns: {
    fires: away('half of the changes are late', budget(50), 70),
    silent: [
      away('one in a thousand is late', budget(0.1), 70),
      away('Prometheus 3 writes the bound in its own way', budget(0, '30.0'), 70),
    ],
  },
  CalstreamWebhookBudgetBurns: {
    fires: away(
      'one in ten is answered 503',
      { [webhooks('200')]: rising(90), [webhooks('503')]: rising(10) },
      70,
    ),
    silent: [
      away('strangers are refused', { [webhooks('200')]: rising(1), [webhooks('401')]: rising(90) }, 70),
    ],
  },
  CalstreamPublishBudgetBurns: {
    fires: away('one in ten is late', budget(10, '60', 'outbox_delay'), 70),
    silent: [away('none is', budget(0, '60', 'outbox_delay'), 70)],
  },
}

/** No series of a name. */
function none(name: string): Readonly<Record<string, string>> {
  const own = ['ingress', 'sync', 'relay', 'retry', 'scheduler'].map((service) => up(service))
  return name === 'up' ? Object.fromEntries(own.map((series) => [series, `_x${LONG}`])) : {}
}

/** The cases of an alert; empty for one that has none. */
export function casesOf(alert: string): readonly AlertCase[] {
  const own = CASES[alert]
  if (!own) return []
  const named = ({ what, series, at, others = [] }: Cases['fires'], ...more: string[]): AlertCase => ({
    what,
    series,
    at,
    fires: [...others, ...more],
  })
  return [named(own.fires, alert), ...own.silent.map((one) => named(one))]
}
