// The last hour in figures, for a chart. Kept in memory and bounded: what counts is in Prometheus.
import type { Fleet } from './fleet.ts'

/** Seconds since 1970, and then: how old the oldest row of the outbox was, and the oldest sync. */
export type Point = readonly [at: number, outboxSeconds: number, oldestSyncSeconds: number | null]

export interface History {
  add(atMs: number, fleet: Pick<Fleet, 'backlog' | 'vendors'>): void
  /** The oldest first. */
  all(): readonly Point[]
  last(): Point | null
}

/** One in this time is enough for a line of some hundred pixels. */
const SPACING_MS = 5_000
const POINTS_MAX = 720

export function createHistory(): History {
  const points: Point[] = []
  let lastMs = 0
  return {
    add(atMs, { backlog, vendors }) {
      if (atMs - lastMs < SPACING_MS) return
      lastMs = atMs
      const ages = vendors.flatMap(({ oldest_sync_seconds: age }) => age ?? [])
      const oldest = ages.length === 0 ? null : Math.round(Math.max(...ages))
      points.push([Math.round(atMs / 1000), rounded(backlog?.outbox_oldest_seconds ?? 0), oldest])
      if (points.length > POINTS_MAX) points.shift()
    },
    all: () => points,
    last: () => points.at(-1) ?? null,
  }
}

function rounded(seconds: number): number {
  return Math.round(seconds * 10) / 10
}
