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

/** What a call is about: an error of the same number means different things. */
export type CallSubject = 'account' | 'calendar' | 'channel' | 'series'

/** A refusal stays a value, because some are expected: only who made the call knows which. */
export type Outcome = { readonly kind: 'ok'; readonly data: unknown } | Refused
export interface Refused {
  readonly kind: 'refused'
  readonly answer: Answer
  readonly failure: Failure
}

/** Postgres takes longer ones; no vendor documents tokens that come near. */
const TOKEN_MAX = 8192
/** 10 000 calendars of Google, 4 000 of Microsoft; a longer list is a loop. */
const CALENDAR_PAGES_MAX = 40

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
 * many to work on in one round.
 */
export function boundedItems<T>(items: readonly T[]): readonly T[] {
  if (items.length <= PAGE_ITEMS_MAX) return items
  throw new Failure('vendor/answer-too-large')
}

/**
 * A calendar list, read page by page to its end. Throws Failure `vendor/answer-too-large` for too
 * many calendars, `vendor/unreadable-answer` for a list without an end.
 */
export async function wholeList<T>(
  readPage: (next: string | null) => Promise<{ items: readonly T[]; next: string | null | undefined }>,
): Promise<readonly T[]> {
  const found: T[] = []
  let at: string | null = null
  for (let page = 0; page < CALENDAR_PAGES_MAX; page += 1) {
    const { items, next } = await readPage(at)
    found.push(...items)
    boundedItems(found)
    if (!next) return found
    at = next
  }
  throw new Failure(
    'vendor/unreadable-answer',
    `The calendar list did not end after ${CALENDAR_PAGES_MAX} pages.`,
  )
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

/** A library broke: its name is told, its message could carry anything. */
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
