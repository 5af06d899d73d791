// How many calls run at a time for one key. Invariant: a key that is not used holds no memory.
import { Failure } from '#shared/domain/failure.ts'
import { CALL_TIMEOUT_MS } from '../fetch.ts'

export interface Limiter {
  /**
   * A place among the calls that run for this key, held until it is disposed. Rejects with the
   * signal's reason, or with a Failure when too many wait or the wait took as long as a call may.
   */
  enter(key: string, signal: AbortSignal): Promise<Disposable>
}

interface Gate {
  running: number
  readonly waiting: (() => void)[]
}

/**
 * At most `perKey` calls at a time for one key (vendors allow 4 per mailbox: Graph
 * throttling limits), and at most `waitingMax` more that wait, in their order.
 */
export function createLimiter(limits: { perKey: number; waitingMax: number; waitMs?: number }): Limiter {
  const gates = new Map<string, Gate>()
  const waitMs = limits.waitMs ?? CALL_TIMEOUT_MS
  return {
    async enter(key, signal) {
      signal.throwIfAborted()
      const gate = gates.get(key) ?? { running: 0, waiting: [] }
      gates.set(key, gate)
      if (gate.running < limits.perKey) gate.running += 1
      else if (gate.waiting.length >= limits.waitingMax) {
        throw new Failure('vendor/throttled', 'Too many calls of calstream wait for this account already.')
      } else await freedPlace(gate, signal, waitMs)
      return {
        [Symbol.dispose]() {
          // The place is handed to the next in line, so `running` only falls when no call waits.
          const next = gate.waiting.shift()
          if (next) next()
          else if (--gate.running === 0) gates.delete(key)
        },
      }
    },
  }
}

function freedPlace(gate: Gate, signal: AbortSignal, waitMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => leave(new Failure('vendor/timeout', 'No slot for this account became free.')),
      waitMs,
    )
    const aborted = () => leave(signal.reason)
    const enter = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
      resolve()
    }
    const leave = (reason: unknown) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
      gate.waiting.splice(gate.waiting.indexOf(enter), 1)
      reject(reason)
    }
    signal.addEventListener('abort', aborted)
    gate.waiting.push(enter)
  })
}
