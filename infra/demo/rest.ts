// How the play vendor comes to rest before the stack stops, and how a start catches up with what
// nobody heard of: notifications live in the vendor's memory only, so those that are under way when
// it ends are lost with it.
import { setTimeout as delay } from 'node:timers/promises'
import { UserError } from '#shared/process/user-error.ts'
import type { SimulatorAdmin } from '../oracle/simulator-admin.ts'

const LOOK_EVERY_MS = 50

/**
 * Ends every load and resolves once no notification waits or is under way; what they told is then
 * durable in Kafka. False when the signal fired first, or the vendor did not answer: then the next
 * start's question heals it.
 */
export async function comeToRest(simulator: SimulatorAdmin, signal: AbortSignal): Promise<boolean> {
  try {
    await simulator.stopLoads()
    while ((await simulator.pendingNotifications()) > 0) await delay(LOOK_EVERY_MS, undefined, { signal })
    return true
  } catch {
    return false
  }
}

const TIMEOUT_MS = 20_000

/**
 * Asks for a sync of all connections of a provider, as its app does. Resolves with null once it is
 * asked for, or with what a closed gate says: such a request is kept. Throws a UserError for any
 * other answer, which may be better the next time.
 */
export async function askForSync(
  api: { readonly url: string; readonly bearer: string },
  signal: AbortSignal,
): Promise<string | null> {
  const response = await fetch(`${api.url}/api/calendar/sync`, {
    method: 'POST',
    headers: { authorization: `Bearer ${api.bearer}` },
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  })
  const text = await response.text()
  if (response.ok) return null
  if (response.status !== 403)
    throw new UserError(`POST /api/calendar/sync answered ${response.status}: ${text.slice(0, 300)}`)
  const { error, detail } = JSON.parse(text) as { error: string; detail: string }
  return `No sync now: ${error}. ${detail}`
}
