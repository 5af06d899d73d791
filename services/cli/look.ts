// Looking at parts that may not answer:
// every look ends, and its end is told in words that a person can use.
import { z } from 'zod'
import { atMost } from '#shared/process/loop.ts'
import { ConfigError } from '#shared/process/settings.ts'
import { tlsTroubleIn } from '#shared/process/tls-words.ts'
import { isForPeople, UserError } from '#shared/process/user-error.ts'

/** Above the 2 s in which a service's /readyz is certain to answer while the service lives. */
export const LOOK_MAX_MS = 2_800

/** What was seen, or why it could not be. */
export type Look<T> = { readonly seen: T } | { readonly problem: string }

/** Never rejects and never takes longer than the limit; the loser is left to end alone. */
export async function lookWithin<T>(work: () => Promise<T>, limitMs = LOOK_MAX_MS): Promise<Look<T>> {
  return atMost(look(work), limitMs, { problem: `no answer within ${limitMs / 1000} s` })
}

/** The same for work that has an end of its own. */
export async function look<T>(work: () => Promise<T>): Promise<Look<T>> {
  try {
    return { seen: await work() }
  } catch (error) {
    return { problem: wordsOf(error) }
  }
}

export function seenOf<T>(look: Look<T>): T | null {
  return 'seen' in look ? look.seen : null
}

export function problemOf(look: Look<unknown>): string | null {
  return 'problem' in look ? look.problem : null
}

/** Any error in one line without the names of libraries. */
export function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error instanceof ConfigError) return error.problems.join('; ')
  if (isForPeople(error)) return oneLine(error.message)
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return 'no answer in time'
  return oneLine(tlsTroubleIn(error)?.words ?? socketWords(error) ?? error.message)
}

const SOCKET_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'its name is not known',
  EAI_AGAIN: 'its name cannot be looked up',
  ECONNRESET: 'it closed the connection',
  EHOSTUNREACH: 'no way leads there',
  ENETUNREACH: 'no way leads there',
  ETIMEDOUT: 'no answer in time',
  UND_ERR_SOCKET: 'it closed the connection',
  UND_ERR_CONNECT_TIMEOUT: 'no answer in time',
}

/**
 * fetch() hides what happened in its cause, and for several addresses in the first of the causes.
 */
function socketWords(error: Error): string | null {
  const cause = error.cause instanceof AggregateError ? error.cause.errors[0] : error.cause
  const code = z.object({ code: z.string() }).safeParse(cause ?? error)
  if (code.success) return SOCKET_WORDS[code.data.code] ?? code.data.code
  return cause instanceof Error ? cause.message : null
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, '; ')
}

export interface Answer {
  readonly status: number
  readonly text: string
  /** How far this machine's clock is ahead of the one that answered; null when it told no time. */
  readonly aheadMs: number | null
  /** undefined for what is no JSON. */
  json(): unknown
}

interface RequestHow {
  readonly headers?: Readonly<Record<string, string>>
  readonly limitMs?: number
  readonly method?: 'GET' | 'POST'
}

/** Nothing that we look at has more to say; a stranger behind a wrong address may. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024

/**
 * One request with a limit on its whole time and size.
 * Throws a UserError that says what happened, without the address.
 */
export async function fetchWithin(
  url: string | URL,
  { headers = {}, limitMs = LOOK_MAX_MS, method = 'GET' }: RequestHow = {},
): Promise<Answer> {
  try {
    const signal = AbortSignal.timeout(limitMs)
    const response = await fetch(url, { method, headers, redirect: 'error', signal })
    const aheadMs = aheadOf(response.headers.get('date'))
    const parts: Uint8Array[] = []
    let bytes = 0
    for await (const part of response.body ?? []) {
      bytes += part.length
      if (bytes > ANSWER_BYTES_MAX) throw new UserError('its answer is too long')
      parts.push(part)
    }
    const text = Buffer.concat(parts).toString('utf8')
    return { status: response.status, text, aheadMs, json: () => parsed(text) }
  } catch (error) {
    const isLate = error instanceof Error && error.name === 'TimeoutError'
    throw new UserError(isLate ? `no answer within ${limitMs / 1000} s` : wordsOf(error), { cause: error })
  }
}

/** RFC 9110 §6.6.1: the time at which an answer was made, in whole seconds. */
function aheadOf(date: string | null): number | null {
  const at = Date.parse(date ?? '')
  return Number.isNaN(at) ? null : Date.now() - at
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
