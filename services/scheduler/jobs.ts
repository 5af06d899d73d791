// Jobs under leases: several schedulers may run, each job is done by the one that holds its lease,
// at its beat. Invariant: a failed run is due again at once, for any scheduler.
import { Failure } from '#shared/domain/failure.ts'
import type { Micros } from '#shared/domain/ids.ts'
import type { InstanceFacts, JobRun } from '#shared/domain/service-instances.ts'
import { startLoop, type Loop } from '#shared/process/loop.ts'
import { metrics } from '#shared/process/metrics.ts'
import { claimJob, releaseJob } from '#shared/store/leases.ts'
import type { JobDeps } from './deps.ts'

export interface Job {
  readonly name: string
  readonly everyMs: number
  /** One run; idempotent, since a lease may end under it. @returns how many things it did. */
  readonly runOnce: (signal: AbortSignal) => Promise<number>
}

/** A dead scheduler's jobs are done by another after this and a look. A run is usually shorter. */
const LEASE_MS = 15_000
const LOOK_MAX_MS = 2000

export interface RunningJob extends Loop {
  /** null while another scheduler holds the lease. */
  run(): JobRun | null
}

/** Starts the loop of a job. Disposing gives the lease back. */
export function startJob({ db, codec, logger, clock }: JobDeps, owner: string, job: Job): RunningJob {
  const lookMs = Math.min(LOOK_MAX_MS, job.everyMs)
  let isOurs = false
  let lastRunAt: Micros | null = null

  async function look(signal: AbortSignal): Promise<number> {
    // Without the ids of our schemas no message could be written. A run would fail at its end,
    // after it has called a vendor, and be due again at once.
    const problem = codec.problem()
    if (problem !== null) throw new Failure('registry/unavailable', problem)
    // A tenth less than the beat: the look itself comes a little late each time.
    const claim = await claimJob(db, { job: job.name, owner, leaseMs: LEASE_MS, everyMs: job.everyMs * 0.9 })
    isOurs = claim !== 'other'
    if (claim !== 'run') return lookMs
    try {
      const done = await job.runOnce(signal)
      lastRunAt = clock.now()
      if (done > 0) logger.debug({ job: job.name, done }, 'a job ran')
      metrics.schedulerRuns.add(1, { job: job.name, outcome: 'done' })
    } catch (error) {
      metrics.schedulerRuns.add(1, { job: job.name, outcome: 'failed' })
      await releaseJob(db, job.name, owner, false)
      throw error
    }
    return lookMs
  }

  const loop = startLoop(`the job ${job.name}`, look, logger)
  return {
    problem: () => loop.problem(),
    run: () => (isOurs ? { name: job.name, lastRunAt, problem: loop.problem() } : null),
    async [Symbol.asyncDispose]() {
      await loop[Symbol.asyncDispose]()
      await releaseJob(db, job.name, owner, true).catch((error: unknown) => {
        logger.debug({ err: error, job: job.name }, 'a job could not be given back; its lease runs out')
      })
    },
  }
}

/** What the heartbeat tells of the jobs that this scheduler does. */
export function jobFacts(jobs: readonly RunningJob[]): Pick<InstanceFacts, 'jobs' | 'lastProgressAt'> {
  const runs = jobs.flatMap((job) => job.run() ?? [])
  const times = runs.flatMap(({ lastRunAt }) => lastRunAt ?? [])
  return { jobs: runs, lastProgressAt: times.length === 0 ? null : Math.max(...times) }
}
