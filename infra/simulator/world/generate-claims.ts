// Events of every claim that they can make on a person's time: answers, kinds, show-as,
// transparency, whole days, zones. What a mailbox really holds is rarer and duller; what decides
// whether somebody is free is all here, in every combination that a vendor can tell.
import type { Random } from '../random.ts'
import type { Calendar } from './calendar.ts'
import type { VendorName } from './entries.ts'
import type { Fields } from './event-doc.ts'
import { formatIn } from './zones.ts'

const DAY_MS = 86_400_000
const MINUTE_MS = 60_000
const ZONES = ['Europe/Berlin', 'America/New_York', 'Asia/Tokyo', 'Asia/Kolkata', 'Australia/Sydney', 'UTC']
const ANSWERS = ['accepted', 'declined', 'tentative', 'needsAction'] as const
const STATUSES = ['free', 'tentative', 'busy', 'oof', 'workingElsewhere', 'unknown'] as const
const RESPONSES = [
  'none',
  'organizer',
  'accepted',
  'tentativelyAccepted',
  'declined',
  'notResponded',
] as const

export interface ClaimTimes {
  /** ms epoch, a midnight of UTC: it begins within `days` days from then. */
  readonly from: number
  readonly days: number
  /** Whether it may have been made in another zone than the calendar's; true unless given. */
  readonly mayBeForeign?: boolean
}

/** The fields of a new event. */
export function generateClaim(
  random: Random,
  calendar: Calendar,
  vendor: VendorName,
  { from, days, mayBeForeign = true }: ClaimTimes,
): Fields {
  const day = from + random.below(days) * DAY_MS
  const repeats = random.chance(0.06)
  const isForeign = random.chance(0.4) && mayBeForeign && !repeats
  const zone = isForeign ? pick(random, ZONES) : calendar.timeZone
  const times = random.chance(0.3) ? wholeDays(random, day) : hours(random, day, zone)
  return {
    ...times,
    ...(repeats ? { recurrence: [`RRULE:FREQ=DAILY;COUNT=${2 + random.below(4)}`] } : {}),
    ...(vendor === 'google'
      ? claimAtGoogle(random, calendar)
      : claimAtMicrosoft(random, 'date' in times.start)),
  }
}

function wholeDays(random: Random, day: number) {
  const date = (at: number) => ({ date: new Date(at).toISOString().slice(0, 10) })
  return { start: date(day), end: date(day + (1 + random.below(3)) * DAY_MS) }
}

function hours(random: Random, day: number, zone: string) {
  const start = day + random.below(24 * 60) * MINUTE_MS
  const at = (instant: number) => ({ dateTime: formatIn(zone, instant), timeZone: zone })
  return { start: at(start), end: at(start + (1 + random.below(26 * 60)) * MINUTE_MS) }
}

function claimAtGoogle(random: Random, calendar: Calendar): Fields {
  const self = { email: calendar.email, self: true }
  const others = Array.from({ length: random.below(3) }, (_one, index) => ({
    email: `guest${index}@example.com`,
    responseStatus: pick(random, ANSWERS),
  }))
  const organizer = { email: 'host@example.com' }
  const asked = random.chance(0.7)
    ? { attendees: [...others, { ...self, responseStatus: pick(random, ANSWERS) }], organizer }
    : random.chance(0.5)
      ? { attendees: [{ ...self, organizer: true, responseStatus: pick(random, ANSWERS) }, ...others] }
      : {}
  return {
    ...asked,
    ...kindAtGoogle(random),
    ...(random.chance(0.1) ? { status: 'tentative' } : {}),
    ...(random.chance(0.3)
      ? { visibility: pick(random, ['default', 'public', 'private', 'confidential']) }
      : {}),
  }
}

/**
 * Working locations and birthdays are always transparent: …/guides/calendar-status,
 * …/v3/reference/events#eventType.
 */
function kindAtGoogle(random: Random): Fields {
  const eventType = random.chance(0.6)
    ? 'default'
    : pick(random, ['focusTime', 'outOfOffice', 'workingLocation', 'birthday', 'fromGmail'])
  const isTransparent = eventType === 'workingLocation' || eventType === 'birthday' || random.chance(0.2)
  return { eventType, ...(isTransparent ? { transparency: 'transparent' } : {}) }
}

function claimAtMicrosoft(random: Random, isAllDay: boolean): Fields {
  const zoneName = random.next()
  return {
    ...(random.chance(0.9) ? { showAs: pick(random, STATUSES) } : {}),
    responseStatus: { response: pick(random, RESPONSES) },
    ...(random.chance(0.3)
      ? { sensitivity: pick(random, ['normal', 'personal', 'private', 'confidential']) }
      : {}),
    // Outlook on the web calls the zone of whole days UTC, other programs a zone that nobody knows.
    ...(isAllDay && zoneName < 0.2 ? { originalStartTimeZone: 'UTC' } : {}),
    ...(isAllDay && zoneName > 0.9 ? { originalStartTimeZone: 'tzone://Microsoft/Custom' } : {}),
  }
}

function pick<T>(random: Random, from: readonly T[]): T {
  const chosen = from[random.below(from.length)]
  if (chosen === undefined) throw new Error('There is nothing to pick from.')
  return chosen
}
