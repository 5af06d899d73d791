// Starts the shared infrastructure once for a whole vitest run, when the first project that needs
// it begins, and stops it when the last one ends. Each project loads this file anew, so what they
// share hangs on globalThis.
import type { TestProject } from 'vitest/node'
import { startSharedStack } from './shared-stack.ts'
import type { StartedStack, TestStack } from './test-stack.ts'
import { killRun, openRunFolder, removeRunFolder } from './test-run.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    stack: TestStack
  }
}

interface Run {
  readonly folder: string
  readonly started: Promise<StartedStack>
  users: number
}

/** Includes Maven's download on a first run. */
const START_TIMEOUT_MS = 35 * 60_000
const holder = globalThis as { calstreamTestRun?: Promise<Run> }

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  holder.calstreamTestRun ??= begin()
  const run = await holder.calstreamTestRun
  run.users += 1
  const { stack } = await run.started
  project.provide('stack', stack)
  return async () => {
    run.users -= 1
    if (run.users > 0) return
    delete holder.calstreamTestRun
    const started = await run.started
    await started[Symbol.asyncDispose]()
    await removeRunFolder(run.folder)
  }
}

async function begin(): Promise<Run> {
  const folder = await openRunFolder()
  const stop = new AbortController()
  // vitest may be ended in the middle of anything (Ctrl-C twice, a crash):
  // no broker may stay behind.
  process.once('exit', () => killRun(folder))
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort())
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(START_TIMEOUT_MS)])
  const started = startSharedStack(folder, process.env, signal)
  // Each project awaits it and reports; without this a failure before that would end the process.
  started.catch(() => {})
  return { folder, started, users: 0 }
}
