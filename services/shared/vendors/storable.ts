// A vendor's text and times made fit for Postgres and Kafka; pure, and the same for every vendor.
//
// What is bent, and how: control characters but tab and line breaks are dropped (Postgres stores no
// NUL, and an ESC commands the terminal that shows it), and a lone surrogate becomes U+FFFD. Marks
// of direction stay, since titles in Hebrew or Arabic need them (UAX #9); names that are shown in a
// line lose them (`cleanLine`). Title and location are cut at 1 024 characters, organizer and the
// name of an account at 320, zone at 128, etag at 256. An end before the start (imported calendars
// have them) becomes the start, for all-day events the day after it (RFC 5545 §3.6.1). A time
// outside 1684 … 2255 moves to that edge, because microseconds are exact only in there. Ids are
// never bent: one that cannot be stored, or sent back as it is, makes its item unreadable.
import type { Micros } from '#shared/domain/ids.ts'
import { isOutside, type Window } from '#shared/domain/window.ts'
import type { PageItem } from '#shared/domain/plan.ts'
import type { Page } from './vendor.ts'

export const TITLE_MAX = 1024
export const ORGANIZER_MAX = 320
export const ZONE_MAX = 128
export const ETAG_MAX = 256
/**
 * Google's ids have ≤ 1 024 characters, plus the start of an occurrence.
 * An index row of Postgres holds ≤ 2 704 bytes.
 */
const ID_BYTES_MAX = 2048
/** The longest address there is (RFC 3696, erratum 1690); Graph's ids of users have 36. */
export const ACCOUNT_ID_MAX = 320
/** Account names are shown in a line of a page or a terminal. */
export const LABEL_MAX = 320
/**
 * 2255-06-05T23:47:34Z and its mirror:
 * whole seconds inside the range in which a number counts microseconds exactly.
 */
const MICROS_MAX = 9_007_199_254_000_000

/** All of Cc but tab, line feed and carriage return. */
const UNFIT = /(?![\t\n\r])\p{Cc}/gu

export type MappedItem = { readonly kind: 'item'; readonly item: PageItem } | Unreadable
type Unreadable = Page['unreadable'][number] & { readonly kind: 'unreadable' }

const INSTANT = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))$/

/**
 * RFC 3339 text with its offset → whole microseconds since 1970 (finer digits are cut), moved to
 * the edge of the exact range if outside; null if it is not such a time. `Date.parse` would cut at
 * milliseconds and take 31 February for 3 March.
 */
export function parseInstant(source: string): Micros | null {
  const match = INSTANT.exec(source)
  if (!match) return null
  const [
    ,
    year,
    month,
    day,
    hour,
    minute,
    second,
    fraction = '',
    sign,
    offsetHour = '0',
    offsetMinute = '0',
  ] = match
  if (!isDate(`${year}-${month}-${day}`)) return null
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return null
  if (Number(offsetHour) > 23 || Number(offsetMinute) > 59) return null
  const offsetSeconds = (Number(offsetHour) * 60 + Number(offsetMinute)) * 60 * (sign === '-' ? -1 : 1)
  const seconds =
    daysSince1970(Number(year), Number(month), Number(day)) * 86_400 +
    Number(hour) * 3600 +
    Number(minute) * 60 +
    Number(second) -
    offsetSeconds
  if (Math.abs(seconds) * 1_000_000 >= MICROS_MAX) return Math.sign(seconds) * MICROS_MAX
  return seconds * 1_000_000 + Number(fraction.padEnd(6, '0').slice(0, 6))
}

/** Moved to the edge of the exact range if outside. */
export function clampMicros(at: number): Micros {
  return Math.min(Math.max(at, -MICROS_MAX), MICROS_MAX)
}

/**
 * Whether the text is a real day of the calendar, 0001-01-01 … 9999-12-31 (Postgres has no year 0).
 */
export function isDate(source: string): boolean {
  const match = /^(\d{4})-(\d\d)-(\d\d)$/.exec(source)
  if (!match || match[1] === '0000') return false
  const time = dateOf(Number(match[1]), Number(match[2]), Number(match[3]))
  return time.getUTCMonth() + 1 === Number(match[2]) && time.getUTCDate() === Number(match[3])
}

/** The date after this one; null after the last that there is. */
export function dayAfter(date: string): string | null {
  const next = new Date(Date.parse(`${date}T00:00:00Z`) + 86_400_000)
  return next.getUTCFullYear() > 9999 ? null : next.toISOString().slice(0, 10)
}

function daysSince1970(year: number, month: number, day: number): number {
  return dateOf(year, month, day).getTime() / 86_400_000
}

function dateOf(year: number, month: number, day: number): Date {
  const date = new Date(0)
  // Date.UTC takes the years 0 … 99 for 1900 … 1999.
  date.setUTCFullYear(year, month - 1, day)
  return date
}

/**
 * Text as Postgres and Avro can hold it,
 * cut at `max` UTF-16 units without splitting a pair; null stays null.
 */
export function clean(source: string | null | undefined, max: number): string | null {
  if (!isPresent(source)) return null
  // Cutting first leaves at most one half pair at the end,
  // which is then dropped rather than replaced.
  const cut = source.slice(0, max)
  const whole = source.length > max && /[\uD800-\uDBFF]$/.test(cut) ? cut.slice(0, -1) : cut
  return whole.replaceAll(UNFIT, '').toWellFormed()
}

/**
 * Without controls, direction marks and half characters:
 * text that can be stored, logged and shown as it is.
 */
export function isPlainText(source: string): boolean {
  return source.isWellFormed() && !/[\p{Cc}\u202A-\u202E\u2066-\u2069]/u.test(source)
}

/**
 * Controls (ESC, line ends) and what turns the direction of the text that follows:
 * UAX #9 §2.1, §2.2, §2.4.
 */
const NOT_FOR_A_LINE = /[\p{Cc}\u2028\u2029\u202A-\u202E\u2066-\u2069]+/gu

/**
 * A name that people read in one line of a list, a page or a terminal: text as `clean`
 * makes it, with each run of controls and overrides of direction as one space. null when
 * nothing is left to read.
 */
export function cleanLine(source: string | null | undefined, max: number): string | null {
  return (
    clean(
      source
        ?.slice(0, 2 * max)
        .replaceAll(NOT_FOR_A_LINE, ' ')
        .trim(),
      max,
    ) || null
  )
}

/**
 * Whether an account can be known by this id for ever:
 * nothing invisible, and no longer than an address.
 */
export function isAccountId(id: string): boolean {
  return id.length <= ACCOUNT_ID_MAX && id.isWellFormed() && /^[^\p{C}\p{Z}]+$/u.test(id)
}

/** Neither null nor undefined. */
export function isPresent<T>(value: T | null | undefined): value is T {
  return value !== null && value !== undefined
}

/** Whether an index of Postgres can hold the id as it is, and an address name it. */
export function isStorableId(id: string): boolean {
  return (
    id.length <= ID_BYTES_MAX && Buffer.byteLength(id) <= ID_BYTES_MAX && isPlainText(id) && isPathSegment(id)
  )
}

/** Whether the id, encoded, names itself in an address and nothing above it. */
export function isPathSegment(id: string): boolean {
  return id !== '' && id !== '.' && id !== '..' && id.isWellFormed()
}

/** An item that costs no other one its page. */
export function unreadable(vendorEventId: string | null, problem: string): Unreadable {
  return { kind: 'unreadable', vendorEventId, problem }
}

/** The rows of an answer: what they tell, and which of them could not be read. */
export function mapAll(
  rows: readonly unknown[],
  map: (raw: unknown) => MappedItem,
): { readonly items: readonly PageItem[]; readonly unreadable: Page['unreadable'] } {
  const mapped = rows.map((raw) => map(raw))
  return {
    items: mapped.flatMap((one) => (one.kind === 'item' ? [one.item] : [])),
    unreadable: mapped.flatMap((one) =>
      one.kind === 'item' ? [] : [{ vendorEventId: one.vendorEventId, problem: one.problem }],
    ),
  }
}

/**
 * Whether one event's own answer says that it stands inside the window; one that cannot be read is
 * there.
 */
export function standsThere(mapped: MappedItem, window: Window): boolean {
  if (mapped.kind === 'unreadable') return true
  return mapped.item.kind === 'event' && !isOutside(mapped.item.event, window)
}
