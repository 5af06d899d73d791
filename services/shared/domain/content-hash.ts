// The fingerprint of an event: equal exactly when everything that we store and publish of it is
// equal. It includes the vendor's etag and time of change, so that row, stream and vendor agree on
// the version too; a resync of an unchanged calendar still finds every hash equal. Pure.
import { createHash } from 'node:crypto'
import type { CalendarEvent } from './event.ts'

/**
 * Raise it when the fields or their order change:
 * rows with another version are written anew when they are next read.
 */
export const HASH_VERSION = 2

/** 32 bytes (SHA-256 over the fields as JSON, in this order). */
export function contentHash(event: CalendarEvent): Buffer {
  const fields = [
    event.vendorEventId,
    event.title,
    event.status,
    event.busy,
    event.allDay,
    event.start.at,
    event.start.date,
    event.end.at,
    event.end.date,
    event.timeZone,
    event.seriesId,
    event.originalStart?.at ?? null,
    event.originalStart?.date ?? null,
    event.location,
    event.organizer,
    event.updatedAt,
    event.etag,
    event.response,
    event.kind,
    event.showAs,
    event.visibility,
  ]
  return createHash('sha256').update(JSON.stringify(fields)).digest()
}
