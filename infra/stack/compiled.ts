// Compiled code of Node, kept for all runs of this user (NODE_COMPILE_CACHE): a process then loads
// its modules in two thirds of the time. Node writes a file for each module and each place where a
// tree lies, and never takes one away: two days of worktrees and copies left 482 000.
// https://nodejs.org/docs/latest-v24.x/api/module.html#module-compile-cache
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'

/** Not read for this long: of a tree or a Node that is gone. Chosen. */
const UNUSED_MS = 14 * 86_400_000
/** Chosen. */
const BYTES_MAX = 500e6
/** Of a block of the disk: most files are smaller. */
const BLOCK_BYTES = 4_096
/** Node writes beside the place and renames: what is this young may be half written. */
const YOUNG_MS = 60_000
const AT_A_TIME = 64
/** Looking at a hundred thousand files costs seconds of a processor. */
const AGAIN_MS = 86_400_000

export interface PruneLimits {
  readonly bytesMax: number
  readonly unusedMs: number
  readonly youngMs: number
}

/** @param cache see cacheFolder. */
export function compiledFolder(cache: string): string {
  return path.join(cache, 'compiled')
}

/**
 * Prunes unless that was done within a day. Never throws: what `signal` cuts off is done by the
 * next run.
 */
export async function pruneDaily(cache: string, signal: AbortSignal): Promise<void> {
  const stamp = `${compiledFolder(cache)}.pruned`
  try {
    const last = await stat(stamp).catch(() => null)
    if (last !== null && Date.now() - last.mtimeMs < AGAIN_MS) return
    await mkdir(cache, { recursive: true })
    await writeFile(stamp, '')
    await pruneCompiled(compiledFolder(cache), signal)
  } catch {
    await rm(stamp, { force: true }).catch(() => {})
  }
}

/**
 * Deletes compiled code that nobody has read for long, then what was read longest ago until the
 * rest fits. Safe beside runs that use the folder: Node makes again what it does not find. Files
 * that cannot be looked at or deleted stay. Throws only what `signal` was aborted with.
 * @returns how many files were deleted, and how many bytes are left.
 */
export async function pruneCompiled(
  folder: string,
  signal: AbortSignal,
  limits: PruneLimits = { bytesMax: BYTES_MAX, unusedMs: UNUSED_MS, youngMs: YOUNG_MS },
): Promise<{ readonly deleted: number; readonly bytesLeft: number }> {
  const now = Date.now()
  const files = (await filesBelow(folder, signal)).toSorted((a, b) => a.usedAt - b.usedAt)
  let bytesLeft = files.reduce((sum, { bytes }) => sum + bytes, 0)
  const doomed: string[] = []
  for (const { name, bytes, usedAt } of files) {
    const unusedMs = now - usedAt
    if (unusedMs < limits.youngMs || (unusedMs <= limits.unusedMs && bytesLeft <= limits.bytesMax)) break
    doomed.push(name)
    bytesLeft -= bytes
  }
  await inGroups(doomed, signal, (name) => rm(name, { force: true }).catch(() => {}))
  return { deleted: doomed.length, bytesLeft }
}

interface Compiled {
  readonly name: string
  readonly bytes: number
  /** ms epoch. A file system notes reads once a day or never, and writes always. */
  readonly usedAt: number
}

async function filesBelow(folder: string, signal: AbortSignal): Promise<readonly Compiled[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
  const found: Compiled[] = []
  await inGroups(names, signal, async (name) => {
    // Another run may prune beside us.
    const seen = await stat(name).catch(() => null)
    if (seen === null) return
    const bytes = Math.ceil(seen.size / BLOCK_BYTES) * BLOCK_BYTES
    found.push({ name, bytes, usedAt: Math.max(seen.mtimeMs, seen.atimeMs) })
  })
  return found
}

async function inGroups(
  names: readonly string[],
  signal: AbortSignal,
  act: (name: string) => Promise<void>,
): Promise<void> {
  for (let from = 0; from < names.length; from += AT_A_TIME) {
    signal.throwIfAborted()
    await Promise.all(names.slice(from, from + AT_A_TIME).map(act))
  }
}
