// Keeps what runs running: a process that ends by itself is started again where it was, as a
// supervisor in production would do, so that a drill may kill any of them. One that cannot stay up
// ends the whole stack with a reason.
import { setTimeout as delay } from 'node:timers/promises'
import { StoppedMeanwhile, type Component } from './component.ts'
import { UserError } from '#shared/process/user-error.ts'

const RESTARTS_MAX = 5
const WITHIN_MS = 60_000
const PAUSE_MS = 500

export interface SuperviseEvents {
  readonly ended: (component: Component, how: string) => void
  readonly back: (component: Component) => void
}

/**
 * Resolves when the signal fires; throws a UserError when a component ended too often,
 * or does not start any more.
 */
export async function keepRunning(
  components: readonly Component[],
  events: SuperviseEvents,
  signal: AbortSignal,
): Promise<void> {
  const ended = new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
  await Promise.race([ended, ...components.map((component) => keepOne(component, events, signal))])
}

/** Never resolves: whoever stops the component on purpose ends the wait by the signal. */
async function keepOne(component: Component, events: SuperviseEvents, signal: AbortSignal): Promise<never> {
  const ends: number[] = []
  for (;;) {
    const exit = await component.endedByItself()
    if (signal.aborted || exit === null) return new Promise<never>(() => {})
    events.ended(component, exit.signal ?? `code ${exit.code}`)
    ends.push(Date.now())
    if (ends.filter((at) => at > Date.now() - WITHIN_MS).length > RESTARTS_MAX)
      throw new UserError(
        `${component.name} ended ${RESTARTS_MAX + 1} times within a minute; its log says why.`,
      )
    await delay(PAUSE_MS)
    if (signal.aborted) return new Promise<never>(() => {})
    const failed = (reason: string) => events.ended(component, reason)
    try {
      await startedInTheEnd(() => component.restart(signal), { failed, signal })
    } catch (error) {
      // Whoever stopped it, or began anew, has it in hand.
      if (error instanceof StoppedMeanwhile) return new Promise<never>(() => {})
      throw error
    }
    events.back(component)
  }
}

/** A machine that is busy with other things makes one start fail, not this many. */
const STARTS_MAX = 5
const START_PAUSE_MS = 1_000

/**
 * What a start resolves with, tried again when it fails: a part may give up while what it stands on
 * is slow. Throws the error of the last try, or the first once the signal has fired, or
 * StoppedMeanwhile. `failed` hears the last line of each reason.
 */
export async function startedInTheEnd<T>(
  start: () => Promise<T>,
  how: { readonly failed: (reason: string) => void; readonly signal: AbortSignal },
): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await start()
    } catch (error) {
      if (how.signal.aborted || tries === STARTS_MAX || error instanceof StoppedMeanwhile) throw error
      const [last = ''] = (error instanceof Error ? error.message : String(error))
        .trim()
        .split('\n')
        .slice(-1)
      how.failed(last)
      await delay(START_PAUSE_MS, undefined, { signal: how.signal })
    }
  }
}
