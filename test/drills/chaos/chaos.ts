// Chaos and soak: a seeded nemesis combines two or three faults of different groups under load, for
// a given time. The invariants are the judge. Chaos kills processes too. A soak lets them live:
// what they hold says whether anything leaks.
import { recordedFailures } from '../checkers/failures.ts'
import { repeatedMessages } from '../checkers/stream.ts'
import { reconcileNow } from '../catalogue/asking.ts'
import type { InvariantId } from '../checkers/check.ts'
import { allOf, criterion, each, met, noted, type Finding } from '../criterion.ts'
import type { Drill, DrillRun, Frozen, Judge } from '../drill.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'
import { chaosSchedule, NEMESIS_GROUPS, type NemesisAction, type NemesisGroup } from './schedule.ts'
import { liveMemory } from '../ledgers/live-memory.ts'
import { LEFT_MORE, LIVE_MORE, residentSlope, REST_MS, soakGrowth, type Rest } from './slopes.ts'
import { strikeOne } from './strikes.ts'

const MINUTE_MS = 60_000
/** What a unit sees as a failure of its vendor. */
const RECORDED: ReadonlySet<NemesisAction> = new Set(['vendor-503', 'vendor-429', 'vendor-reset'])
const JUDGES = ['I1', 'I2', 'I3', 'I4', 'I5', 'I6', 'I7', 'I8', 'I9', 'I15', 'I16'] as const
const INVARIANTS: readonly InvariantId[] = ['I13', 'I15', 'I16']
/** Nothing dies in a soak, so nothing restarts. */
const RESTARTS: InvariantId = 'I26'
/**
 * Pools and vendor connections close what is idle for this long. After 30 s a quarter of the vendor
 * connections was still there.
 */
const IDLE_MS = 75_000
const RECOVER_WITHIN_MS = 180_000
const USUAL_SYSTEM = { eventsPerCalendar: 20, latencyMs: 20, processes: { sync: 2, relay: 2 } } as const
const LIMITS = 'One broker, stopped in order or cut off, never killed.'
const OUTSIDE = ['D1', 'D3', 'D5', 'K1', 'N1', 'N2', 'N7', 'A1', 'A2', 'A3', 'F1']

/** Everything at once, for this long. */
export function chaosDrill(minutes: number): Drill {
  return {
    id: 'CHAOS',
    title: `Chaos: two or three faults at once, ${minutes} minutes`,
    report: 'chaos',
    criteria: {
      'CHAOS.1': criterion`All invariants hold under combined faults`,
      'CHAOS.2': criterion`Every fault was carried out as its schedule says`,
      'CHAOS.3': criterion`Memory, descriptors and sessions stay under their caps, backlogs drain`,
    },
    faults: ['P1', 'P2', 'P3', 'P5', 'P7', ...OUTSIDE],
    profiles: ['ci', 'full'],
    system: (profile) => ({
      connections: profile === 'full' ? 60 : 20,
      microsoft: profile === 'full' ? 20 : 6,
      ...USUAL_SYSTEM,
    }),
    invariants: [...INVARIANTS, RESTARTS],
    wallMs: (minutes + 10) * MINUTE_MS,
    recoverWithinMs: RECOVER_WITHIN_MS,
    flags: ` --minutes ${minutes}`,
    limits: `${LIMITS} Processes die too young for slopes of their memory: see SOAK.`,
    async run(d) {
      const campaign = await underFaults(d, minutes * MINUTE_MS, NEMESIS_GROUPS)
      return (frozen) => {
        const kills = endsOf(frozen.ledgers)
        return {
          criteria: {
            'CHAOS.1': allOf(frozen.holds(RESTARTS), campaign.held(frozen)),
            'CHAOS.2': campaign.carriedOut,
            'CHAOS.3': frozen.holds('I20'),
          },
          witnesses: [
            ...campaign.witnesses(frozen.ledgers),
            { name: 'kills', need: minutes * 4, got: kills },
          ],
          numbers: { ...campaign.numbers(frozen.ledgers), kills },
        }
      }
    },
  }
}

/** Everything around the processes breaks again and again, for this long; they themselves live. */
export function soakDrill(minutes: number): Drill {
  return {
    id: 'SOAK',
    title: `Soak: faults around processes that live, ${minutes} minutes`,
    report: 'chaos',
    criteria: {
      'SOAK.1': criterion`All invariants hold`,
      'SOAK.2': criterion`Every fault was carried out as its schedule says`,
      'SOAK.3': criterion`Nothing leaks: at rest a process has ${LIVE_MORE} of live memory more than before, and of descriptors, sessions and backlogs are ${LEFT_MORE} more there than before`,
      'SOAK.4': criterion`No process ends by itself, whatever breaks around it`,
    },
    faults: OUTSIDE,
    profiles: ['full'],
    system: () => ({ connections: 40, microsoft: 14, ...USUAL_SYSTEM }),
    invariants: INVARIANTS,
    wallMs: (minutes + 10) * MINUTE_MS,
    recoverWithinMs: RECOVER_WITHIN_MS,
    flags: ` --minutes ${minutes}`,
    limits: `${LIMITS} A leak of less than ${LIVE_MORE.limit} MB in ${minutes} minutes is not seen.`,
    async run(d) {
      const groups = NEMESIS_GROUPS.filter((group) => group !== 'process')
      const before = await atRest(d)
      const campaign = await underFaults(d, minutes * MINUTE_MS, groups)
      const after = await atRest(d)
      return (frozen) => {
        const { ledgers } = frozen
        // The nearest to its limit first: a long list is cut in reports.
        const growth = soakGrowth(ledgers, before, after).toSorted(
          (a, b) => b.grown / b.bound.limit - a.grown / a.bound.limit,
        )
        const ends = endsOf(ledgers)
        return {
          criteria: {
            'SOAK.1': campaign.held(frozen),
            'SOAK.2': campaign.carriedOut,
            'SOAK.3': allOf(
              frozen.holds('I20'),
              each(growth, ({ name, grown, bound }) => bound.judge(grown, `${name} +${grown.toFixed(1)}`)),
            ),
            'SOAK.4': met(ends === 0, `${ends} processes ended`),
          },
          witnesses: [
            ...campaign.witnesses(ledgers),
            // Two of each process that has lived throughout, and two of the database.
            { name: 'figures of growth', need: d.system.services.length * 2 + 2, got: growth.length },
          ],
          numbers: {
            ...campaign.numbers(ledgers),
            liveMbBefore: liveOf(before),
            liveMbAfter: liveOf(after),
            residentMbPerHour: Math.round(residentSlope(ledgers)),
          },
        }
      }
    },
  }
}

/**
 * Waits, asking nothing of the system, until its pools are empty. Then each figure is read over the
 * time that it needs.
 */
async function atRest(d: DrillRun): Promise<Rest> {
  await d.lasting(IDLE_MS)
  const live = await liveMemory(d.system)
  // The inspectors of all processes are open from here on: they have descriptors too.
  await d.lasting(REST_MS)
  return { at: Date.now(), live }
}

function liveOf({ live }: Pick<Rest, 'live'>): number {
  return Math.round(live.reduce((sum, { mb }) => sum + mb, 0))
}

interface Campaign {
  held(frozen: Frozen): Finding
  readonly carriedOut: Finding
  witnesses(ledgers: Ledgers): ReturnType<Judge>['witnesses']
  numbers(ledgers: Ledgers): Readonly<Record<string, number>>
}

/** Load and the faults of a schedule for this long, until the tables equal the vendor again. */
async function underFaults(
  d: DrillRun,
  durationMs: number,
  groups: readonly NemesisGroup[],
): Promise<Campaign> {
  const schedule = chaosSchedule(d.seed, durationMs, groups)
  await d.system.vendor.admin('POST', '/admin/notifications', {
    retryOnConnectionError: true,
    retryAttemptsMax: 12,
  })
  const rate = d.profile === 'full' ? 30 : 25
  const load = d.load(rate, durationMs)
  const began = performance.now()
  const under: Promise<void>[] = []
  const troubles: string[] = []
  let done = 0
  for (const [index, fault] of schedule.entries()) {
    if (d.signal.aborted) break
    await d.lasting(Math.max(0, fault.at - (performance.now() - began)))
    under.push(
      strikeOne(d, fault).then(
        () => void (done += 1),
        (error: unknown) => void troubles.push(`${fault.action}: ${String(error)}`),
      ),
    )
    if (index % 20 === 19)
      d.say(`${done} of ${schedule.length} faults, ${Math.round((performance.now() - began) / 1000)} s`)
  }
  await Promise.all(under)
  const changes = await load
  await d.system.vendor.clearFaults()
  await reconcileNow(d)
  const recovered = await d.converged(RECOVER_WITHIN_MS)
  // A short run may draw no fault that a unit could record.
  const recorded = schedule.filter(({ action }) => RECORDED.has(action)).length > 2 ? 1 : 0
  return {
    held: ({ ledgers, holds }) =>
      noted(holds(...JUDGES), `rest ${Math.round(recovered)} ms; ${repeatedMessages(ledgers)} repeats`),
    carriedOut: met(
      troubles.length === 0,
      `${done} of ${schedule.length} faults${troubles[0] ? `; ${troubles[0]}` : ''}`,
    ),
    witnesses: ({ audit }) => [
      { name: 'faults', need: Math.floor(durationMs / 6_000), got: done },
      { name: 'changes', need: Math.floor((durationMs / 1_000) * rate * 0.8), got: changes },
      { name: 'failures recorded', need: recorded, got: recordedFailures(audit).length },
    ],
    numbers: (ledgers) => ({
      faults: done,
      changes,
      postgresRestarts: actsOf(ledgers, /postgres (?:stop|kill)/),
      brokerOutages: actsOf(ledgers, /kafka/),
      recoveryMs: Math.round(recovered),
    }),
  }
}

function endsOf({ processes }: Ledgers): number {
  return processes.filter(({ event }) => event === 'ended').length
}

function actsOf({ nemesis }: Ledgers, action: RegExp): number {
  return nemesis.filter((entry) => action.test(entry.action)).length
}
