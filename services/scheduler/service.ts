// The scheduler's wiring: leased jobs by time, and the reader of the dead-letter topic.
import { Opening, openService, type Overrides } from '#shared/boot/open-service.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import { leaseOwner } from '#shared/process/identity.ts'
import { firstProblem } from '#shared/process/loop.ts'
import { reportCanaries } from './canary.ts'
import { openConnectionChannels } from './channels/maintain.ts'
import type { SchedulerConfig } from './config.ts'
import { openDeadLetterIndex } from './dead-letter-index.ts'
import { openJobDeps } from './deps.ts'
import { jobsOf, OBSERVE } from './job-list.ts'
import { jobFacts, startJob } from './jobs.ts'

const REPORT_EVERY_MS = 5_000

interface SchedulerOverrides extends Overrides {
  /** `runJobs` alone runs jobs. For tests that move the clock. */
  readonly onDemand?: boolean
}

export interface Scheduler extends AsyncDisposable {
  readonly adminPort: number
  /** Settles when its consumer died for good. */
  readonly crashed: Promise<unknown>
  /**
   * Runs every job once, one after the other, without a lease: each does what is due.
   * @returns how many things were done. Throws the first Failure.
   */
  runJobs(): Promise<number>
}

/** Starts a scheduler. Throws ConfigError or Failure. */
export async function startScheduler(
  config: SchedulerConfig,
  signal: AbortSignal,
  overrides: SchedulerOverrides = {},
): Promise<Scheduler> {
  await using service = openService('scheduler', config, signal)
  const deps = await openJobDeps(service, overrides)
  const index = service.use(openDeadLetterIndex(service.consumer, deps))
  const jobs = jobsOf(deps, service.kafka)
  const owner = leaseOwner()
  const loops = overrides.onDemand ? [] : jobs.map((job) => startJob(deps, owner, job))
  // Side by side: with Postgres away each would wait for it.
  service.defer(async () => void (await Promise.all(loops.map((loop) => loop[Symbol.asyncDispose]()))))
  service.loop("the canaries' report", async () => {
    await reportCanaries(deps.db)
    return REPORT_EVERY_MS
  })
  const checks = { ...service.checks, jobs: async () => firstProblem(loops) }
  const adminPort = await service.admin(checks, () => ({
    ...index.facts(),
    ...jobFacts(loops),
    breakers: deps.mailboxes.openBreakers(),
  }))
  return service.running({
    adminPort,
    crashed: index.crashed,
    async runJobs() {
      let done = 0
      for (const job of jobs) if (job.name !== OBSERVE) done += await job.runOnce(signal)
      return done
    },
  })
}

/**
 * Opens the channels of one connection now, for a command that has just connected it.
 * @returns how many were opened; 0 while a gate is closed. What is missing afterwards the job
 * opens. Throws ConfigError or Failure.
 */
export async function openChannelsFor(
  config: SchedulerConfig,
  connection: ConnectionId,
  signal: AbortSignal,
): Promise<number> {
  await using parts = new Opening('scheduler', config, signal, 'warn')
  const deps = await openJobDeps(parts, {})
  return openConnectionChannels(deps, connection, signal)
}
