// Where the processor time went: seconds by part of the stack, from /proc. Tells what a slow figure
// was spent on, also on a machine that others use.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

/**
 * Seconds of processor time so far by name;
 * children (Postgres' sessions) count for the process that started them.
 */
export function cpuSeconds(pids: Readonly<Record<string, number>>): Record<string, number> {
  const processes = new Map(allProcesses().map((one) => [one.pid, one]))
  const names = new Map(Object.entries(pids).map(([name, pid]) => [pid, name]))
  const found: Record<string, number> = {}
  for (const one of processes.values()) {
    const name = nameOf(one.pid, processes, names)
    // A parent holds the time of children that have ended.
    if (name !== null) found[name] = (found[name] ?? 0) + one.seconds
  }
  return found
}

/** The processes that a stack has recorded in its folder, by name. */
export function recordedPids(folder: string): Readonly<Record<string, number>> {
  const recorded = JSON.parse(readFileSync(path.join(folder, 'processes.json'), 'utf8')) as {
    readonly name: string
    readonly pid: number
  }[]
  return Object.fromEntries(recorded.map(({ name, pid }) => [name, pid]))
}

/** What was used between two looks, largest first. */
export function cpuBetween(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): string {
  return Object.entries(after)
    .map(([name, seconds]) => [name, seconds - (before[name] ?? 0)] as const)
    .toSorted((a, b) => b[1] - a[1])
    .map(([name, seconds]) => `${name} ${seconds.toFixed(1)} s`)
    .join(', ')
}

interface ProcessTime {
  readonly pid: number
  readonly parent: number
  readonly seconds: number
}

const TICKS_PER_SECOND = 100

function allProcesses(): ProcessTime[] {
  return readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? (readTime(Number(name)) ?? []) : []))
}

function readTime(pid: number): ProcessTime | null {
  try {
    // proc_pid_stat(5): the command may hold spaces, so fields are counted from behind its bracket.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
    const ticks = [11, 12, 13, 14].reduce((sum, field) => sum + Number(fields[field] ?? 0), 0)
    return { pid, parent: Number(fields[1]), seconds: ticks / TICKS_PER_SECOND }
  } catch {
    return null
  }
}

function nameOf(
  pid: number,
  processes: ReadonlyMap<number, ProcessTime>,
  names: ReadonlyMap<number, string>,
): string | null {
  for (let at = pid; at > 1; at = processes.get(at)?.parent ?? 0) {
    const name = names.get(at)
    if (name !== undefined) return name
  }
  return null
}
