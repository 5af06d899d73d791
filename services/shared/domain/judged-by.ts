// By which rules the rows of a calendar were read. A calendar of older rules is read fully once
// more, at a time of its own; until then what it says of busy is doubted aloud. Pure.
import { HASH_VERSION } from './content-hash.ts'

/** Whether the titles and places of private events are kept. */
export const PRIVATE_TITLES = ['kept', 'withheld'] as const
export type PrivateTitles = (typeof PRIVATE_TITLES)[number]

/** Rows of an older version know nothing of answers, kinds and the mailbox's zone. */
const BUSY_KNOWN_SINCE = 2
/** Of rows that were read before their rules were kept. */
export const RULES_OF_BEFORE = '1'
/**
 * Calendars of older rules are read again at a moment within this;
 * a fleet of 10 000 is 28 a minute.
 */
export const REREAD_SPREAD_HOURS = 6

/** The rules of this release with this setting, as the calendar's row keeps them. */
export function rulesWith(titles: PrivateTitles): string {
  return titles === 'kept' ? String(HASH_VERSION) : `${HASH_VERSION}/${titles}`
}

/**
 * Whether rows that were read by these rules say of busy what the vendor says.
 * `null`: never read to the end.
 */
export function knowsBusy(judgedBy: string | null): boolean {
  return judgedBy === null || Number.parseInt(judgedBy, 10) >= BUSY_KNOWN_SINCE
}
