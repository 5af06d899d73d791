// A socket that sent more before it read its answer waits behind all others. Without
// turns, 2 000 sockets full of requests put 2 000 of them before each request of a
// sender that waits for its answers.

/**
 * libuv accepts one socket in a round of the event loop (since 1.45), so the queue of newcomers is
 * as long as rounds are. While sockets come in, a task waits, but so many rounds at most.
 */
export const ACCEPTED_PER_TASK = 16

/** Tasks that are carried out one in a round of the event loop, first come first served. */
export interface Turns {
  /** A task that is waiting already is not taken twice. */
  take(task: () => void): void
  /** A socket was accepted, so others may stand behind it. */
  accepted(): void
}

/** @param soon carries out what it gets in the next round of the event loop */
export function createTurns(soon: (task: () => void) => unknown = setImmediate): Turns {
  const waiting = new Set<() => void>()
  let isAccepting = false
  let accepted = 0

  function round(): void {
    if (isAccepting && accepted < ACCEPTED_PER_TASK) accepted += 1
    else {
      accepted = 0
      const [task] = waiting
      if (task === undefined) return
      waiting.delete(task)
      task()
    }
    isAccepting = false
    if (waiting.size > 0) soon(round)
  }

  return {
    take(task) {
      waiting.add(task)
      if (waiting.size === 1) soon(round)
    },
    accepted() {
      isAccepting = true
    },
  }
}
