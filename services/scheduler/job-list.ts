// All jobs of the scheduler, with their beats.
import type { KafkaConfig } from '#shared/kafka/client.ts'
import { flyCanaries } from './canary.ts'
import { listCalendars } from './calendars/list.ts'
import { maintainChannels } from './channels/maintain.ts'
import { stopOrphans } from './channels/stop.ts'
import { eraseDisconnected } from './erase.ts'
import type { JobDeps } from './deps.ts'
import type { Job } from './jobs.ts'
import { observe } from './observe.ts'
import { probeParked } from './probe-parked.ts'
import { workRepairs } from './repairs/work.ts'
import { forgetOld } from './retention.ts'
import { poll } from './ringing/poll-unwatched.ts'
import { reconcile } from './ringing/reconcile.ts'
import { createRingRefused } from './ringing/ring-refused.ts'
import { sweep } from './ringing/sweep.ts'

/** The one job that changes nothing. */
export const OBSERVE = 'observe'

/**
 * In an order in which one run of all of them needs no second:
 * who ends comes first, then channels, then what rings.
 */
export function jobsOf(deps: JobDeps, kafka: KafkaConfig): readonly Job[] {
  const ringRefused = createRingRefused(deps)
  return [
    { name: 'channels', everyMs: 2000, runOnce: (signal) => maintainChannels(deps, signal) },
    { name: 'erasure', everyMs: 5000, runOnce: (signal) => eraseDisconnected(deps, signal) },
    { name: 'calendar-lists', everyMs: 5000, runOnce: (signal) => listCalendars(deps, signal) },
    { name: 'repairs', everyMs: 1000, runOnce: (signal) => workRepairs({ ...deps, kafka }, signal) },
    { name: 'probes', everyMs: 5000, runOnce: (signal) => probeParked(deps, signal) },
    { name: 'ring-held', everyMs: 2000, runOnce: (signal) => ringRefused(signal) },
    { name: 'reconcile', everyMs: 2000, runOnce: (signal) => reconcile(deps, signal) },
    { name: 'canaries', everyMs: 2000, runOnce: (signal) => flyCanaries(deps, signal) },
    { name: 'poll', everyMs: 2000, runOnce: (signal) => poll(deps, signal) },
    { name: 'sweep', everyMs: 30_000, runOnce: (signal) => sweep(deps, signal) },
    { name: 'orphans', everyMs: 30_000, runOnce: (signal) => stopOrphans(deps, signal) },
    { name: OBSERVE, everyMs: 15_000, runOnce: () => observe(deps, kafka) },
    { name: 'retention', everyMs: 60_000, runOnce: (signal) => forgetOld(deps.db, signal) },
  ]
}
