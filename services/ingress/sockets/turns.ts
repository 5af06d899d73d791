// Whoever sent more before it read its answer waits behind everybody else. Without turns, 2 000 sockets
// full of requests put 2 000 of them before each request of a sender that waits for its answers.

/** Tasks that are carried out one in a turn of the event loop, first come first served. */
export interface Turns {
  /** A task that is waiting already is not taken twice. */
  take(task: () => void): void
}

export function createTurns(): Turns {
  const waiting = new Set<() => void>()

  function turn(): void {
    const [task] = waiting
    if (task === undefined) return
    waiting.delete(task)
    task()
    if (waiting.size > 0) setImmediate(turn)
  }

  return {
    take(task) {
      waiting.add(task)
      if (waiting.size === 1) setImmediate(turn)
    },
  }
}
