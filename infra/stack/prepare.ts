// Tables, topics and schemas, brought up to date by the command that operators use.
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import type { StackPlace } from './infrastructure.ts'
import { UserError } from '#shared/process/user-error.ts'
import { nodeEnv, REPOSITORY, type StackEnv } from './services.ts'

const run = promisify(execFile)
const LIMIT_MS = 240_000

export interface Invocation {
  readonly args: readonly string[]
  /**
   * For its standard input: secrets never go into arguments,
   * which everybody on the machine can read.
   */
  readonly input?: string
}

/**
 * Runs `calstream <args>` against the stack; returns what it printed.
 * Throws a UserError with its message when it fails.
 */
export async function calstream(
  { args, input = '' }: Invocation,
  stack: StackEnv,
  place: Pick<StackPlace, 'env' | 'cache'>,
  signal: AbortSignal,
): Promise<string> {
  const command = path.join(REPOSITORY, 'services', 'cli', 'main.ts')
  try {
    const running = run(process.execPath, [command, ...args], {
      cwd: REPOSITORY,
      env: { ...nodeEnv(place), ...stack },
      signal: AbortSignal.any([signal, AbortSignal.timeout(LIMIT_MS)]),
      maxBuffer: 64 * 1024 * 1024,
    })
    // A command that ends without reading closes the pipe under us; its exit code tells the rest.
    running.child.stdin?.on('error', () => {}).end(input)
    return (await running).stdout
  } catch (error) {
    signal.throwIfAborted()
    const { stderr, message } = error as { stderr?: string; message: string }
    throw new UserError(
      `\`calstream ${args.join(' ')}\` failed: ${(stderr?.trim() || message).slice(-2_000)}`,
    )
  }
}

/** All three, side by side; each may run any number of times. */
export async function prepareStack(
  stack: StackEnv,
  place: Pick<StackPlace, 'env' | 'cache'>,
  signal: AbortSignal,
): Promise<void> {
  const steps = [['migrate'], ['topics', 'apply'], ['schemas', 'apply']]
  await Promise.all(steps.map((args) => calstream({ args }, stack, place, signal)))
}
