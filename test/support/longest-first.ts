// In which order test files begin: the longest first. A file that lasts minutes must not begin
// when all others are done. What is not listed here lasts less than the least of these; vitest's
// own order holds among those.
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Seconds that a file lasts on a machine with little else to do. Only their order counts. */
export const SECONDS: Readonly<Record<string, number>> = {
  'integration/whole/thirty-days': 350,
  'integration/kafka/kafka-flapping': 150,
  'integration/whole/outages': 118,
  'integration/kafka/kafka-outage': 117,
  'drills/first-hour': 116,
  'drills/smoke': 114,
  'integration/relay/relay-outage': 110,
  'integration/stack/secured': 100,
  'integration/stack/local-stack': 55,
  'integration/whole/replays': 80,
  'integration/sync/sync-processes': 77,
  'integration/cli/cli-status': 75,
  'integration/scheduler/scheduler-canary': 90,
  'integration/cli/after-restore': 70,
  'integration/scheduler/scheduler-processes': 60,
  'integration/whole/repairs': 58,
  'field/removals': 55,
  'integration/console/console': 60,
  'integration/kafka/kafka-identity': 55,
  'integration/scheduler/scheduler-days': 53,
  'integration/gates/flags': 51,
  'field/google-troubles': 46,
  'integration/stack/image': 80,
  'field/microsoft-troubles': 45,
  'field/subscriptions': 44,
  'integration/retry/retry': 43,
  'field/ill-calendars': 42,
  'integration/seeds': 40,
  'integration/whole/refusals': 35,
  'integration/ingress/ingress-lifecycle': 35,
  'integration/whole/secrets-canary': 33,
  'integration/retry/retry-restart': 32,
  'integration/relay/relay': 32,
  'integration/scheduler/scheduler-observe': 32,
  'integration/scheduler/scheduler-graph': 31,
  'integration/kafka/kafka-consume': 29,
  'integration/kafka/kafka-topic-lost': 28,
  'integration/sync/idempotency': 27,
  'integration/store/migrate': 26,
  'integration/cli/dead-letters': 25,
  'integration/scheduler/scheduler': 25,
  'integration/scheduler/scheduler-channels': 25,
  'integration/sync/microsoft': 24,
  'integration/sync/sync-service': 22,
  'integration/ingress/ingress-processes': 22,
  'integration/relay/relay-open-transaction': 22,
  'integration/scheduler/scheduler-erasure': 19,
  'unit/shared/gates/flags': 18,
  'unit/ingress/server-sockets': 18,
  'integration/kafka/kafka-takeover': 18,
  'integration/ingress/busy-oracle': 17,
  'integration/whole/poison': 17,
  'unit/shared/process/run': 17,
  'contract/microsoft': 15,
  'integration/ingress/ingress-oauth-processes': 15,
}

/** For `sequence.sequencer` of vitest. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const others = await super.sort(files)
    return others.toSorted((a, b) => secondsOf(b.moduleId) - secondsOf(a.moduleId))
  }
}

function secondsOf(file: string): number {
  return SECONDS[/\/test\/(.+)\.test\.ts$/.exec(file)?.[1] ?? ''] ?? 0
}
