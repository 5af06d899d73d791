// Who switched a gate last, and when, as the flag server's own log of events tells it.
import { z } from 'zod'
import { GATES, type GateName } from '#shared/domain/gates.ts'
import type { Secret } from '#shared/process/secret.ts'

/** One act on a toggle. */
export interface Switched {
  readonly gate: GateName
  /** ISO 8601. */
  readonly at: string
  /** The user or the token, by its name there. */
  readonly by: string
  /** In words: "switched on", "its list was changed". */
  readonly what: string
}

interface Place {
  /** The flag server's address without /api. */
  readonly console: string
  /** May read events. */
  readonly token: Secret
  readonly environment: string
}

const TIMEOUT_MS = 2_000
/** An event carries a toggle's list before and after: 20 000 ids each at most. */
const ANSWER_BYTES_MAX = 4_000_000

const WORDS: Readonly<Record<string, string>> = {
  'feature-environment-enabled': 'switched on',
  'feature-environment-disabled': 'switched off',
  'feature-strategy-add': 'its rule was made',
  'feature-strategy-update': 'its rule was changed',
  'feature-strategy-remove': 'its rule was taken away',
}

const answer = z.object({
  events: z.array(z.object({ type: z.string(), createdAt: z.string(), createdBy: z.string().nullish() })),
})

/**
 * The last act on each gate that anybody ever touched. Rejects with an Error that says in words why
 * the log cannot be read.
 * https://docs.getunleash.io/reference/api/unleash/search-events
 */
export async function readSwitched(place: Place, signal: AbortSignal): Promise<readonly Switched[]> {
  const found = await Promise.all(GATES.map((gate) => lastOf(place, gate, signal)))
  return found.flatMap((one) => one ?? [])
}

async function lastOf(place: Place, gate: GateName, signal: AbortSignal): Promise<Switched | null> {
  const query = new URLSearchParams({
    feature: `IS:${gate}`,
    type: `IS_ANY_OF:${Object.keys(WORDS).join(',')}`,
    environment: `IS:${place.environment}`,
    limit: '1',
  })
  const response = await fetch(`${place.console}/api/admin/search/events?${query.toString()}`, {
    headers: { authorization: place.token.reveal() },
    redirect: 'error',
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  })
  if (response.status === 401 || response.status === 403)
    throw new Error(`Unleash refuses CONSOLE_UNLEASH_TOKEN (${response.status}).`)
  if (!response.ok) throw new Error(`Unleash answered ${response.status}.`)
  const parsed = answer.safeParse(JSON.parse(await textWithin(response)))
  if (!parsed.success) throw new Error('Unleash answered in a form that is not known here.')
  const [event] = parsed.data.events
  if (!event) return null
  const { type, createdAt, createdBy } = event
  return {
    gate,
    at: new Date(createdAt).toISOString(),
    by: createdBy ?? 'unknown',
    what: WORDS[type] ?? type,
  }
}

async function textWithin(response: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of response.body ?? []) {
    bytes += part.length
    if (bytes > ANSWER_BYTES_MAX) throw new Error('Unleash answered with more than is looked at.')
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}
