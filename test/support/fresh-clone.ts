// The product as a newcomer has it: a copy of this repository in an empty folder of its own,
// where `npm start` and the lines of README run as a person types them. The packages are linked
// instead of installed again.
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Child } from '../../infra/stack/child.ts'
import { childEnv } from '../../infra/stack/infrastructure.ts'
import { removePostgresHome } from '../../infra/stack/postgres-home.ts'
import { ProcessLedger, stopOrphans } from '../../infra/stack/processes.ts'
import { REPOSITORY } from '../../infra/stack/services.ts'
import type { StackFile } from '../../infra/stack/stack-folder.ts'

const NOT_COPIED = new Set(['node_modules', '.git', '.calstream', '.env'])
/** The longest that any step may take on a machine that is busy with other things. */
const STEP_WITHIN_MS = 600_000
const LOOK_EVERY_MS = 100
const OUTPUT_SHOWN = 3_000

export interface FreshClone extends AsyncDisposable {
  readonly folder: string
  /** `npm start -- <args>`, in a process group of its own as a terminal gives it. */
  start(args: readonly string[]): Promise<RunningStart>
  /**
   * Runs lines of bash in the clone; returns what they print.
   * Throws with both outputs when a line fails.
   */
  bash(lines: string, env?: Readonly<Record<string, string>>): Promise<string>
  /** `.calstream/stack.json`; throws while no stack runs. */
  stackFile(): StackFile & { readonly supervisor: number }
}

export interface RunningStart {
  /** All that it printed so far. */
  output(): string
  /**
   * Waits until it has printed this; throws with the output when it ends before, or takes too long.
   */
  says(words: RegExp): Promise<RegExpMatchArray>
  /** Ctrl-C in its terminal; resolves with the exit code. */
  interrupt(): Promise<number | null>
  /** `kill -9` of the supervisor and of npm in front of it; what the stack consists of runs on. */
  killSupervisor(): Promise<void>
}

/**
 * Copies the repository under `runFolder` (test-run.ts), which cleans up what a killed run leaves.
 */
export function openFreshClone(runFolder: string): FreshClone {
  const folder = path.join(runFolder, `own-clone-${randomBytes(4).toString('hex')}`)
  mkdirSync(folder, { recursive: true })
  for (const name of readdirSync(REPOSITORY))
    if (!NOT_COPIED.has(name))
      cpSync(path.join(REPOSITORY, name), path.join(folder, name), { recursive: true })
  symlinkSync(path.join(REPOSITORY, 'node_modules'), path.join(folder, 'node_modules'))
  const ledger = new ProcessLedger(folder)
  const stackFolder = path.join(folder, '.calstream')
  return {
    folder,
    start: (args) => start(folder, ledger, args),
    bash: (lines, env = {}) => bash(folder, lines, env),
    stackFile: () =>
      JSON.parse(readFileSync(path.join(stackFolder, 'stack.json'), 'utf8')) as ReturnType<
        FreshClone['stackFile']
      >,
    async [Symbol.asyncDispose]() {
      // The supervisor first: it would start its children again.
      await stopOrphans(folder)
      await stopOrphans(stackFolder)
      removePostgresHome(path.join(stackFolder, 'postgres'))
      rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
    },
  }
}

async function start(folder: string, ledger: ProcessLedger, args: readonly string[]): Promise<RunningStart> {
  const logFile = path.join(folder, `npm-start-${randomBytes(4).toString('hex')}.txt`)
  const child = await Child.start(
    {
      name: 'npm start',
      command: 'npm',
      args: ['start', '--', ...args],
      env: childEnv(process.env),
      cwd: folder,
      logFile,
      stopSignal: 'SIGINT',
      stopWithinMs: 20_000,
    },
    ledger,
  )
  const output = (): string => readFileSync(logFile, 'utf8')
  return {
    output,
    async says(words) {
      const deadline = Date.now() + STEP_WITHIN_MS
      for (;;) {
        const isRunning = child.running
        const found = words.exec(output())
        if (found) return found
        const problem = isRunning ? null : 'it ended'
        if (problem !== null || Date.now() > deadline)
          throw new Error(
            `npm start did not say ${String(words)}: ${problem ?? 'too late'}\n${output().slice(-OUTPUT_SHOWN)}`,
          )
        await delay(LOOK_EVERY_MS)
      }
    },
    async interrupt() {
      child.signal('SIGINT')
      return (await child.exited).code
    },
    killSupervisor: () => child.kill(),
  }
}

async function bash(cwd: string, lines: string, env: Readonly<Record<string, string>>): Promise<string> {
  const running = promisify(execFile)('bash', ['-euo', 'pipefail', '-c', lines], {
    cwd,
    env: { ...childEnv(process.env), ...env },
    timeout: STEP_WITHIN_MS,
    maxBuffer: 16 * 1024 * 1024,
  })
  try {
    return (await running).stdout
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new Error(
      `${lines}\nprinted: ${stdout.slice(-OUTPUT_SHOWN)}\nand: ${stderr.slice(-OUTPUT_SHOWN)}`,
      {
        cause: error,
      },
    )
  }
}
