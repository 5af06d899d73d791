// One supervisor per stack folder. The lock is a file that names its holder by pid and start time,
// so that a lock left by a killed holder (or a reused pid) never blocks a start. It is ours because
// proper-lockfile names no holder and takes one for dead whose event loop stood still for 10 s.
import { linkSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { livingHolder, processIdentity, type LockHolder } from '#shared/process/identity.ts'
import { UserError } from '#shared/process/user-error.ts'

const FILE = 'lock.json'

/**
 * Takes the lock of an existing folder. Throws a UserError when another process holds it.
 * Disposing gives it back.
 */
export function takeLock(folder: string): Disposable {
  const lock = path.join(folder, FILE)
  const mine = path.join(folder, `${FILE}.${process.pid}`)
  const me: LockHolder = { pid: process.pid, identity: processIdentity(process.pid) }
  writeFileSync(mine, JSON.stringify(me))
  try {
    // Two rounds: the first may meet a stale lock, and another taker may win the second.
    for (let round = 0; round < 2; round += 1) {
      if (linked(mine, lock)) return { [Symbol.dispose]: () => rmSync(lock, { force: true }) }
      const holder = livingHolder(lock)
      if (holder !== null) throw new UserError(alreadyRunning(folder, holder))
      removeStale(lock, mine)
    }
    throw new UserError(`Another start in ${folder} was faster. Run the same command again.`)
  } finally {
    rmSync(mine, { force: true })
  }
}

function alreadyRunning(folder: string, pid: number): string {
  return `Calstream already runs in ${path.dirname(folder)} (process ${pid}). Stop it with Ctrl-C in its terminal or \`kill ${pid}\`, or use its addresses in ${path.join(folder, 'stack.json')}.`
}

/** Hard links are made as a whole or not at all, with the content already inside. */
function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/**
 * Moves the stale lock away and looks again:
 * what was moved may be the lock of another taker who came in between.
 */
function removeStale(lock: string, mine: string): void {
  const aside = `${mine}.stale`
  try {
    renameSync(lock, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if (livingHolder(aside) !== null) linked(aside, lock)
  rmSync(aside, { force: true })
}
