// Times that the API is given: RFC 3339, to whole microseconds. Pure.
import type { Micros } from '#shared/domain/ids.ts'

/** An instant with its offset: without one it would mean another time to each reader. */
const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:\d{2})$/i

/** null for anything that is not an instant of RFC 3339. */
export function instantOf(text: unknown): Micros | null {
  if (typeof text !== 'string' || !INSTANT.test(text)) return null
  const ms = Date.parse(text.toUpperCase())
  return Number.isNaN(ms) ? null : ms * 1000
}
