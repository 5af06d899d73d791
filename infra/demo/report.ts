// The demo's figures as a table for a person, and where they come from.
import { readFileSync } from 'node:fs'
import { seconds } from '../stack/progress.ts'
import { percentile } from '../oracle/verify.ts'

export interface DemoFigures {
  readonly downloadMs: number
  readonly readyMs: number
  /**
   * Per connection: connected → first synced to the end.
   * Empty when all were there from an earlier start.
   */
  readonly firstSyncMs: readonly number[]
  readonly connections: number
  readonly events: number
  readonly changes: { readonly create: number; readonly update: number; readonly delete: number }
  readonly load: string
  readonly freshness: string
  readonly repeats: number
  readonly memory: Readonly<Record<string, number>>
}

/** The lines of the table. */
export function reportLines(figures: DemoFigures): string[] {
  const { create, update, delete: removed } = figures.changes
  const rows: [string, string][] = [
    ['download', figures.downloadMs > 0 ? seconds(figures.downloadMs) : 'nothing to download'],
    ['time to ready', seconds(figures.readyMs)],
    ['first sync', firstSyncText(figures.firstSyncMs)],
    ['connections', String(figures.connections)],
    ['events', String(figures.events)],
    ['live changes', `${create + update + removed} (${create} new, ${update} changed, ${removed} deleted)`],
    ['load', figures.load],
    ['freshness', `${figures.freshness} (change at the vendor → read from the topic)`],
    ['repeated records', String(figures.repeats)],
    ['peak memory', memoryText(figures.memory)],
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)
}

function firstSyncText(samples: readonly number[]): string {
  const [middle, slowest] = [percentile(samples, 0.5), percentile(samples, 1)]
  if (middle === null || slowest === null) return 'all were synced by an earlier start'
  return `${seconds(middle)} in the middle, ${seconds(slowest)} the slowest of ${samples.length} (connected → synced)`
}

function memoryText(memory: Readonly<Record<string, number>>): string {
  return Object.entries(memory)
    .map(([name, bytes]) => `${name} ${Math.round(bytes / 1_048_576)} MB`)
    .join(', ')
}

/**
 * Peak resident memory of each process in bytes (VmHWM of /proc);
 * processes that cannot be read are left out.
 */
export function peakMemory(pids: Readonly<Record<string, number>>): Record<string, number> {
  const found: Record<string, number> = {}
  for (const [name, pid] of Object.entries(pids)) {
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(statusOf(pid))?.[1]
    if (kilobytes !== undefined) found[name] = Number(kilobytes) * 1024
  }
  return found
}

/** Empty where there is no /proc, or the process is no more. */
function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return ''
  }
}
