// Every metric and its name, in one place. Instruments count from the moment telemetry starts and
// are silent before, so a module may use them without caring who started what. Invariant: labels
// are vendor, outcome, code, gate and the like, never an id.
import type { Attributes, Meter, MetricAdvice } from '@opentelemetry/api'

interface Counter {
  add(value: number, labels?: Attributes): void
}

interface Recorder {
  record(value: number, labels?: Attributes): void
}

interface Instrument {
  bind(meter: Meter): void
  forget(): void
}

const known: Instrument[] = []

// Without own boundaries everything in seconds lands in the first bucket (0 … 5).
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600]
const MILLISECONDS = [
  5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000,
]

export const metrics = {
  syncRuns: counter('calendar_sync_runs', 'Units that ended. Labels: vendor, outcome'),
  syncFailures: counter('calendar_sync_failures', 'Units that ended as failed. Labels: vendor, code'),
  calendarFailures: counter(
    'calendar_sync_calendar_failures',
    'Calendars that could not be read while siblings could. Labels: vendor, code',
  ),
  illCalendars: gauge(
    'calendar_sync_ill_calendars',
    'Calendars that cannot be read at the moment. Labels: vendor, code',
  ),
  // The exporter appends _total to a counter; this name has to stay as it is, so it is an up-down
  // counter that only grows.
  itemsProcessed: growing(
    'calendar_sync_items_processed',
    'Items of pages that were applied. Labels: vendor',
  ),
  syncLatencyMs: histogram(
    'calendar_sync_latency_ms',
    'From claim to end of a unit. Labels: vendor, outcome',
    MILLISECONDS,
  ),
  freshnessSeconds: histogram(
    'calendar_sync_freshness_seconds',
    'From the change at the vendor until it was published',
    SECONDS,
  ),
  pages: counter('calendar_sync_pages', 'Pages that were persisted. Labels: vendor'),
  itemsQuarantined: counter(
    'calendar_sync_items_quarantined',
    'Items of pages that could not be read. Labels: vendor',
  ),
  resyncs: counter('calendar_sync_resyncs', 'Full reads that began. Labels: vendor, reason'),
  listedShort: counter(
    'calendar_sync_listed_short',
    'Events that a full read lacked and that the vendor showed when they were asked for. Labels: vendor',
  ),
  placesDropped: counter(
    'calendar_sync_places_dropped',
    'Places that were left because the vendor answers there no more. Labels: vendor, place (page, cursor, start, run), code',
  ),
  vendorCalls: counter('calendar_sync_vendor_calls', 'Calls to vendors. Labels: vendor, call, outcome'),
  vendorRefusals: counter(
    'calendar_sync_vendor_refusals',
    'Calls that were not made: a budget was spent or the vendor wants silence. Labels: vendor, code',
  ),
  vendorBreaker: gauge(
    'calendar_sync_vendor_breaker',
    '1 while a failing vendor is left alone, else 0. Labels: vendor, door',
  ),
  parksHeldBack: counter(
    'calendar_sync_parks_held_back',
    'Connections that would wait for a person if they were alone: many of a vendor are refused together. Labels: vendor, code',
  ),
  probes: counter(
    'calendar_sync_probes',
    'Questions whether a parked connection is let in again. Labels: vendor, outcome',
  ),
  vendorCallSeconds: histogram(
    'calendar_sync_vendor_call_seconds',
    'Duration of calls to vendors. Labels: vendor, call',
    SECONDS,
  ),

  webhooks: counter('calendar_sync_webhooks', 'Notifications answered. Labels: vendor, outcome'),
  webhookSeconds: histogram(
    'calendar_sync_webhook_seconds',
    'From the request until its answer. Labels: vendor, outcome',
    SECONDS,
  ),
  webhookItems: counter(
    'calendar_sync_webhook_items',
    'Items of batches of notifications, by what became of them. Labels: vendor, outcome',
  ),
  syncRequests: counter('calendar_sync_requests', 'Calls of the sync API. Labels: outcome'),
  oauth: counter(
    'calendar_sync_oauth',
    'Answers to browsers that connect an account. Labels: vendor, step, outcome',
  ),
  ringsJoined: counter(
    'calendar_sync_rings_joined',
    'Sync requests beyond the rate of their calendar, published together with others. Labels: reason',
  ),
  putAside: counter(
    'calendar_sync_put_aside',
    'Items that were refused for what they are, so that their neighbours could be written. Labels: what',
  ),
  ingressQueue: gauge('calendar_sync_ingress_queue', 'Sync requests that wait for Kafka or are on their way'),
  heldRequests: counter('calendar_sync_held', 'Refusals by a closed gate that were stored. Labels: gate'),

  lanes: gauge('calendar_sync_lanes', 'Connections with queued or running work. Labels: state'),
  slotWaitSeconds: gauge(
    'calendar_sync_slot_wait_seconds',
    'How long the connection that waits longest for a slot has waited. Labels: slot (live, asked, backfill)',
  ),
  lag: gauge(
    'calendar_sync_lag',
    'Records of a topic that the group has not committed. Labels: group, topic',
  ),
  deadLetters: counter(
    'calendar_sync_dead_letters',
    'Records sent to the dead-letter topic. Labels: topic, code',
  ),

  outboxPublished: counter('calendar_sync_outbox_published', 'Outbox rows published'),
  outboxBacklog: gauge('calendar_sync_outbox_backlog', 'Outbox rows that wait'),
  outboxOldestSeconds: gauge('calendar_sync_outbox_oldest_seconds', 'Age of the oldest outbox row'),
  outboxDelaySeconds: histogram(
    'calendar_sync_outbox_delay_seconds',
    'From the row until it was published',
    SECONDS,
  ),
  relayTakeovers: counter('calendar_sync_relay_takeovers', 'Shards taken over from another relay'),

  retryRings: counter('calendar_sync_retry_rings', 'Sync requests published by the retry service'),
  retryLateSeconds: histogram('calendar_sync_retry_late_seconds', 'How late a due retry was rung', SECONDS),
  retryHeld: gauge('calendar_sync_retry_held', 'Retries that wait for their time. Labels: band'),

  schedulerRuns: counter('calendar_sync_scheduler_runs', 'Runs of jobs. Labels: job, outcome'),
  schedulerRings: counter(
    'calendar_sync_scheduler_rings',
    'Sync requests published by the scheduler. Labels: job',
  ),
  repairsRunning: gauge('calendar_sync_repairs_running', 'Repairs that are worked off. Labels: kind'),
  repaired: counter(
    'calendar_sync_repaired',
    'Connections and dead letters that repairs have worked off. Labels: kind, outcome (done, failed)',
  ),
  // `ending` is the one to alert on: channels in the last fifth of their life that
  // no scheduler managed to renew.
  channels: gauge('calendar_sync_channels', 'Channels by health. Labels: vendor, state'),
  channelsExpired: counter(
    'calendar_sync_channels_expired',
    'Channels that ended although they were wanted and before others were open',
  ),
  channelsSilent: counter(
    'calendar_sync_channels_silent',
    'Channels that told nothing of changes that reads found, and were replaced. Labels: vendor',
  ),
  channelFailures: counter(
    'calendar_sync_channel_failures',
    'Channels that could not be opened or renewed. Labels: vendor, code',
  ),
  grantsEnding: gauge(
    'calendar_sync_grants_ending',
    'Active connections whose grant ends within a week whatever is done: a Google project in testing. Labels: vendor',
  ),
  connections: gauge('calendar_sync_connections', 'Connections. Labels: vendor, state'),

  socketsTurnedAway: counter(
    'calendar_sync_sockets_turned_away',
    'Sockets of the ingress that were refused, gave way or sent no good request. Labels: reason',
  ),
  gateDecisions: counter('calendar_sync_gate_decisions', 'Answers of gates. Labels: gate, state'),
  gateState: gauge(
    'calendar_sync_gate_state',
    '1 open, 0 closed, -1 unknown; an allowlist is open when it lets anyone in. Labels: gate',
  ),
  gatePollFailures: counter('calendar_sync_gate_poll_failures', 'Polls of Unleash that failed'),

  keys: gauge(
    'calendar_sync_keys',
    '1 for each key of a process, 2 for the one that it uses for new work; services that differ cannot read one another. Labels: ring, kid, mark',
  ),

  postgresFailures: counter('calendar_sync_postgres_failures', 'Statements that failed. Labels: code'),

  // Of the program, not of its work: named as programs name it, so that dashboards find it.
  buildInfo: gauge('calstream_build_info', 'Always 1. Labels: version, node'),
}

/** Lets every instrument count into one more meter. Called by telemetry. */
export function bindMetrics(meter: Meter): void {
  for (const instrument of known) instrument.bind(meter)
}

/** Forgets all meters: their providers end. Called by telemetry. */
export function unbindMetrics(): void {
  for (const instrument of known) instrument.forget()
}

function counter(name: string, description: string): Counter {
  const instruments = instrumentsOf((meter) => meter.createCounter(name, { description }))
  return { add: (value, labels) => instruments.forEach((instrument) => instrument.add(value, labels)) }
}

function growing(name: string, description: string): Counter {
  const instruments = instrumentsOf((meter) => meter.createUpDownCounter(name, { description }))
  return {
    add: (value, labels) => instruments.forEach((instrument) => instrument.add(Math.max(0, value), labels)),
  }
}

function gauge(name: string, description: string): Recorder {
  const instruments = instrumentsOf((meter) => meter.createGauge(name, { description }))
  return { record: (value, labels) => instruments.forEach((instrument) => instrument.record(value, labels)) }
}

function histogram(name: string, description: string, explicitBucketBoundaries: number[]): Recorder {
  const advice: MetricAdvice = { explicitBucketBoundaries }
  const instruments = instrumentsOf((meter) => meter.createHistogram(name, { description, advice }))
  return { record: (value, labels) => instruments.forEach((instrument) => instrument.record(value, labels)) }
}

/** The live instruments of one name, one per bound meter. */
function instrumentsOf<T>(create: (meter: Meter) => T): T[] {
  const live: T[] = []
  known.push({ bind: (meter) => live.push(create(meter)), forget: () => live.splice(0) })
  return live
}
