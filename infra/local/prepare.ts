// Tables, topics and schemas, brought up to date by the command that operators use.
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import type { StackPlace } from './infrastructure.ts'
import { Problem } from './problem.ts'
import { nodeEnv, REPOSITORY, type StackEnv } from './services.ts'

const run = promisify(execFile)
const LIMIT_MS = 120_000

/** Runs `calstream <args>` against the stack; returns what it printed. Throws a Problem with its message when it fails. */
export async function calstream(
  args: readonly string[],
  stack: StackEnv,
  place: Pick<StackPlace, 'env' | 'cache'>,
  signal: AbortSignal,
): Promise<string> {
  const command = path.join(REPOSITORY, 'services', 'cli', 'main.ts')
  try {
    const { stdout } = await run(process.execPath, [command, ...args], {
      cwd: REPOSITORY,
      env: { ...nodeEnv(place), ...stack },
      signal: AbortSignal.any([signal, AbortSignal.timeout(LIMIT_MS)]),
      maxBuffer: 64 * 1024 * 1024,
    })
    return stdout
  } catch (error) {
    signal.throwIfAborted()
    const { stderr, message } = error as { stderr?: string; message: string }
    throw new Problem(`\`calstream ${args.join(' ')}\` failed: ${(stderr?.trim() || message).slice(-2_000)}`)
  }
}

/** All three, side by side; each may run any number of times. */
export async function prepareStack(
  stack: StackEnv,
  place: Pick<StackPlace, 'env' | 'cache'>,
  signal: AbortSignal,
): Promise<void> {
  const steps = [['migrate'], ['topics', 'apply'], ['schemas', 'apply']]
  await Promise.all(steps.map((args) => calstream(args, stack, place, signal)))
}
