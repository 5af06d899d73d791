// What a vendor answered, read with care: any JSON may come, and nothing of it is trusted or repeated in an error before it was
// checked. Both adapters and the OAuth client read through here.
import type { z } from 'zod'
import { Failure } from '#shared/domain/failure.ts'

/** An answer whose body was read to its end. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  /** Parsed JSON; undefined if it was something else. */
  readonly data: unknown
}

/** Postgres takes longer ones; nobody documents tokens that come near. */
const TOKEN_MAX = 8192

/** JSON, or undefined. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** `data` in the documented form. Throws Failure `vendor/unreadable-answer` that names vendor and subject, never the data. */
export function readAs<S extends z.ZodType>(
  schema: S,
  data: unknown,
  { vendor, what }: { vendor: string; what: string },
): z.output<S> {
  const parsed = schema.safeParse(data)
  if (parsed.success) return parsed.data
  throw new Failure(
    'vendor/unreadable-answer',
    `${vendor} sent a ${what} that is not in its documented format.`,
  )
}

/** A page token or cursor that can be kept. Throws Failure `vendor/unreadable-answer` otherwise. */
export function storableToken(token: string, vendor: string): string {
  if (token.length <= TOKEN_MAX && !token.includes('\0') && token.isWellFormed()) return token
  throw new Failure('vendor/unreadable-answer', `${vendor} sent a token that cannot be stored.`)
}

/** The Failure that a library wrapped; null if there is none. Wrappers are not kept, for they hold requests with their tokens. */
export function failureInside(error: unknown): Failure | null {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1) {
    if (at instanceof Failure) return at
  }
  return null
}

/** A library broke by itself: its name is told, its message could carry anything. */
export function brokenLibrary(library: string, error: unknown): Failure {
  return new Failure(
    'internal/defect',
    `${library} failed: ${error instanceof Error ? error.name : 'unknown error'}`,
  )
}

/** The vendor's reason if it is a plain word, in parentheses: free text could carry anything. */
export function reasonWord(reason: string | undefined): string {
  return reason !== undefined && /^[\w.-]{1,64}$/.test(reason) ? `(${reason})` : '(no reason given)'
}
