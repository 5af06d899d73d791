// REP and ALERT: senders that are too many or repeat themselves, and the alerts that report
// trouble.
import { acknowledgements, joinedRings, ringsByKey } from '../checkers/ingress.ts'
import { isListing } from '../checkers/history.ts'
import {
  allOf,
  atLeast,
  atMost,
  below,
  criterion,
  met,
  named,
  percentile,
  setUp,
  within,
} from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { atRate, channelTokenOf, inParallel, notify, share } from '../faults/senders.ts'
import { LISTING, vendorFault } from '../faults/vendors.ts'
import { metricsOf } from '../ledgers/observe.ts'
import type { OwnRequest } from '../ledgers/ledgers.ts'
import { effects } from './malformed.ts'

const SAME = 100
const SENDERS = 25
const SAME_WITHIN = within(1_000)
/**
 * A unit, and one more for what arrived while it ran; each may ask for a page and once again 20 s
 * later.
 */
const CALLS = atMost(4)
const DIFFERENT = 150
/** 2.5 s after the identical ones, their calendar has earned twelve keyed rings: five a second. */
const KEYED = atLeast(10)
const KEPT_DAYS = 8
/**
 * The storm's rate, however slow the answers. Each is judged from when its notification was due.
 */
const STORM_PER_SECOND = 1_000
const STORM_ANSWERED = below(1_000, 'ms')
const TAIL = 0.99
/**
 * Most sockets open at once. An address may open 500 (ADR 13), and earlier ones are kept for a
 * while.
 */
const STORM_SENDERS = 300

const replays: Drill = {
  id: 'REP',
  title: 'Replayed, duplicated, reordered and stormed webhooks',
  report: 'ingress',
  criteria: {
    'REP-1': criterion`${setUp(SAME)} identical deliveries at once: all accepted ${SAME_WITHIN}, one effect, ${CALLS} calls to the vendor`,
    'REP-2': criterion`Different notifications at once: every one on the topic, ${KEYED} with their key and the others in a joined ring; no more calls to the vendor than notifications, no unit beside another of its connection`,
    'REP-3': criterion`A replay after its window causes at most a harmless sync: no row changes`,
    'REP-4': criterion`The table of keys is bounded by time: none older than ${setUp(KEPT_DAYS)} days stays`,
    'REP-5': criterion`A storm of ${setUp(STORM_PER_SECOND)} a second: answered with ${percentile(TAIL)} ${STORM_ANSWERED}, no deadlock`,
  },
  faults: ['W3', 'W4', 'W5'],
  needsMachine: true,
  profiles: ['smoke', 'ci', 'full'],
  system: (profile) => ({
    connections: { smoke: 4, ci: 10, full: 40 }[profile],
    eventsPerCalendar: 10,
    latencyMs: 20,
  }),
  invariants: ['I10', 'I15', 'I16', 'I17'],
  wallMs: 600_000,
  recoverWithinMs: 90_000,
  async run(d) {
    const [one] = d.system.accounts
    const token = channelTokenOf(d, one!)
    const calls = async () =>
      (await d.system.vendor.ledger<{ accountId: string; path: string; method: string }>('requests')).filter(
        (call) => call.accountId === one!.accountId && isListing(call),
      ).length
    const callsBefore = await calls()
    const sameFrom = performance.now()
    const same = await inParallel(SENDERS, SAME, () =>
      notify(d, 'identical', { channel: 'drill-same', number: 77, token }),
    )
    const sameMs = performance.now() - sameFrom
    await d.lasting(2_500)
    const callsForSame = (await calls()) - callsBefore
    const distinct = await inParallel(SENDERS, DIFFERENT, (index) =>
      notify(d, 'different', { channel: 'drill-many', number: index + 2, token }),
    )
    await d.lasting(3_000)
    const callsForDistinct = (await calls()) - callsBefore - callsForSame
    await d.converged(60_000)
    const rows = (await effects(d)).events
    // After that time its key is gone; what was recorded is aged by hand.
    await d.system.ask('update webhook_dedupe_keys set seen_at = seen_at - make_interval(days => $1)', [
      KEPT_DAYS + 1,
    ])
    const old = async () => {
      const [row] = await d.system.ask<{ n: number }>(
        'select count(*)::int as n from webhook_dedupe_keys where seen_at < calstream_now() - make_interval(days => $1)',
        [KEPT_DAYS],
      )
      return row?.n ?? -1
    }
    const aged = await old()
    await d.system.ask(
      "update job_leases set last_run_at = null, leased_until = '-infinity' where job like '%reten%'",
    )
    await d.until('old keys are deleted', async () => (await old()) === 0, 30_000)
    const late = await notify(d, 'replay after the window', { channel: 'drill-same', number: 77, token })
    await d.lasting(2_000)
    const rowsAfter = (await effects(d)).events
    const count = { smoke: 1_000, ci: 10_000, full: 50_000 }[d.profile]
    const tokens = d.system.accounts.map((account) => channelTokenOf(d, account))
    const rate = { perSecond: STORM_PER_SECOND, width: STORM_SENDERS }
    const stormed = await atRate(rate, count, (index) =>
      // Every second one comes twice, out of order.
      notify(d, 'storm', {
        channel: `drill-storm-${index % tokens.length}`,
        number: 1_000 + (index % (count / 2)),
        token: tokens[index % tokens.length]!,
      }),
    )
    const storm = stormed.map(({ answer }) => answer)
    const waited = stormed.map(({ sinceDueMs }) => sinceDueMs)
    await d.converged(90_000)
    return ({ ledgers, holds }) => {
      const accepted = (answers: readonly OwnRequest[]) =>
        answers.filter(({ status }) => status === 202).length
      const p99 = share(waited, TAIL)
      const rung = ringsByKey(ledgers)
      const isJoined = joinedRings(ledgers)
      const ofMany = acknowledgements(ledgers).filter(({ key }) => key.startsWith('g:drill-many:'))
      const keyed = ofMany.filter(({ key }) => rung.has(key)).length
      const lost = ofMany.filter((one) => !rung.has(one.key) && !isJoined(one))
      const deadlocks = ledgers.logs.filter(
        ({ raw }) => raw.includes('40P01') || raw.includes('deadlock'),
      ).length
      const stormOk = storm.every(({ status }) => status === 202 || status === 503)
      return {
        criteria: {
          'REP-1': allOf(
            met(accepted(same) === SAME, `${accepted(same)} of ${SAME} accepted`),
            SAME_WITHIN.judge(sameMs, `after ${Math.round(sameMs)} ms`),
            CALLS.judge(callsForSame, `${callsForSame} calls to the vendor`),
            holds('I16'),
          ),
          'REP-2': allOf(
            met(
              accepted(distinct) === DIFFERENT && ofMany.length === DIFFERENT,
              `${accepted(distinct)} of ${DIFFERENT} accepted`,
            ),
            KEYED.judge(keyed, `${keyed} on the topic with their key`),
            met(lost.length === 0, `${lost.length} neither so nor in joined rings`),
            met(callsForDistinct <= DIFFERENT, `${callsForDistinct} calls to the vendor`),
            holds('I10'),
          ),
          'REP-3': met(
            late.status === 202 && rowsAfter === rows,
            `answered ${late.status}; event rows written ${rows} → ${rowsAfter}`,
          ),
          'REP-4': met(aged > 0, `${aged} keys older than ${KEPT_DAYS} days, all of them deleted`),
          'REP-5': allOf(
            STORM_ANSWERED.judge(
              p99,
              `${count} at ${STORM_PER_SECOND} a second, p99 ${Math.round(p99)} ms after each was due`,
            ),
            met(stormOk && deadlocks === 0, `${accepted(storm)} accepted, ${deadlocks} deadlocks`),
            holds('I15', 'I20'),
          ),
        },
        witnesses: [{ name: 'notifications', need: count, got: storm.length }],
        numbers: {
          storm: count,
          p50Ms: Math.round(share(waited, 0.5)),
          p99Ms: Math.round(p99),
        },
      }
    }
  },
}

/** One alert: a condition over the scraped series of all processes. */
interface Alert {
  readonly id: string
  readonly fires: (now: ReadonlyMap<string, number>, before: ReadonlyMap<string, number>) => boolean
}

/** Growth since the drill began is growth within this time: the drill lasts no longer. */
const WINDOW_MS = 5 * 60_000
/** More of them fires: an increase, not a rate per second. */
const FAILURES_MAX = 5
const UNAVAILABLE_MAX = 5
const BACKING_OFF_MAX = 2
const FIRES_WITHIN = within(60_000)

const ALERTS: readonly Alert[] = [
  {
    id: 'ALERT-1',
    fires: (now, before) => grown(now, before, 'calendar_sync_failures_total') > FAILURES_MAX,
  },
  {
    id: 'ALERT-2',
    fires: (now, before) =>
      grown(now, before, 'calendar_sync_webhooks_total', 'outcome="503"') > UNAVAILABLE_MAX,
  },
  {
    id: 'ALERT-3',
    fires: (now) => total(now, 'calendar_sync_connections', 'state="backing_off"') > BACKING_OFF_MAX,
  },
  {
    id: 'ALERT-4',
    fires: (now) =>
      [...now].some(
        ([name, value]) =>
          name.startsWith('calendar_sync_gate_state') && name.includes('_ENABLED') && value < 1,
      ),
  },
]

const alerts: Drill = {
  id: 'ALERT',
  title: 'Alerts: silent while healthy, firing soon after their condition',
  report: 'ingress',
  criteria: {
    'ALERT-1': criterion`Sync failures: more than ${setUp(FAILURES_MAX)} in ${setUp(WINDOW_MS, 'ms')} fires ${FIRES_WITHIN}`,
    'ALERT-2': criterion`Webhook failures: more than ${setUp(UNAVAILABLE_MAX)} answers of ${named(503)} in ${setUp(WINDOW_MS, 'ms')} fires ${FIRES_WITHIN}`,
    'ALERT-3': criterion`Connections that back off: more than ${setUp(BACKING_OFF_MAX)} at a time fires ${FIRES_WITHIN}`,
    'ALERT-4': criterion`A switch that is off or unknown fires ${FIRES_WITHIN}`,
  },
  faults: ['A1', 'K1', 'F1'],
  profiles: ['ci', 'full'],
  system: () => ({ connections: 10, eventsPerCalendar: 10, latencyMs: 10 }),
  invariants: ['I17', 'I23'],
  wallMs: WINDOW_MS,
  recoverWithinMs: 120_000,
  async run(d) {
    const evaluate = alertsOf(d)
    await d.load(10, 4_000)
    const silent = await evaluate()
    const load = d.load(20, 60_000)
    const timed: Record<string, number> = {}
    const firing = async (id: string) => {
      timed[id] = await d.until(`${id} fires`, async () => (await evaluate()).has(id), FIRES_WITHIN.limit)
    }
    const outage = await vendorFault(
      d,
      { fault: 'A1', action: '503', target: 'all' },
      { match: { path: LISTING }, respond: { status: 503 } },
    )
    // The scheduler counts the connections every 15 s.
    await Promise.all([firing('ALERT-1'), firing('ALERT-3')])
    await outage.heal()
    const { kafka } = d.system.stack.lines
    const mute = await d.inject({
      fault: 'K1',
      action: 'refused',
      target: 'kafka',
      inject: async () => kafka.set({ down: true }),
      isActive: () => true,
      heal: async () => kafka.set({}),
      isHealed: () => true,
    })
    await firing('ALERT-2')
    await mute.heal()
    await d.system.gates.set('CALENDAR_JOBS_ENABLED', false)
    await firing('ALERT-4')
    await d.system.gates.set('CALENDAR_JOBS_ENABLED', true)
    await load
    await d.converged(120_000)
    return () => ({
      criteria: Object.fromEntries(
        ALERTS.map(({ id }) => [
          id,
          allOf(
            met(!silent.has(id), `silent while healthy: ${!silent.has(id)}`),
            FIRES_WITHIN.judge(timed[id] ?? Infinity, `fired after ${Math.round(timed[id] ?? Infinity)} ms`),
          ),
        ]),
      ),
      witnesses: [{ name: 'alerts that fired', need: ALERTS.length, got: Object.keys(timed).length }],
      numbers: timed,
    })
  },
}

/** Evaluates every alert against a scrape made at this call. Growth counts since its creation. */
function alertsOf({ system }: DrillRun): () => Promise<ReadonlySet<string>> {
  let base: Map<string, number> | null = null
  return async () => {
    const now = new Map<string, number>()
    for (const { adminUrl, instance, running } of system.services) {
      if (!running) continue
      const values = await metricsOf(adminUrl).catch(() => new Map<string, number>())
      for (const [name, value] of values) now.set(`${name}@${instance}`, value)
    }
    base ??= now
    return new Set(ALERTS.filter(({ fires }) => fires(now, base ?? now)).map(({ id }) => id))
  }
}

function total(values: ReadonlyMap<string, number>, metric: string, label = ''): number {
  return [...values]
    .filter(([name]) => name.startsWith(metric) && name.includes(label))
    .reduce((sum, [, value]) => sum + value, 0)
}

function grown(
  now: ReadonlyMap<string, number>,
  before: ReadonlyMap<string, number>,
  metric: string,
  label = '',
): number {
  return total(now, metric, label) - total(before, metric, label)
}

export const INGRESS: readonly Drill[] = [replays, alerts]
