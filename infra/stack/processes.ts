// Which processes belong to a stack: a file beside its data, written at every start and end of a
// child. When the supervisor was killed (SIGKILL, power), the next start ends what is left of it. A
// pid alone proves nothing (numbers are reused, after a reboot at once), so a process is identified
// by its pid and the moment it started.
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { processIdentity } from '#shared/process/identity.ts'
import { signalProcess } from './signals.ts'

export interface StackProcess {
  readonly name: string
  readonly pid: number
  readonly stopSignal: NodeJS.Signals
}

interface RecordedProcess extends StackProcess {
  /** See processIdentity. */
  readonly identity: string
}

const FILE = 'processes.json'

export class ProcessLedger {
  readonly #file: string
  readonly #processes = new Map<number, RecordedProcess>()

  /** @param folder the stack's folder, which exists. */
  constructor(folder: string) {
    this.#file = path.join(folder, FILE)
  }

  add(process: StackProcess): void {
    const identity = processIdentity(process.pid)
    // Gone already: nothing that anyone would have to end.
    if (identity === null) return
    this.#processes.set(process.pid, { ...process, identity })
    this.#write()
  }

  remove(pid: number): void {
    if (this.#processes.delete(pid)) this.#write()
  }

  /** Processes that run now, by name. */
  pids(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#processes.values()].map(({ name, pid }) => [name, pid]))
  }

  #write(): void {
    try {
      writeWhole(this.#file, JSON.stringify([...this.#processes.values()]))
    } catch (error) {
      // The folder of a test run may be removed while its last child ends.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
}

/**
 * Ends what a killed supervisor left running in `folder`: the recorded processes that are still the
 * same ones. Returns their names. Asks first, kills after `graceMs`.
 */
export async function stopOrphans(folder: string, graceMs = 5_000): Promise<readonly string[]> {
  const orphans = recorded(path.join(folder, FILE)).filter(isSame)
  for (const { pid, stopSignal } of orphans) {
    signalProcess(pid, 'SIGCONT')
    signalProcess(pid, stopSignal)
  }
  const deadline = Date.now() + graceMs
  while (orphans.some(isSame)) {
    if (Date.now() > deadline) for (const { pid } of orphans.filter(isSame)) signalProcess(-pid, 'SIGKILL')
    await delay(50)
  }
  return orphans.map(({ name }) => name)
}

/**
 * Replaces a file as a whole, readable by its owner only:
 * a reader sees the old or the new text, never a part.
 */
export function writeWhole(file: string, text: string): void {
  const temporary = `${file}.${process.pid}.tmp`
  writeFileSync(temporary, text, { mode: 0o600 })
  renameSync(temporary, file)
}

function recorded(file: string): readonly RecordedProcess[] {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as RecordedProcess[]
  } catch {
    // Absent, or of a run that was cut off before its first child.
    return []
  }
}

function isSame(process: RecordedProcess): boolean {
  return processIdentity(process.pid) === process.identity
}
