// A flood of strangers: sockets that cost the ingress something and give it nothing.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

export type FloodKind =
  /** 200 kB of requests at once, whose answers are never read. */
  | 'pipelined'
  /** Connected, and not a byte. */
  | 'silent'
  | 'half a head'
  /** A body of 1 MB or without end, and one byte of it. */
  | 'announced'
  /** A body that comes a byte at a time. */
  | 'drip'
  /** 60 kB, all but the last byte. */
  | 'nearly whole'
  /** 1 MB, all but the last byte. */
  | 'nearly whole, large'

export interface FloodSpec {
  readonly kind: FloodKind
  readonly port: number
  /** Open at a time. A sender that was let go comes again. */
  readonly sockets: number
  readonly perSecond: number
  /** Addresses that they come from. */
  readonly clients: number
}

export interface FloodReport {
  readonly kind: FloodKind
  readonly opened: number
  /** Of those that listen: how many were connected at a time at most. */
  readonly most: number
  /** How long each was connected before the ingress closed it, in ms. */
  readonly lived: readonly number[]
  /** The same of those whose body the ingress was reading. */
  readonly livedRead: readonly number[]
  readonly statuses: Readonly<Record<string, number>>
}

export interface Flood {
  /** Ends it. Rejects when the thread failed. */
  stop(): Promise<FloodReport>
}

export function startFlood(spec: FloodSpec): Flood {
  const worker = new Worker(new URL('flood-worker.ts', import.meta.url), { workerData: spec })
  const report = once(worker, 'message').then(([found]) => found as FloodReport)
  // Heard of by stop(), if anybody still asks.
  report.catch(() => undefined)
  return {
    async stop() {
      worker.postMessage('stop')
      try {
        return await report
      } finally {
        await worker.terminate()
      }
    },
  }
}
