// One event by its id: what a full read lacked is asked for before it is believed to be gone.
import { pathSegment } from '../answer.ts'
import { standsThere } from '../storable.ts'
import type { LookUpRequest, Vendor } from '../vendor.ts'
import { odataSelect } from '../wire-fields.ts'
import type { Graph } from './call.ts'
import { PREFER_EVENTS } from './delta.ts'
import { isNotFound } from './errors.ts'
import { mapEvent, mapRow } from './map.ts'
import { wireEvent } from './wire.ts'

const FIELDS = odataSelect(wireEvent)

/**
 * The port's `lookUp`. An id that names a series now is no event any more: its occurrences have ids
 * of their own.
 */
export async function lookUp(
  graph: Graph,
  accessToken: string,
  { vendorCalendarId, vendorEventId, window }: LookUpRequest,
  signal: AbortSignal,
): ReturnType<Vendor['lookUp']> {
  const [calendar, event] = [vendorCalendarId, vendorEventId].map((id) => pathSegment(id, 'Microsoft'))
  const path = `/me/calendars/${calendar}/events/${event}`
  const outcome = await graph.call(
    { accessToken, subject: 'calendar', path, query: { $select: FIELDS }, prefer: PREFER_EVENTS },
    signal,
  )
  if (outcome.kind === 'ok') {
    const row = mapRow(outcome.data)
    if (row.kind === 'series' && row.seriesId === vendorEventId) return 'gone'
    return standsThere(mapEvent(outcome.data), window) ? 'there' : 'gone'
  }
  const { status, data } = outcome.answer
  if ((status === 404 || status === 410) && isNotFound(data)) return 'gone'
  throw outcome.failure
}
