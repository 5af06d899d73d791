// What `npm start` shows once everything runs. The stack is ready when this is called and is stopped after it returns.
import type { AdminAddress } from './seed-toggles.ts'
import type { StackEnv } from './services.ts'

export interface DemoStack {
  readonly env: StackEnv
  readonly unleash: AdminAddress
  /** Runs `calstream <args>` on this stack; returns its output. */
  readonly calstream: (args: readonly string[], signal: AbortSignal) => Promise<string>
  /** Processes by name, as they are now. */
  readonly pids: () => Readonly<Record<string, number>>
  /** A line for the person in front of it. */
  readonly say: (line: string) => void
}

export interface DemoOptions {
  /** Return once the demo accounts have converged; otherwise go on until the signal fires. */
  readonly untilSynced: boolean
}

/** Connects the demo accounts and shows how they converge. */
export async function runDemo(
  _stack: DemoStack,
  _options: DemoOptions,
  _signal: AbortSignal,
): Promise<void> {}
