// One child process in a process group of its own, so that Ctrl-C in the terminal reaches only
// its supervisor, which stops it in order. Output goes to a log file; the file is reopened
// (appended) by every start.
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { UserError } from '#shared/process/user-error.ts'
import { isListening } from './listener.ts'
import type { ProcessLedger } from './processes.ts'
import { signalProcess } from './signals.ts'

export interface ChildSpec {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  readonly logFile: string
  /**
   * Asks for an orderly end. Postgres needs SIGINT (fast shutdown);
   * SIGTERM would wait for its clients.
   */
  readonly stopSignal?: NodeJS.Signals
  /** SIGKILL follows an ignored stop signal after this long. */
  readonly stopWithinMs: number
  /** The user that runs it; ours when absent. */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export class Child {
  readonly name: string
  readonly pid: number
  /** Resolves once the process has ended; never rejects. */
  readonly exited: Promise<Exit>
  #running = true
  readonly #spec: ChildSpec

  private constructor(spec: ChildSpec, pid: number, exited: Promise<Exit>) {
    this.name = spec.name
    this.#spec = spec
    this.pid = pid
    this.exited = exited.then((exit) => {
      this.#running = false
      return exit
    })
  }

  /**
   * Starts the process and records it in the ledger, so that the next start can end it if we are
   * killed. Throws a UserError when it cannot be started at all.
   */
  static async start(spec: ChildSpec, ledger: ProcessLedger): Promise<Child> {
    mkdirSync(path.dirname(spec.logFile), { recursive: true })
    const log = openSync(spec.logFile, 'a')
    try {
      const process = spawn(spec.command, spec.args, {
        cwd: spec.cwd,
        env: spec.env,
        detached: true,
        stdio: ['ignore', log, log],
        ...spec.user,
      })
      const ended = exitOf(process)
      // At once, so that no moment exists in which it runs unrecorded;
      // without a pid it did not start.
      if (process.pid !== undefined)
        ledger.add({ name: spec.name, pid: process.pid, stopSignal: spec.stopSignal ?? 'SIGTERM' })
      await spawned(process, spec)
      const pid = process.pid as number
      return new Child(
        spec,
        pid,
        ended.finally(() => ledger.remove(pid)),
      )
    } finally {
      closeSync(log)
    }
  }

  get running(): boolean {
    return this.#running
  }

  /** Its pid and those of its descendants, as they are now. */
  family(): readonly number[] {
    return [this.pid, ...descendants(this.pid)]
  }

  /**
   * Asks the process to end and waits; one that does not within its time is killed. Safe to repeat.
   */
  async stop(): Promise<void> {
    if (!this.#running) return
    // A stopped (SIGSTOP) process handles no signal until it continues.
    this.signal('SIGCONT')
    signalProcess(this.pid, this.#spec.stopSignal ?? 'SIGTERM')
    if (!(await this.endsWithin(this.#spec.stopWithinMs))) await this.kill()
  }

  /** SIGKILL to the process and all that belong to its group, as a power cut would. */
  async kill(): Promise<void> {
    const family = descendants(this.pid)
    this.signal('SIGKILL')
    // Postgres' backends leave the group;
    // without their postmaster they would hold its shared memory for a while.
    for (const pid of family) signalProcess(pid, 'SIGKILL')
    await this.exited
  }

  /**
   * Sends a signal to the whole group;
   * SIGSTOP and SIGCONT freeze and wake it with the children that left the group.
   */
  signal(signal: NodeJS.Signals): void {
    if (!this.#running) return
    // A frozen postmaster alone leaves its backends answering;
    // frozen first, it starts no new ones meanwhile.
    signalProcess(-this.pid, signal)
    if (signal !== 'SIGSTOP' && signal !== 'SIGCONT') return
    for (const pid of descendants(this.pid)) signalProcess(pid, signal)
  }

  /** Whether the process ended by itself within `milliseconds`. */
  async endsWithin(milliseconds: number): Promise<boolean> {
    const timer = new AbortController()
    const ended = await Promise.race([
      this.exited.then(() => true),
      delay(milliseconds, false, { signal: timer.signal, ref: false }).catch(() => false),
    ])
    timer.abort()
    return ended
  }

  /** The end of the log, for an error message. */
  logTail(lines = 5): string {
    return tail(this.#spec.logFile, lines)
  }
}

/** One real round trip, bounded by the signal it gets; throws while the component is not ready. */
export type Probe = (signal: AbortSignal) => Promise<void>

export interface Readiness {
  readonly probe: Probe
  /** On 127.0.0.1, where the probe asks. */
  readonly port: number
}

/**
 * Waits for a child's first round trip. An answer counts only while the child lives and is the one
 * that listens at the port, where the machine can tell: see isListening. Throws a UserError with
 * the end of its log when it ends before, or takes longer than `timeoutMs`.
 */
export async function untilReady(
  child: Child,
  { probe, port }: Readiness,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  let taken = ''
  const own: Probe = async (stop) => {
    taken = ''
    await probe(stop)
    if (isListening(child.family(), port) !== false) return
    taken = ` Another process answers at its port ${port}. Stop that process, then start again.`
    throw new Error(`another process answers at port ${port}`)
  }
  const outcome = await untilAnswers(own, () => child.running, timeoutMs, signal)
  if (outcome === 'answered') return
  const how =
    outcome.kind === 'late'
      ? `was not ready after ${Math.round(timeoutMs / 1000)} s (${outcome.reason})`
      : `ended while starting (${await exitText(child)})`
  throw new UserError(`${child.name} ${how}.${taken} End of its log:\n${child.logTail()}`)
}

/** Repeats the probe until it succeeds, `alive` says no, or the time is over; an abort throws. */
export async function untilAnswers(
  probe: Probe,
  alive: () => boolean,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<'answered' | { readonly kind: 'late' | 'ended'; readonly reason: string }> {
  const deadline = Date.now() + timeoutMs
  let reason = ''
  while (alive()) {
    signal.throwIfAborted()
    if (Date.now() > deadline) return { kind: 'late', reason }
    try {
      await probe(AbortSignal.any([signal, AbortSignal.timeout(3_000)]))
      if (alive()) return 'answered'
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error)
      await delay(40)
    }
  }
  signal.throwIfAborted()
  return { kind: 'ended', reason }
}

async function exitText(child: Child): Promise<string> {
  const { code, signal } = await child.exited
  return signal ?? `code ${code}`
}

/** The last lines of a file; empty when it cannot be read. */
export function tail(file: string, lines: number): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n')
  } catch {
    return ''
  }
}

function exitOf(process: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    process.once('exit', (code, signal) => resolve({ code, signal }))
  })
}

async function spawned(process: ChildProcess, spec: ChildSpec): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    process.once('spawn', resolve)
    process.once('error', (error) =>
      reject(new UserError(`${spec.name}: ${spec.command} could not be started (${error.message}).`)),
    )
  })
}

/** Children of children included. Linux only (elsewhere the group must do). */
function descendants(root: number): readonly number[] {
  const found: number[] = []
  for (const pid of childrenOf(root)) found.push(pid, ...descendants(pid))
  return found
}

function childrenOf(pid: number): readonly number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return text === '' ? [] : text.split(' ').map(Number)
  } catch {
    return []
  }
}
