// Classes of a Java part, parsed and checked once for all starts. A broker that maps them from a
// file starts with 1.7 s of a processor instead of 3.3 s. The file is of one Java and one part; the
// JVM looks whether it fits and runs without it otherwise. Class data sharing:
// https://docs.oracle.com/en/java/javase/17/vm/class-data-sharing.html
import { randomBytes } from 'node:crypto'
import { existsSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { Child } from './child.ts'

/**
 * The archive, recorded first when there is none. Invariant: the file is whole or absent, whoever
 * records beside us.
 * @param record writes an archive to the file that it is given. It throws when that may be cut off:
 * the next start tries again. Where it leaves none, this Java makes none: an empty file says so.
 * @returns null when this start has none. Throws only what `signal` was aborted with.
 */
export async function classArchive(
  file: string,
  record: (draft: string) => Promise<void>,
  signal: AbortSignal,
): Promise<string | null> {
  if (!existsSync(file)) {
    const draft = `${file}.${randomBytes(4).toString('hex')}`
    try {
      await record(draft)
      if (existsSync(draft)) renameSync(draft, file)
      else writeFileSync(file, '')
    } catch {
      signal.throwIfAborted()
      return null
    } finally {
      rmSync(draft, { force: true })
    }
  }
  return archiveIn(file)
}

/** The JVM writes its archive while it ends, in 1 s when idle. */
export const RECORD_WITHIN_MS = 60_000

/**
 * Ends a process that writes its archive at its end. Throws when it had to be killed: what it wrote
 * may be cut off.
 */
export async function endRecording(child: Child): Promise<void> {
  await child.stop()
  const { signal } = await child.exited
  if (signal !== null) throw new Error(`recording was cut off by ${signal}`)
}

/** What tells a JVM to record into a file, or to start with what was recorded. */
export function archiveArguments(archive: string, recordsTo: string | undefined): readonly string[] {
  if (recordsTo !== undefined) return [`-XX:ArchiveClassesAtExit=${recordsTo}`]
  const recorded = archiveIn(archive)
  return recorded === null ? [] : [`-XX:SharedArchiveFile=${recorded}`]
}

/** The archive if it was recorded. */
function archiveIn(file: string): string | null {
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0
  return size > 0 ? file : null
}
