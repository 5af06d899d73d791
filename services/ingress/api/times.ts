// Times that the API is given: RFC 3339, to whole microseconds. Pure.
import type { Micros } from '#shared/domain/ids.ts'

/**
 * An instant with its offset: without one it would mean another time to each reader. In a
 * query a `+` that was not written as %2B arrives as a space, and at the place of the sign it
 * can have been nothing else.
 */
const INSTANT = /^(\d{4}-\d{2}-\d{2})T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[-+ ]\d{2}:\d{2})$/i

/** null for anything that is not an instant of RFC 3339, days that no calendar has included. */
export function instantOf(text: unknown): Micros | null {
  const [, date = ''] = typeof text === 'string' ? (INSTANT.exec(text) ?? []) : []
  if (typeof text !== 'string' || !isDay(date)) return null
  const ms = Date.parse(text.toUpperCase().replace(' ', '+'))
  return Number.isNaN(ms) ? null : ms * 1000
}

/** Date.parse takes 30 February for 2 March. */
function isDay(date: string): boolean {
  const ms = Date.parse(`${date}T00:00:00Z`)
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(date)
}
