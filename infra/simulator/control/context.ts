// What a route of the admin API takes.
import type { Call } from '../http.ts'
import type { SimulatorClock } from '../clock/clock.ts'
import type { Push } from '../google/push.ts'
import type { Notices } from '../microsoft/notices.ts'
import type { Random } from '../random.ts'
import type { ScenarioRunner } from '../scenario/runner.ts'
import type { Change } from '../world/commit.ts'
import type { World } from '../world/world.ts'
import type { Faults } from './faults.ts'
import type { Knobs } from './knobs.ts'
import type { Ledger } from './ledger.ts'
import type { LoadGenerator } from './load.ts'
import type { RequestLog } from './request-log.ts'

export interface AdminDeps {
  readonly world: World
  readonly clock: SimulatorClock
  readonly push: Push
  readonly notices: Notices
  readonly knobs: Knobs
  readonly faults: Faults
  readonly load: LoadGenerator
  readonly requests: RequestLog
  readonly changes: Ledger<Change>
  readonly seed: string
  readonly random: Random
  readonly googleUrl: () => string
  readonly reset: () => void
  readonly scenario: () => ScenarioRunner
}

export interface AdminContext {
  readonly deps: AdminDeps
  readonly call: Omit<Call, 'raw'>
}
