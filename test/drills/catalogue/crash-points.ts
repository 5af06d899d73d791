// Every named crash point is met once. The process dies there, between two ordered steps.
import { randomUUID } from 'node:crypto'
import { STEPS, type Step } from '#shared/process/step.ts'
import { TOPICS } from '#schemas/topics.ts'
import { recordedFailures } from '../checkers/failures.ts'
import { criterion, met, noted } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { producePoison } from '../faults/kafka.ts'
import { crashThrough, isReady, type Crash } from '../faults/processes.ts'
import { metricsOf } from '../ledgers/observe.ts'
import type { ConnectedAccount } from '../environment/accounts.ts'
import type { ServiceProcess } from '../environment/launch.ts'
import { PARTITIONS } from '../environment/system.ts'
import { LISTING } from '../faults/vendors.ts'
import { pick } from '../random.ts'
import { askForSync, reconcileNow } from './asking.ts'
import { CRASH_INVARIANTS } from './kills.ts'

const crashPoints: Drill = {
  id: 'CRASH',
  title: 'Crash at every named point, between the steps whose order matters',
  report: 'processes',
  criteria: {
    'CRASH.1': criterion`Each point was met and the process died there`,
    'CRASH.2': criterion`No partial state, no cursor ahead, nothing lost or doubled after any of them`,
    'CRASH.3': criterion`Restart from anything: no manual step`,
  },
  faults: ['P4', 'K12'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 10 : 40,
    eventsPerCalendar: 15,
    latencyMs: 20,
    // Who dies keeps its partitions for a session of 8 s: four die in one.
    processes: { sync: 4 },
  }),
  invariants: CRASH_INVARIANTS,
  wallMs: 1_800_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const rounds = d.profile === 'ci' ? 1 : 10
    const points = STEPS.filter((point) => d.profile === 'full' || !INSIDE.has(point))
    let going = true
    const load = (async () => {
      while (going && !d.signal.aborted) await d.load(15, 4_000)
    })()
    // Gates are flipped by one hand at a time.
    const flip = serialised(async () => {
      await slowFirstReads(d)
      // Who was connected just now is rung when both lists let it in, after two seconds at most.
      await d.lasting(2_500)
      await d.system.gates.set('CALENDAR_WEBHOOK_ENABLED', false)
      await d.system.gates.set('CALENDAR_SYNC_ENABLED', false)
      await d.lasting(2_000)
      await d.system.gates.set('CALENDAR_SYNC_ENABLED', true)
      await d.system.gates.set('CALENDAR_WEBHOOK_ENABLED', true)
      await quickReads(d)
      await d.lasting(2_500)
    })
    let expired = 0
    // Each calendar once: one whose cursor expires twice within ten minutes rests on purpose.
    const expire = async (): Promise<void> => {
      await d.system.connect(TOUCHED, { eventsPerCalendar: 5 })
      const next = d.system.accounts.slice(expired, expired + TOUCHED)
      expired += next.length
      for (const { accountId, providerId } of next) {
        await d.system.vendor.admin('POST', '/admin/cursors/expire', { accountId })
        await askForSync(d, providerId, 'sync API that meets an expired cursor')
      }
    }
    await Promise.all(
      d.system.services.map(async (service) => {
        const own = pointsOf(d, service, points)
        for (let round = 0; round < rounds && !d.signal.aborted; round += 1) {
          let left: readonly Crash[] = own.map((point) => ({
            point,
            provoke: provocation(d, { point, service }, { flip, expire }),
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
          'CRASH.3': noted(holds('I26'), `rest ${Math.round(recovered)} ms after the last one`),
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
const INSIDE: ReadonlySet<Step> = new Set(['sync.rows-written', 'sync.outbox-written', 'sync.place-saved'])
/** Accounts touched at once: about one per sync process. With many, all of them would back off. */
const TOUCHED = 4
/** Something else may end a process that is armed: a stop that does not pass its point. */
const ATTEMPTS = 4

/** The points of a service are shared out among its processes. */
function pointsOf(d: DrillRun, service: ServiceProcess, points: readonly Step[]): readonly Step[] {
  const all = d.system.of(service.service)
  return points
    .filter((point) => point.startsWith(`${service.service}.`))
    .filter((_point, index) => index % all.length === all.indexOf(service))
}

/** What makes a process pass a point, where load alone does not. */
function provocation(
  d: DrillRun,
  { point, service }: { readonly point: Step; readonly service: ServiceProcess },
  { flip, expire }: { readonly flip: () => Promise<void>; readonly expire: () => Promise<void> },
): () => Promise<void> {
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
      return every(5_000, expire)
    case 'sync.failure-before-commit':
    case 'sync.failure-committed':
    case 'retry.taken-in':
    case 'retry.before-ring':
    case 'retry.rung':
      return every(3_000, () => failSome(d, Array.from({ length: TOUCHED }, some)))
    case 'sync.held':
    case 'ingress.held':
    case 'scheduler.held-rung':
      return flip
    case 'sync.handed-over':
      return () => stopBetweenPages(d, service)
    case 'sync.buried':
      // Whichever partitions it holds.
      return every(1_000, () =>
        producePoison(
          d,
          [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft].flatMap((topic) =>
            Array.from({ length: PARTITIONS }, (_, partition) => ({
              topic,
              partition,
              key: randomUUID(),
              value: Buffer.from('not avro'),
            })),
          ),
        ),
      )
    case 'scheduler.sweep-rung':
      // As a retry record that got lost would leave it.
      return async () =>
        void (await d.system.ask(
          `update external_calendar_connections set sync_needed = true, backoff_until = calstream_now() - interval '2 minutes',
                  rung_at = null where id = $1`,
          [some().connectionId],
        ))
    case 'scheduler.reconcile-rung':
      return () => reconcileNow(d, [some()])
    case 'scheduler.repair-before-commit':
      // As `calstream repair sync-now --connection <id>` leaves it.
      return async () =>
        void (await d.system.ask(
          `insert into repairs (kind, filter, asked_by, rate_per_s, total)
           select 'sync_now', jsonb_build_object('connection', $1::text), 'drill', 5, 1
            where not exists (select from repairs where state = 'running')`,
          [some().connectionId],
        ))
    default:
      return async () => {}
  }
}

/** A unit of each of these fails once. Not left to the load: fifty accounts share it. */
async function failSome(d: DrillRun, accounts: readonly ConnectedAccount[]): Promise<void> {
  const { vendor } = d.system
  await vendor.clearFaults()
  for (const { accountId, providerId } of accounts) {
    await vendor.fault({ match: { path: LISTING, accountId }, respond: { status: 500 }, times: 1 })
    await askForSync(d, providerId, 'sync API that meets a failure')
  }
}

/** A stop makes a unit that has pages left hand over; the crash comes on the way out. */
async function stopBetweenPages(d: DrillRun, service: ServiceProcess): Promise<void> {
  const { starts } = service
  await slowFirstReads(d)
  // A process that came back has no partitions before the session of its predecessor is over.
  const before = await pagesOf(service)
  for (let n = 0; n < 80 && (await pagesOf(service)) < before + 3 && !d.signal.aborted; n += 1)
    await d.lasting(250)
  if (service.starts === starts && (await isReady(service))) process.kill(service.pid, 'SIGTERM')
  // The next one to be stopped would be its successor.
  for (let n = 0; n < 60 && service.starts === starts && !d.signal.aborted; n += 1) await d.lasting(250)
  await quickReads(d)
}

/** Units of several pages, four seconds each, some of them in every process. */
async function slowFirstReads(d: DrillRun): Promise<void> {
  const { vendor } = d.system
  await vendor.admin('POST', '/admin/paging', { pageSizeMax: 2 })
  await vendor.admin('POST', '/admin/latency', { ms: 700 })
  await d.system.connect(4, { eventsPerCalendar: 12 })
}

async function quickReads(d: DrillRun): Promise<void> {
  const { vendor } = d.system
  await vendor.admin('POST', '/admin/latency', { ms: 20 })
  await vendor.admin('POST', '/admin/paging', { pageSizeMax: 2_500 })
}

/** How many pages the process that runs now has persisted; 0 when it does not answer. */
async function pagesOf({ adminUrl }: ServiceProcess): Promise<number> {
  const values = await metricsOf(adminUrl).catch(() => new Map<string, number>())
  return [...values]
    .filter(([name]) => name.startsWith('calendar_sync_pages_total'))
    .reduce((sum, [, value]) => sum + value, 0)
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

export const CRASHES: readonly Drill[] = [crashPoints]
