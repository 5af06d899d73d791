// What is said of calendars that cannot be read while their siblings can: which, since when, why,
// and when they are tried next. Pure. Invariant: a name is other people's text, so it is cleaned
// and cut before it stands in a sentence of ours.
import type { CalendarId, Micros } from './ids.ts'
import { isoOf } from './instant.ts'

export interface IllCalendar {
  readonly id: CalendarId
  /** As the vendor writes it. */
  readonly name: string | null
  /** Since when it cannot be read. */
  readonly since: Micros
  readonly code: string
  /** Our own text. */
  readonly message: string
  /** When it is read next, if nothing rings before; null: at the next sync request. */
  readonly nextTryAt: Micros | null
}

/** How many of an account are named one by one. */
export const ILL_NAMED_MAX = 10
const NAME_MAX = 60

/**
 * A name as it may stand in a sentence:
 * without control characters and marks of direction, at most 60 characters.
 */
export function nameInWords(name: string | null): string {
  const clean = (name ?? '')
    .replaceAll(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ')
    .replaceAll(/["“”]/g, "'")
    .trim()
  if (clean === '') return 'a calendar without a name'
  const cut = clean.slice(0, NAME_MAX - 1).replace(/\p{Cs}$/u, '')
  return `"${clean.length > NAME_MAX ? `${cut}…` : clean}"`
}

/** The words of one: since when, why and when next. `now`: database clock. */
export function whyIll(ill: Omit<IllCalendar, 'id' | 'name'>, now: Micros): string {
  const { since, message, code, nextTryAt } = ill
  const next = nextTryAt !== null && nextTryAt > now ? ` It is tried again at ${isoOf(nextTryAt)}.` : ''
  return `It could not be read since ${isoOf(since)}: ${message || code}${next}`
}

/**
 * A sentence for an account of which these cannot be read;
 * `count`: of all, which may be more than are named.
 */
export function illSummary(ill: readonly IllCalendar[], count: number): string {
  const [first] = ill
  if (first === undefined) return ''
  const more = count > 1 ? ` ${count - 1} more cannot be read either.` : ''
  const { since, message, code } = first
  return `All but ${count === 1 ? 'one calendar' : `${count} calendars`} are read. ${nameInWords(first.name)} cannot be read since ${isoOf(since)}: ${message || code}${more}`
}
