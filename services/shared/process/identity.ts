// Which process this is, and whether one is still the one that it was. A pid alone is given to
// another process in time.
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'

/**
 * Boot, pid and start time of a process: equal strings mean the same process.
 * null when there is none.
 */
export function processIdentity(pid: number): string | null {
  if (process.platform !== 'linux') {
    const { status, stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' })
    return status === 0 ? `${pid} ${stdout.trim()}` : null
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // proc(5): the name in parentheses may hold spaces;
    // state is the field after it, start time the 22nd of all.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z') return null
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return `${boot} ${pid} ${fields[19]}`
  } catch {
    return null
  }
}

/** A lock file says so of its holder. */
export interface LockHolder {
  readonly pid: number
  readonly identity: string | null
}

/** The pid of the living process that a lock file names; null when there is none. */
export function livingHolder(file: string): number | null {
  try {
    const { pid, identity } = JSON.parse(readFileSync(file, 'utf8')) as LockHolder
    return identity !== null && processIdentity(pid) === identity ? pid : null
  } catch {
    return null
  }
}

/** A name for a holder of leases: no other start of any process has it. */
export function leaseOwner(): string {
  return `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`
}
