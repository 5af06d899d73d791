// Times of the API: RFC 3339 in UTC with milliseconds, from and to whole microseconds. Pure.
import type { Micros } from '#shared/domain/ids.ts'

export function isoOf(at: Micros): string
export function isoOf(at: Micros | null): string | null
export function isoOf(at: Micros | null): string | null {
  return at === null ? null : new Date(Math.floor(at / 1000)).toISOString()
}

/** An instant with its offset: without one it would mean another time to each reader. */
const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:\d{2})$/i

/** null for anything that is not an instant of RFC 3339. */
export function instantOf(text: unknown): Micros | null {
  if (typeof text !== 'string' || !INSTANT.test(text)) return null
  const ms = Date.parse(text.toUpperCase())
  return Number.isNaN(ms) ? null : ms * 1000
}
