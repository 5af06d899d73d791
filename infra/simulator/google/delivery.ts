// One delivery attempt of a notification, byte for byte as Google sends it,
// and the rule for trying again.
// https://developers.google.com/workspace/calendar/api/guides/push: 200, 201, 202, 204 and 102 are
// success; 500, 502, 503 and 504 are retried with exponential backoff; everything else is a
// failure that is not repeated.
import { type Agent as HttpAgent, request as httpRequest } from 'node:http'
import { type Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { ChannelInfo } from '../world/entries.ts'
import type { Random } from '../random.ts'

const ATTEMPT_MS_MAX = 10_000
const BACKOFF_MS_MAX = 60_000
const SUCCESS = [200, 201, 202, 204, 102]
const RETRIED = [500, 502, 503, 504]

export interface Agents {
  readonly http: HttpAgent
  readonly https: HttpsAgent
}

export type Delivered =
  | { readonly kind: 'answered'; readonly status: number; readonly latencyMs: number }
  | { readonly kind: 'unreachable'; readonly error: string; readonly latencyMs: number }

/** The headers of a message; there is no body. */
export function messageHeaders(
  channel: ChannelInfo,
  messageNumber: number,
  state: 'sync' | 'exists' | 'not_exists',
): Readonly<Record<string, string>> {
  return {
    'User-Agent': 'APIs-Google; (+https://developers.google.com/webmasters/APIs-Google)',
    Accept: '*/*',
    'Content-Type': 'application/json; utf-8',
    'Content-Length': '0',
    'X-Goog-Channel-ID': channel.id,
    'X-Goog-Message-Number': String(messageNumber),
    'X-Goog-Resource-ID': channel.resourceId,
    'X-Goog-Resource-State': state,
    'X-Goog-Resource-URI': channel.resourceUri,
    'X-Goog-Channel-Expiration': new Date(channel.expiresAt).toUTCString(),
    ...(channel.token === null ? {} : { 'X-Goog-Channel-Token': channel.token }),
  }
}

/** Posts a message once. Never throws. */
export function deliver(
  url: URL,
  headers: Readonly<Record<string, string>>,
  agents: Agents,
): Promise<Delivered> {
  const started = performance.now()
  const options = {
    method: 'POST',
    headers,
    timeout: ATTEMPT_MS_MAX,
    signal: AbortSignal.timeout(ATTEMPT_MS_MAX),
  }
  return new Promise((resolve) => {
    const request =
      url.protocol === 'https:'
        ? httpsRequest(url, { ...options, agent: agents.https })
        : httpRequest(url, { ...options, agent: agents.http })
    const took = () => performance.now() - started
    request.on('response', (response) => {
      response.resume()
      resolve({ kind: 'answered', status: response.statusCode ?? 0, latencyMs: took() })
      // The answer stands with its head; a body that breaks off changes nothing.
      response.on('error', () => {})
    })
    request.on('error', (error: NodeJS.ErrnoException) => {
      resolve({ kind: 'unreachable', error: error.code ?? error.name, latencyMs: took() })
    })
    request.end()
  })
}

/** What follows from an attempt. */
export function afterAttempt(
  delivered: Delivered,
  retryOnConnectionError: boolean,
): 'delivered' | 'retry' | 'give-up' {
  if (delivered.kind === 'unreachable') return retryOnConnectionError ? 'retry' : 'give-up'
  if (SUCCESS.includes(delivered.status)) return 'delivered'
  return RETRIED.includes(delivered.status) ? 'retry' : 'give-up'
}

/**
 * Milliseconds before the attempt after the given one (1-based): doubling from the base, half of it
 * random, at most a minute.
 */
export function retryDelay(attempt: number, baseMs: number, random: Random): number {
  const full = Math.min(BACKOFF_MS_MAX, baseMs * 2 ** (attempt - 1))
  return full / 2 + (full / 2) * random.next()
}
