// The vendor-neutral event: one concrete occurrence in the sync window.
// All-day events are dates, never instants.
import type { Micros } from './ids.ts'

export type EventTime =
  | { readonly at: Micros; readonly date: null }
  | { readonly at: null; readonly date: string }

/**
 * What the person answered to an invitation; `none` where there was none, or no answer is known.
 */
export type Response = 'none' | 'organizer' | 'accepted' | 'tentative' | 'declined' | 'needs_action'

/**
 * What sort of entry it is; Microsoft has `default` alone. `unknown`: a kind that came after us.
 */
export type EventKind =
  | 'default'
  | 'out_of_office'
  | 'focus_time'
  | 'working_location'
  | 'birthday'
  | 'from_gmail'
  | 'task'
  | 'unknown'

/** As what it shows the person to others, whatever the person answered. */
export type ShownAs = 'free' | 'tentative' | 'busy' | 'out_of_office' | 'working_elsewhere' | 'unknown'

/** Who may read more than the times. Microsoft's `personal` is `private` too. */
export const VISIBILITIES = ['default', 'public', 'private', 'confidential'] as const
export type Visibility = (typeof VISIBILITIES)[number]

export interface CalendarEvent {
  readonly vendorEventId: string
  readonly title: string | null
  readonly status: 'confirmed' | 'tentative'
  /** By `isBusy`. */
  readonly busy: boolean
  readonly response: Response
  readonly kind: EventKind
  readonly showAs: ShownAs
  readonly visibility: Visibility
  readonly allDay: boolean
  readonly start: EventTime
  readonly end: EventTime
  /** IANA name; an offset like +05:30 where nothing else is known of an all-day event's zone. */
  readonly timeZone: string | null
  /** Vendor id of the series that this occurrence belongs to. */
  readonly seriesId: string | null
  readonly originalStart: EventTime | null
  readonly location: string | null
  readonly organizer: string | null
  readonly updatedAt: Micros | null
  readonly etag: string | null
}

/**
 * Whether an event blocks time, as the vendors themselves answer by default. Pure.
 *
 * Declined is free: Google leaves declined events out of freeBusy, Outlook keeps them as free.
 * Where a person works blocks nothing: Google's working locations have to be transparent, and
 * getSchedule's view counts working elsewhere as 0. Tentative and not yet answered events do
 * block at Google; Microsoft calls them tentative, and a hold that turns out free costs less than
 * a double booking. Sources, read 2026-11-29: developers.google.com/workspace/calendar/api/guides/
 * calendar-status and …/v3/reference/events#transparency, learn.microsoft.com/graph/api/resources/
 * scheduleinformation and …/scheduleitem. ADR 19 has the table and what is not settled.
 */
export function isBusy({
  response,
  kind,
  showAs,
}: Pick<CalendarEvent, 'response' | 'kind' | 'showAs'>): boolean {
  if (response === 'declined' || kind === 'working_location') return false
  return showAs !== 'free' && showAs !== 'working_elsewhere'
}
