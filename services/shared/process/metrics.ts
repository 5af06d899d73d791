// Every metric and its name, in one place; docs/metrics.md is made from it. Instruments count from
// the moment telemetry starts and are silent before, so a module may use them without caring who
// started what. Invariant: labels are vendor, outcome, code, gate and the like, never an id.
import {
  age,
  counter,
  gauge,
  growing,
  looked,
  milliseconds,
  seconds,
  type MetricFacts,
} from './instruments.ts'

const CALLERS = ['ingress', 'sync', 'scheduler'] as const
const GATED = ['ingress', 'sync', 'retry', 'scheduler'] as const
const EVERY = ['every service'] as const

/** What became of sync requests, and how the vendors answered. */
const units = {
  syncRuns: counter('calendar_sync_runs', ['vendor', 'outcome'], ['sync'], 'Units that ended'),
  syncFailures: counter(
    'calendar_sync_failures',
    ['vendor', 'code', 'call'],
    ['sync'],
    'Units that ended as failed; `call` says whether a call to the vendor was made and failed, or was kept back by us',
  ),
  calendarFailures: counter(
    'calendar_sync_calendar_failures',
    ['vendor', 'code'],
    ['sync'],
    'Calendars that could not be read while siblings could',
  ),
  illCalendars: looked(
    'calendar_sync_ill_calendars',
    ['vendor', 'code'],
    ['scheduler'],
    'Calendars that cannot be read at the moment',
  ),
  // The exporter appends _total to a counter; this name has to stay as it is, so it is an up-down
  // counter that only grows.
  itemsProcessed: growing(
    'calendar_sync_items_processed',
    ['vendor'],
    ['sync'],
    'Items of pages that were applied',
  ),
  foundBy: counter(
    'calendar_sync_found_by',
    ['vendor', 'by'],
    ['sync'],
    'Changes that reads found, by what had asked for the read; when a vendor is silent all come by `reconcile`',
  ),
  syncLatencyMs: milliseconds(
    'calendar_sync_latency_ms',
    ['vendor', 'outcome'],
    ['sync'],
    'From claim to end of a unit',
  ),
  freshnessSeconds: seconds(
    'calendar_sync_freshness_seconds',
    [],
    ['relay'],
    'From the change at the vendor until it was published',
  ),
  pages: counter('calendar_sync_pages', ['vendor'], ['sync'], 'Pages that were persisted'),
  itemsQuarantined: counter(
    'calendar_sync_items_quarantined',
    ['vendor'],
    ['sync'],
    'Items of pages that could not be read',
  ),
  resyncs: counter('calendar_sync_resyncs', ['vendor', 'reason'], ['sync'], 'Full reads that began'),
  listedShort: counter(
    'calendar_sync_listed_short',
    ['vendor'],
    ['sync'],
    'Events that a full read lacked and that the vendor showed when they were asked for',
  ),
  placesDropped: counter(
    'calendar_sync_places_dropped',
    ['vendor', 'place', 'code'],
    ['sync'],
    'Places (page, cursor, start, run) that were left because the vendor answers there no more',
  ),
} as const

const vendors = {
  vendorAnswers: counter(
    'calendar_sync_vendor_answers',
    ['vendor', 'status'],
    CALLERS,
    'Requests that went out to a vendor, each once, by the HTTP status of its answer, or by why none came',
  ),
  vendorCalls: counter(
    'calendar_sync_vendor_calls',
    ['vendor', 'call', 'outcome'],
    ['sync'],
    'Calls of units; one may be several requests',
  ),
  vendorRefusals: counter(
    'calendar_sync_vendor_refusals',
    ['vendor', 'code'],
    CALLERS,
    'Calls that were not made: a budget was spent or the vendor wants silence',
  ),
  vendorBreaker: gauge(
    'calendar_sync_vendor_breaker',
    ['vendor', 'door'],
    CALLERS,
    '1 while a failing vendor is left alone, else 0',
  ),
  parksHeldBack: counter(
    'calendar_sync_parks_held_back',
    ['vendor', 'code'],
    ['sync'],
    'Connections that would wait for a person if they were alone: many of a vendor are refused together',
  ),
  probes: counter(
    'calendar_sync_probes',
    ['vendor', 'outcome'],
    ['scheduler'],
    'Questions whether a parked connection is let in again',
  ),
  vendorCallSeconds: seconds(
    'calendar_sync_vendor_call_seconds',
    ['vendor', 'call'],
    ['sync'],
    'Duration of calls of units',
  ),
} as const

const entrance = {
  webhooks: counter('calendar_sync_webhooks', ['vendor', 'outcome'], ['ingress'], 'Notifications answered'),
  webhookSeconds: seconds(
    'calendar_sync_webhook_seconds',
    ['vendor', 'outcome'],
    ['ingress'],
    'From the request until its answer',
  ),
  webhookItems: counter(
    'calendar_sync_webhook_items',
    ['vendor', 'outcome'],
    ['ingress'],
    'Items of batches of notifications, by what became of them',
  ),
  lastNotificationAge: age(
    'calendar_sync_last_notification_age_seconds',
    ['vendor'],
    ['ingress', 'scheduler'],
    'Seconds since the last notification of a vendor that we believed; take the least: an ingress knows of its own, the scheduler of those that a unit answered',
  ),
  syncRequests: counter('calendar_sync_requests', ['outcome'], ['ingress'], 'Calls of the sync API'),
  oauth: counter(
    'calendar_sync_oauth',
    ['vendor', 'step', 'outcome'],
    ['ingress'],
    'Answers to browsers that connect an account',
  ),
  ringsJoined: counter(
    'calendar_sync_rings_joined',
    ['reason'],
    ['ingress'],
    'Sync requests beyond the rate of their calendar, published together with others',
  ),
  putAside: counter(
    'calendar_sync_put_aside',
    ['what'],
    ['ingress', 'scheduler'],
    'Items that were refused for what they are, so that their neighbours could be written',
  ),
  ingressQueue: gauge(
    'calendar_sync_ingress_queue',
    [],
    ['ingress'],
    'Sync requests that wait for Kafka or are on their way',
  ),
  socketsTurnedAway: counter(
    'calendar_sync_sockets_turned_away',
    ['reason'],
    ['ingress'],
    'Sockets of the ingress that were refused, gave way or sent no good request',
  ),
} as const

/** Ages are in seconds: the lag of a group counts offsets, and says nothing about time. */
const waiting = {
  ringOldestSeconds: looked(
    'calendar_sync_ring_oldest_seconds',
    ['vendor'],
    ['sync', 'scheduler'],
    'Age of the oldest sync request that is not done, 0 when there is none; take the greatest: a sync knows of those that it has, the scheduler of those in Kafka, also while no sync runs',
  ),
  lanes: gauge('calendar_sync_lanes', ['state'], ['sync'], 'Connections with queued or running work'),
  slotWaitSeconds: gauge(
    'calendar_sync_slot_wait_seconds',
    ['slot'],
    ['sync'],
    'How long the connection that waits longest for a slot (live, asked, backfill) has waited',
  ),
  lag: looked(
    'calendar_sync_lag',
    ['group', 'topic'],
    ['scheduler'],
    'Records of a topic that the group has not committed',
  ),
  heldRequests: counter(
    'calendar_sync_held',
    ['gate'],
    ['ingress', 'sync'],
    'Refusals by a closed gate that were stored',
  ),
  heldConnections: looked(
    'calendar_sync_held_connections',
    ['gate'],
    ['scheduler'],
    'Connections with work that waits for a gate',
  ),
  deadLetters: counter(
    'calendar_sync_dead_letters',
    ['topic', 'code'],
    ['sync', 'retry', 'scheduler'],
    'Records sent to the dead-letter topic',
  ),
  deadLettersWaiting: looked(
    'calendar_sync_dead_letters_waiting',
    ['code'],
    ['scheduler'],
    'Dead letters that were not replayed',
  ),
  outboxPublished: counter('calendar_sync_outbox_published', [], ['relay'], 'Outbox rows published'),
  outboxBacklog: looked(
    'calendar_sync_outbox_backlog',
    [],
    ['relay', 'scheduler'],
    'Outbox rows that wait, counted to 100 000; take the greatest: a relay knows of its shards, the scheduler of all',
  ),
  outboxOldestSeconds: looked(
    'calendar_sync_outbox_oldest_seconds',
    [],
    ['relay', 'scheduler'],
    'Age of the oldest outbox row, 0 when there is none; take the greatest: a relay knows of its shards, the scheduler of all, also while no relay runs',
  ),
  outboxDelaySeconds: seconds(
    'calendar_sync_outbox_delay_seconds',
    [],
    ['relay'],
    'From the row until it was published',
  ),
  relayTakeovers: counter(
    'calendar_sync_relay_takeovers',
    [],
    ['relay'],
    'Shards taken over from another relay',
  ),
  retryRings: counter(
    'calendar_sync_retry_rings',
    [],
    ['retry'],
    'Sync requests published by the retry service',
  ),
  retryLateSeconds: seconds(
    'calendar_sync_retry_late_seconds',
    [],
    ['retry'],
    'How late a due retry was rung',
  ),
  retryHeld: gauge('calendar_sync_retry_held', [], ['retry'], 'Retries that wait for their time'),
} as const

const people = {
  connections: looked('calendar_sync_connections', ['vendor', 'state'], ['scheduler'], 'Connections'),
  causes: looked(
    'calendar_sync_causes',
    ['vendor', 'cause'],
    ['scheduler'],
    'Connections that are not up to date, by each of their causes (docs/why.md); one may have several',
  ),
  oldestSyncedSeconds: looked(
    'calendar_sync_oldest_synced_seconds',
    ['vendor'],
    ['scheduler'],
    'Of the active connections, the one that was in sync longest ago: how long ago, since it was connected if it never was',
  ),
  schedulerRuns: counter('calendar_sync_scheduler_runs', ['job', 'outcome'], ['scheduler'], 'Runs of jobs'),
  schedulerRings: counter(
    'calendar_sync_scheduler_rings',
    ['job'],
    ['scheduler'],
    'Sync requests published by the scheduler',
  ),
  repairsRunning: looked(
    'calendar_sync_repairs_running',
    ['kind'],
    ['scheduler'],
    'Repairs that are worked off',
  ),
  repaired: counter(
    'calendar_sync_repaired',
    ['kind', 'outcome'],
    ['scheduler'],
    'Connections and dead letters that repairs have worked off (done, failed)',
  ),
  // `ending` is the one to alert on: channels in the last fifth of their life that
  // no scheduler managed to renew.
  channels: looked('calendar_sync_channels', ['vendor', 'state'], ['scheduler'], 'Channels by health'),
  channelsExpired: counter(
    'calendar_sync_channels_expired',
    [],
    ['scheduler'],
    'Channels that ended although they were wanted and before others were open',
  ),
  channelsSilent: counter(
    'calendar_sync_channels_silent',
    ['vendor'],
    ['scheduler'],
    'Channels that told nothing of changes that reads found, and were replaced',
  ),
  channelFailures: counter(
    'calendar_sync_channel_failures',
    ['vendor', 'code'],
    ['scheduler'],
    'Channels that could not be opened or renewed',
  ),
  grantsEnding: looked(
    'calendar_sync_grants_ending',
    ['vendor'],
    ['scheduler'],
    'Active connections whose grant ends within a week whatever is done: a Google project in testing',
  ),
  canaryAgeSeconds: looked(
    'calendar_sync_canary_age_seconds',
    ['vendor'],
    ['scheduler'],
    'Since the last change of the canary that arrived was made; 0 while a gate keeps it',
  ),
  canaryLastSeen: looked(
    'calendar_sync_canary_last_seen',
    ['vendor'],
    ['scheduler'],
    'When that change was made, in seconds since 1970',
  ),
  canaryDead: looked(
    'calendar_sync_canary_dead',
    ['vendor', 'leg'],
    ['scheduler'],
    '1 while a leg of the way of the canary is dead (vendor, push, sync, relay), else 0',
  ),
} as const

const processes = {
  gateDecisions: counter('calendar_sync_gate_decisions', ['gate', 'state'], GATED, 'Answers of gates'),
  gateState: gauge(
    'calendar_sync_gate_state',
    ['gate'],
    GATED,
    '1 open, 0 closed, -1 unknown; an allowlist is open when it lets anyone in',
  ),
  gatePollFailures: counter('calendar_sync_gate_poll_failures', [], GATED, 'Polls of Unleash that failed'),
  keys: gauge(
    'calendar_sync_keys',
    ['ring', 'kid', 'mark'],
    ['ingress', 'sync', 'scheduler'],
    '1 for each key of a process, 2 for the one that it uses for new work; services that differ cannot read one another',
  ),
  postgresFailures: counter(
    'calendar_sync_postgres_failures',
    ['code'],
    ['ingress', 'sync', 'relay', 'scheduler'],
    'Statements that failed',
  ),
  dependencyReady: gauge(
    'calendar_sync_dependency_ready',
    ['dependency'],
    EVERY,
    '1 while a check of /readyz is well, else 0',
  ),
  // Of the program, not of its work: named as programs name it, so that dashboards find it.
  buildInfo: gauge('calstream_build_info', ['version', 'node'], EVERY, 'Always 1'),
} as const

/** The same in the order of docs/metrics.md. */
export const METRIC_GROUPS: Readonly<
  Record<string, Readonly<Record<string, { readonly facts: MetricFacts }>>>
> = {
  'What waits, and for how long': waiting,
  'Units: what was read': units,
  Vendors: vendors,
  'The ingress': entrance,
  'Accounts, channels and jobs': people,
  'The processes themselves': processes,
}

export const metrics = { ...units, ...vendors, ...entrance, ...waiting, ...people, ...processes } as const
