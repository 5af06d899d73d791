// Processes killed: at random, at every named point, all at once, again and again.
import { randomUUID } from 'node:crypto'
import { CRASH_POINTS, type CrashPoint } from '#shared/platform/crash-point.ts'
import { TOPICS } from '#schemas/topics.ts'
import type { ServiceName } from '../../../infra/local/services.ts'
import type { InvariantId } from '../checkers/check.ts'
import { repeatedMessages } from '../checkers/stream.ts'
import { recordedFailures } from '../checkers/failures.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { allOf, met } from '../drill.ts'
import { producePoison } from '../faults/kafka.ts'
import { crashThrough, isReady, killAllAndAwait, killAndAwait, type Crash } from '../faults/processes.ts'
import type { ServiceProcess } from '../environment/launch.ts'
import { LISTING } from '../faults/vendors.ts'
import { between, pick } from '../random.ts'

/** What has to hold whatever dies. */
const CRASH_INVARIANTS: readonly InvariantId[] = ['I10', 'I15', 'I16', 'I17', 'I26']
/** A relay repeats at most the batch that it had not deleted yet. */
const REPEATS_PER_KILL = 1_000

const randomKills: Drill = {
  id: 'KILL',
  title: 'kill -9 of ingress, sync, relay, retry and scheduler at random under load',
  report: 'processes',
  criteria: {
    'KILL.1': 'No lost change, no double, no partial state, no order break',
    'KILL.2': 'Every acknowledged notification is durable',
    'KILL.3': 'Repeats on the topic are bounded, with the same id and bytes',
    'KILL.4': 'Everything comes back by itself within 15 s',
  },
  faults: ['P1', 'P2', 'P3'],
  profiles: ['smoke', 'ci', 'full'],
  system: (profile) => ({
    connections: { smoke: 6, ci: 20, full: 100 }[profile],
    eventsPerCalendar: 20,
    latencyMs: 40,
    processes: { sync: 2, relay: 2 },
  }),
  invariants: CRASH_INVARIANTS,
  wallMs: 1_200_000,
  recoverWithinMs: 120_000,
  limits: 'kill -9 keeps the page cache: a power cut of the whole machine is not shown.',
  async run(d) {
    const kills = { smoke: 8, ci: 28, full: 300 }[d.profile]
    const load = d.load(40, kills * 1_300 + 2_000)
    const back: number[] = []
    const killed = new Map<ServiceName, number>()
    const busy = new Set<string>()
    const under: Promise<void>[] = []
    const problems: unknown[] = []
    for (let n = 0; n < kills && !d.signal.aborted; n += 1) {
      const free = () => d.system.services.filter(({ instance, running }) => running && !busy.has(instance))
      // On a slow machine all of them may be on their way back.
      await d.until('a process is there to be killed', () => free().length > 0, 60_000)
      // Those that were not killed yet come first, so that luck leaves none out.
      const spared = free().filter(({ service }) => !killed.has(service))
      const victim = pick(d.random, spared.length > 0 ? spared : free())
      killed.set(victim.service, (killed.get(victim.service) ?? 0) + 1)
      busy.add(victim.instance)
      under.push(
        killAndAwait(d, faultOf(victim.service), victim)
          .then((ms) => void back.push(ms))
          .catch((error: unknown) => void problems.push(error))
          .finally(() => busy.delete(victim.instance)),
      )
      await d.lasting(between(d.random, 300, 2_200))
    }
    await Promise.all(under)
    if (problems.length > 0) throw problems[0]
    const changes = await load
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const repeats = repeatedMessages(ledgers)
      const relayKills = killed.get('relay') ?? 0
      return {
        criteria: {
          'KILL.1': holds('I1', 'I3', 'I6', 'I7', 'I8', 'I9'),
          'KILL.2': holds('I15'),
          'KILL.3': allOf(
            holds('I4'),
            met(
              repeats <= REPEATS_PER_KILL * Math.max(1, relayKills),
              `${repeats} repeats after ${relayKills} kills of a relay`,
            ),
          ),
          'KILL.4': met(
            Math.max(...back) <= 15_000,
            `ready again after at most ${Math.round(Math.max(...back))} ms; rest ${Math.round(recovered)} ms`,
          ),
        },
        witnesses: [
          { name: 'kills', need: kills, got: back.length },
          { name: 'services that were killed', need: d.profile === 'smoke' ? 2 : 5, got: killed.size },
          { name: 'changes meanwhile', need: kills * 20, got: changes },
        ],
        numbers: { kills: back.length, changes, repeats, slowestBackMs: Math.round(Math.max(...back)) },
      }
    }
  },
}

function faultOf(service: ServiceName): string {
  return service === 'ingress' ? 'P1' : service === 'relay' ? 'P3' : 'P2'
}

const crashPoints: Drill = {
  id: 'CRASH',
  title: 'Crash at every named point, between the steps whose order matters',
  report: 'processes',
  criteria: {
    'CRASH.1': 'Each point was met and the process died there',
    'CRASH.2': 'No partial state, no cursor ahead, nothing lost or doubled after any of them',
    'CRASH.3': 'Restart from anything: no manual step',
  },
  faults: ['P4', 'K12'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 10 : 40,
    eventsPerCalendar: 15,
    latencyMs: 20,
    // Who dies keeps its partitions for a session of 8 s: two die in one.
    processes: { sync: 2 },
  }),
  invariants: CRASH_INVARIANTS,
  wallMs: 1_800_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const rounds = d.profile === 'ci' ? 1 : 10
    const points = CRASH_POINTS.filter((point) => d.profile === 'full' || !INSIDE.has(point))
    let going = true
    const load = (async () => {
      while (going && !d.signal.aborted) await d.load(15, 4_000)
    })()
    // Gates are flipped by one hand at a time.
    const flip = serialised(async () => {
      await d.system.gates.set('CALENDAR_WEBHOOK_ENABLED', false)
      await d.system.gates.set('CALENDAR_SYNC_ENABLED', false)
      await d.lasting(2_000)
      await d.system.gates.set('CALENDAR_SYNC_ENABLED', true)
      await d.system.gates.set('CALENDAR_WEBHOOK_ENABLED', true)
      await d.lasting(2_500)
    })
    await Promise.all(
      d.system.services.map(async (service) => {
        const own = pointsOf(d, service, points)
        for (let round = 0; round < rounds && !d.signal.aborted; round += 1) {
          let left: readonly Crash[] = own.map((point) => ({
            point,
            provoke: provocation(d, { point, service }, flip),
          }))
          for (let attempt = 0; left.length > 0 && attempt < ATTEMPTS; attempt += 1)
            left = await crashThrough(d, service, left)
        }
      }),
    )
    going = false
    await load
    await d.system.vendor.clearFaults()
    await Promise.all([
      d.system.gates.set('CALENDAR_SYNC_ENABLED', true),
      d.system.gates.set('CALENDAR_WEBHOOK_ENABLED', true),
    ])
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const said = ledgers.logs.filter(({ raw }) => raw.startsWith('crash point met'))
      const seen = new Set(said.map(({ raw }) => /met: ([\w.-]+)/.exec(raw)?.[1]))
      return {
        criteria: {
          'CRASH.1': met(
            points.every((point) => seen.has(point)),
            `${seen.size} of ${points.length} points met, ${said.length} crashes`,
          ),
          'CRASH.2': holds('I1', 'I3', 'I4', 'I6', 'I7', 'I8', 'I9'),
          'CRASH.3': allOf(holds('I26'), met(true, `rest ${Math.round(recovered)} ms after the last one`)),
        },
        witnesses: [
          { name: 'crashes', need: 25, got: said.length },
          { name: 'failures recorded', need: 2, got: recordedFailures(ledgers.audit).length },
        ],
        numbers: { crashes: said.length },
      }
    }
  },
}

/** Points of one transaction between its first and its last: to Postgres they are one. */
const INSIDE: ReadonlySet<CrashPoint> = new Set([
  'sync.rows-written',
  'sync.outbox-written',
  'sync.place-saved',
])
/** Something else may end a process that is armed: a stop that does not pass its point. */
const ATTEMPTS = 4

/** The points of a service are shared out among its processes. */
function pointsOf(
  d: DrillRun,
  service: ServiceProcess,
  points: readonly CrashPoint[],
): readonly CrashPoint[] {
  const all = d.system.of(service.service)
  return points
    .filter((point) => point.startsWith(`${service.service}.`))
    .filter((_point, index) => index % all.length === all.indexOf(service))
}

/** What makes a process pass a point, where load alone does not. */
function provocation(
  d: DrillRun,
  { point, service }: { readonly point: CrashPoint; readonly service: ServiceProcess },
  flip: () => Promise<void>,
): () => Promise<void> {
  const { vendor } = d.system
  const some = () =>
    pick(
      d.random,
      d.system.accounts.filter((account) => account.vendor === 'google'),
    )
  switch (point as string) {
    case 'sync.sweep-before-commit':
    case 'sync.sweep-committed':
      // Every first read ends in a sweep.
      return every(4_000, async () => void (await d.system.connect(1, { eventsPerCalendar: 5 })))
    case 'sync.read-restarted':
      return every(5_000, async () => {
        const [fresh] = await d.system.connect(1, { eventsPerCalendar: 5 })
        await d.lasting(2_500)
        await vendor.admin('POST', '/admin/cursors/expire', { accountId: fresh?.accountId })
        await d.load(5, 1_000, [fresh?.accountId ?? ''])
      })
    case 'sync.failure-before-commit':
    case 'sync.failure-committed':
    case 'retry.taken-in':
    case 'retry.before-ring':
    case 'retry.rung':
      // One failure at a time: more would make every connection back off.
      return every(3_000, async () => {
        await vendor.clearFaults()
        const { accountId } = some()
        await vendor.fault({ match: { path: LISTING, accountId }, respond: { status: 500 }, times: 1 })
      })
    case 'sync.held':
    case 'ingress.held':
    case 'scheduler.held-rung':
      return flip
    case 'sync.handed-over':
      return () => stopBetweenPages(d, service)
    case 'sync.buried':
      return () =>
        producePoison(d, [
          { topic: TOPICS.requestedGoogle, key: randomUUID(), value: Buffer.from('not avro') },
        ])
    case 'scheduler.sweep-rung':
      // As a retry record that got lost would leave it.
      return async () =>
        void (await d.system.ask(
          `update external_calendar_connections set sync_needed = true, backoff_until = calstream_now() - interval '2 minutes',
                  rung_at = null where id = $1`,
          [some().connectionId],
        ))
    case 'scheduler.reconcile-rung':
      return async () =>
        void (await d.system.ask(
          'update external_calendar_connections set reconcile_at = calstream_now() where id = $1',
          [some().connectionId],
        ))
    default:
      return async () => {}
  }
}

/** A stop makes a unit that has pages left hand over; the crash comes on the way out. */
async function stopBetweenPages(d: DrillRun, service: ServiceProcess): Promise<void> {
  const { starts } = service
  const { vendor } = d.system
  await vendor.admin('POST', '/admin/paging', { pageSizeMax: 2 })
  await vendor.admin('POST', '/admin/latency', { ms: 700 })
  // First reads of several pages, some of them by this process.
  await d.system.connect(4, { eventsPerCalendar: 12 })
  await d.lasting(1_500)
  if (service.starts === starts && (await isReady(service))) process.kill(service.pid, 'SIGTERM')
  // The next one to be stopped would be its successor.
  for (let n = 0; n < 60 && service.starts === starts && !d.signal.aborted; n += 1) await d.lasting(250)
  await vendor.admin('POST', '/admin/latency', { ms: 20 })
  await vendor.admin('POST', '/admin/paging', { pageSizeMax: 2_500 })
}

/** Acts at most this often; calls in between do nothing. */
function every(ms: number, act: () => Promise<void>): () => Promise<void> {
  let next = 0
  return async () => {
    if (Date.now() < next) return
    next = Date.now() + ms
    await act()
  }
}

/** Callers share one run of a thing at a time. */
function serialised(act: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null
  return () => (running ??= act().finally(() => (running = null)))
}

const everythingAtOnce: Drill = {
  id: 'ALL-AT-ONCE',
  title: 'kill -9 of every process at once; a crash loop of sync',
  report: 'processes',
  criteria: {
    'ALL.1': 'Restart from anything, in any order, without a manual step',
    'ALL.2': 'A process that dies again and again still makes progress',
    'ALL.3': 'Nothing lost, doubled or torn',
  },
  faults: ['P7', 'P8'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 12 : 60, eventsPerCalendar: 30, latencyMs: 40 }),
  invariants: CRASH_INVARIANTS,
  wallMs: 900_000,
  recoverWithinMs: 120_000,
  limits:
    'A process that dies more often than a Kafka session lasts (8 s) makes no progress: the broker waits for its predecessor.',
  async run(d) {
    const rounds = d.profile === 'ci' ? 3 : 20
    let going = true
    const load = (async () => {
      while (going && !d.signal.aborted) await d.load(40, 3_000)
    })()
    for (let round = 0; round < rounds && !d.signal.aborted; round += 1) {
      await d.lasting(between(d.random, 500, 3_000))
      await killAllAndAwait(d, 'P7', d.system.services)
    }
    const before = await progressOf(d)
    const until = Date.now() + (d.profile === 'ci' ? 22_000 : 90_000)
    const sync = d.system.one('sync')
    let loops = 0
    while (Date.now() < until && !d.signal.aborted) {
      await d.until('sync runs', () => sync.running && isReady(sync), 30_000)
      // A dead member keeps its partitions for a session of 8 s; one that always dies sooner never gets any.
      await d.lasting(between(d.random, 9_500, 11_500))
      await d.strike({ fault: 'P8', action: 'crash loop', target: sync.instance }, () => sync.kill())
      loops += 1
    }
    const after = await progressOf(d)
    going = false
    await load
    const recovered = await d.converged(120_000)
    return ({ holds }) => ({
      criteria: {
        'ALL.1': allOf(
          holds('I26'),
          met(true, `${rounds} times everything, rest ${Math.round(recovered)} ms`),
        ),
        'ALL.2': met(after > before, `${after - before} rows were written during ${loops} deaths in a row`),
        'ALL.3': holds('I1', 'I3', 'I4', 'I6', 'I7', 'I8', 'I15'),
      },
      witnesses: [{ name: 'deaths', need: rounds * 5 + 2, got: rounds * d.system.services.length + loops }],
      numbers: { kills: rounds * d.system.services.length + loops, recoveryMs: Math.round(recovered) },
    })
  },
}

async function progressOf({ system }: DrillRun): Promise<number> {
  const rows = await system.ask<{ n: number }>(
    "select count(*)::int as n from drill_audit.entries where table_name = 'external_calendar_events'",
  )
  return rows[0]?.n ?? 0
}

export const KILLS: readonly Drill[] = [randomKills, crashPoints, everythingAtOnce]
