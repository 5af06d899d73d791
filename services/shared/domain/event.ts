// The vendor-neutral event: one concrete occurrence in the sync window. All-day events are dates, never instants.
import type { Micros } from './ids.ts'

export type EventTime =
  | { readonly at: Micros; readonly date: null }
  | { readonly at: null; readonly date: string }

export interface CalendarEvent {
  readonly vendorEventId: string
  readonly title: string | null
  readonly status: 'confirmed' | 'tentative'
  readonly busy: boolean
  readonly allDay: boolean
  readonly start: EventTime
  readonly end: EventTime
  /** IANA name that the vendor gave, if any. */
  readonly timeZone: string | null
  /** Vendor id of the series that this occurrence belongs to. */
  readonly seriesId: string | null
  readonly originalStart: EventTime | null
  readonly location: string | null
  readonly organizer: string | null
  readonly updatedAt: Micros | null
  readonly etag: string | null
}
