// What a vendor answered, read with care: any JSON may come, and nothing of it is trusted or
// repeated in an error before it was checked. Both adapters and the OAuth client read through here.
import type { z } from 'zod'
import { Failure } from '#shared/domain/failure.ts'
import { PAGE_ITEMS_MAX } from '#shared/domain/page-limits.ts'
import { isPathSegment, isPlainText } from './storable.ts'

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

/**
 * `data` in the documented form. Throws Failure `vendor/unreadable-answer` that names vendor and
 * subject, never the data.
 */
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

/**
 * The items of an answer. Throws Failure `vendor/answer-too-large` when they are too
 * many to work on in one turn.
 */
export function boundedItems<T>(items: readonly T[]): readonly T[] {
  if (items.length <= PAGE_ITEMS_MAX) return items
  throw new Failure('vendor/answer-too-large')
}

/**
 * An id as one segment of a path. Throws Failure `vendor/rejected` for `.` and `..`, which lead to
 * another resource in every spelling that a URL knows
 * (url.spec.whatwg.org/#double-dot-path-segment), and for what cannot be written in a URL at all.
 */
export function pathSegment(id: string, vendor: string): string {
  if (isPathSegment(id)) return encodeURIComponent(id)
  throw new Failure('vendor/rejected', `${vendor} gave an id that cannot stand in an address.`)
}

/** A page token or cursor that can be kept. Throws Failure `vendor/unreadable-answer` otherwise. */
export function storableToken(token: string, vendor: string): string {
  if (token.length <= TOKEN_MAX && isPlainText(token)) return token
  throw new Failure('vendor/unreadable-answer', `${vendor} sent a token that cannot be stored.`)
}

/**
 * The Failure that a library wrapped; null if there is none. Wrappers are not kept, for they hold
 * requests with their tokens.
 */
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
