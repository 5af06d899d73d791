// What a chaos run does and when, drawn from a seed before anything starts. The same seed gives the
// same schedule, to the millisecond. Pure.
import { between, pick, seededRandom } from '../random.ts'

/** One round takes at most one fault of each group, so two faults of a round never cancel out. */
export const NEMESIS = {
  process: [
    'kill-sync',
    'kill-relay',
    'kill-ingress',
    'kill-retry',
    'kill-scheduler',
    'freeze-sync',
    'freeze-relay',
    'kill-all',
  ],
  database: [
    'restart-postgres',
    'kill-postgres',
    'terminate-sessions',
    'pause-postgres',
    'postgres-line-down',
  ],
  broker: ['restart-kafka', 'kafka-line-down', 'kafka-line-mute', 'kafka-reset'],
  vendor: [
    'vendor-503',
    'vendor-429',
    'vendor-reset',
    'vendor-slow',
    'notifications-lost',
    'notifications-doubled',
  ],
  switches: ['sync-off', 'jobs-off', 'webhooks-off'],
} as const
export type NemesisGroup = keyof typeof NEMESIS
export const NEMESIS_GROUPS = Object.keys(NEMESIS) as readonly NemesisGroup[]
export type NemesisAction = (typeof NEMESIS)[NemesisGroup][number]

export interface ScheduledFault {
  /** ms since the start of the run. */
  readonly at: number
  readonly action: NemesisAction
  /** How long it lasts, for those that last. */
  readonly forMs: number
  /** 0 ≤ x < 1: chooses the victim among those there are. */
  readonly victim: number
}

/**
 * Rounds of 2 or 3 faults of different groups, 6 to 12 s apart. The last tenth of the run stays
 * free of new ones.
 */
export function chaosSchedule(
  seed: number,
  durationMs: number,
  groups: readonly NemesisGroup[] = NEMESIS_GROUPS,
): readonly ScheduledFault[] {
  const random = seededRandom(`chaos/${seed}`)
  const faults: ScheduledFault[] = []
  let at = 2_000
  while (at < durationMs * 0.9) {
    const count = between(random, 2, 3)
    const chosen = new Set<NemesisGroup>()
    // Processes die most often: that is what a supervisor sees.
    chosen.add(random() < 0.85 && groups.includes('process') ? 'process' : pick(random, groups))
    while (chosen.size < count) chosen.add(pick(random, groups))
    for (const group of chosen)
      faults.push({
        at: at + between(random, 0, 1_500),
        action: pick<NemesisAction>(random, NEMESIS[group]),
        forMs: between(random, 800, 5_000),
        victim: random(),
      })
    at += between(random, 6_000, 12_000)
  }
  return faults.toSorted((a, b) => a.at - b.at)
}
