// Commands that run once before the services start: in a fresh installation the parts that they
// talk to begin at the same moment, and one that has shown a first sign of health may be gone for a
// second again.
import { setTimeout as delay } from 'node:timers/promises'
import { Failure } from '#shared/domain/failure.ts'
import { UserError } from '#shared/process/user-error.ts'
import { wordsOf } from './look.ts'
import { complain } from './output.ts'

/** How long `--wait` says, in seconds. */
export interface WaitOption {
  readonly wait: string
}

const AGAIN_EVERY_MS = 1_000
const WAIT_MAX_S = 3_600
/** What a socket says where there is no answer; of lookups, too. */
const SILENT = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'UND_ERR_SOCKET',
  'UND_ERR_CONNECT_TIMEOUT',
])

/**
 * Does the work again while what it talks to does not answer, until so many seconds are over; says
 * so once on stderr. The work may be repeated. Throws what it threw last, and at once what waiting
 * does not cure; UserError for a number that is none.
 */
export async function patiently(wait: string, work: () => Promise<void>): Promise<void> {
  const seconds = /^\d{1,4}$/.test(wait) ? Number(wait) : Infinity
  if (seconds > WAIT_MAX_S)
    throw new UserError(`--wait must be a number of seconds from 0 to ${WAIT_MAX_S}, not "${wait}".`)
  const end = performance.now() + seconds * 1_000
  for (let tries = 1; ; tries += 1) {
    try {
      return await work()
    } catch (error) {
      if (!isAway(error) || performance.now() >= end) throw error
      if (tries === 1) complain(`${wordsOf(error)} It is tried again for ${seconds} s.`)
      await delay(AGAIN_EVERY_MS)
    }
  }
}

/** Whether an error, or one that caused it, says that the other side does not answer. */
export function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error instanceof Failure) return error.code.endsWith('/unavailable')
  if ('code' in error && SILENT.has(String(error.code))) return true
  const causes: readonly unknown[] = error instanceof AggregateError ? error.errors : [error.cause]
  return causes.some((cause) => isAway(cause))
}
