// What `calstream status` and `doctor` say of the canaries. Pure.
import { type CanaryLeg, deadLegs } from '#shared/domain/canary.ts'
import type { Canary } from '#shared/store/canaries.ts'
import { ago } from './words.ts'

/** What is broken where a leg is dead, and what to do. */
const LEGS: Readonly<Record<CanaryLeg, readonly [found: string, remedy: string]>> = {
  vendor: [
    'the vendor does not take its change',
    'look at the status page of the vendor; give the canary a grant that may write events',
  ],
  push: [
    'the vendor does not ring for its changes, so every calendar of the vendor is late by minutes',
    'look whether PUBLIC_URL leads to the ingress (calstream doctor), and at the channels: calstream connections show <id>',
  ],
  sync: [
    'its change is not read, although a sync was asked for',
    'look at the sync service and at Kafka; calstream connections show <id> says what keeps it',
  ],
  relay: [
    'its change is stored and not published',
    'look at the relay and at Kafka: readers of the topics are late',
  ],
}

export interface CanaryFinding {
  readonly what: string
  readonly found: string
  readonly do: string
}

/** What is not well about the canaries. */
export function canaryFindings(canaries: readonly Canary[]): readonly CanaryFinding[] {
  return canaries.flatMap((canary) =>
    deadLegs(canary, canary.now).map(({ leg, since }) => {
      const [found, remedy] = LEGS[leg]
      const why = leg === 'vendor' && canary.refusal !== null ? ` (${canary.refusal.replace(/\.$/, '')})` : ''
      return {
        what: `canary of ${canary.vendor}`,
        found: `${found}${why}, since ${ago(since, canary.now)}`,
        do: remedy.replace('<id>', canary.connectionId),
      }
    }),
  )
}

/** What is well about them, in one line. */
export function canaryWords(canaries: readonly Canary[]): string {
  if (canaries.length === 0) return 'none; calstream canary add <connection> makes one'
  return canaries.map((canary) => `${canary.vendor}: ${lastWords(canary)}`).join('; ')
}

function lastWords({ lastArrivedBeatAt, begunAt, now }: Canary): string {
  if (begunAt === null) return 'not let in by the gates, so not changed'
  return lastArrivedBeatAt === null
    ? 'no change came back yet'
    : `changed ${ago(lastArrivedBeatAt, now)} and came back`
}
