// Work that repeats for as long as a process lives. Invariant: a loop never dies while its process
// lives: what its work throws is logged once per streak and the work is tried again, after at most
// FAILURE_WAIT_MAX_MS, so that it continues within two seconds of a dependency's return.
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from './log.ts'

const FAILURE_WAIT_MIN_MS = 100
const FAILURE_WAIT_MAX_MS = 1000

export interface Loop extends AsyncDisposable {
  /** What the work threw last, in words, while it fails; null while it works. For readiness. */
  problem(): string | null
  /** Stops after the running work; its signal is aborted. */
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Starts a loop. `work` returns how many milliseconds to wait before its next round.
 * @param name what the loop does, as the subject of a log line: "the relay's look".
 */
export function startLoop(
  name: string,
  work: (signal: AbortSignal) => Promise<number>,
  logger: Logger,
): Loop {
  const stop = new AbortController()
  let problem: string | null = null
  let failures = 0

  async function round(): Promise<number> {
    try {
      const waitMs = await work(stop.signal)
      if (failures > 0) logger.info({ loop: name, failures }, `${name} works again`)
      failures = 0
      problem = null
      return waitMs
    } catch (error) {
      if (stop.signal.aborted) return 0
      failures += 1
      problem = error instanceof Error ? error.message : String(error)
      if (failures === 1) logger.warn({ err: error, loop: name }, `${name} failed and is tried again`)
      return Math.min(FAILURE_WAIT_MAX_MS, FAILURE_WAIT_MIN_MS * 2 ** (failures - 1))
    }
  }

  async function run(): Promise<void> {
    while (!stop.signal.aborted) await pause(await round(), stop.signal)
  }

  const running = run()
  return {
    problem: () => problem,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
    },
  }
}

/** What the first of several loops that fail says; null while all of them work. For readiness. */
export function firstProblem(loops: readonly Pick<Loop, 'problem'>[]): string | null {
  return loops.map((loop) => loop.problem()).find((problem) => problem !== null) ?? null
}

/**
 * Waits, or returns at once when the signal is aborted.
 * For loops that wait for a condition or for their next round.
 */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  // Rejects only when the signal is aborted, which is the end that the caller looks at.
  await delay(ms, undefined, { signal }).catch(() => undefined)
}

/** What the work answers, or `late` after so many ms: then the work is left to end alone. */
export async function atMost<T>(work: Promise<T>, ms: number, late: T): Promise<T> {
  const timer = new AbortController()
  try {
    return await Promise.race([work, delay(ms, late, { signal: timer.signal }).catch(() => late)])
  } finally {
    timer.abort()
  }
}

/** Waits for an event that may never come, or returns at once when the signal is aborted. */
export async function until(event: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<void>()
  const stop = () => aborted.resolve()
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  await Promise.race([event, aborted.promise]).finally(() => signal.removeEventListener('abort', stop))
}
