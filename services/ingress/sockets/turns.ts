// Whoever sent more before it read its answer waits behind everybody else. Without turns, 2 000 sockets
// full of requests put 2 000 of them before each request of a sender that waits for its answers.

/** Requests that were sent ahead, in one turn of the event loop; in between, others are read. */
const PER_TURN = 4

/** Tasks that are carried out a few at a time, first come first served. */
export interface Turns {
  /** A task that is waiting already is not taken twice. */
  take(task: () => void): void
}

export function createTurns(): Turns {
  const waiting = new Set<() => void>()

  function turn(): void {
    let left = PER_TURN
    for (const task of waiting) {
      if (left === 0) break
      left -= 1
      waiting.delete(task)
      task()
    }
    if (waiting.size > 0) setImmediate(turn)
  }

  return {
    take(task) {
      waiting.add(task)
      if (waiting.size === 1) setImmediate(turn)
    },
  }
}
