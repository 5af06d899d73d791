// One event by its id: what a full read lacked is asked for before it is believed to be gone.
import { pathSegment } from '../answer.ts'
import { standsThere } from '../storable.ts'
import type { LookUpRequest, Vendor } from '../vendor.ts'
import { googleMask } from '../wire-fields.ts'
import { calendarId, VENDOR, type Call } from './call.ts'
import { readProblem } from './errors.ts'
import { mapEvent } from './map.ts'
import { wireEvent } from './wire.ts'

const FIELDS = googleMask(wireEvent)

/**
 * The port's `lookUp`. A deleted event is shown as cancelled for a while, and then is not known any
 * more.
 */
export async function lookUp(
  call: Call,
  accessToken: string,
  { vendorCalendarId, vendorEventId, window }: LookUpRequest,
  signal: AbortSignal,
): ReturnType<Vendor['lookUp']> {
  pathSegment(vendorEventId, VENDOR)
  const params = {
    calendarId: calendarId(vendorCalendarId),
    eventId: vendorEventId,
    maxAttendees: 1,
    fields: FIELDS,
  }
  const outcome = await call({ accessToken, subject: 'calendar' }, signal, (api, options) =>
    api.events.get(params, options),
  )
  if (outcome.kind === 'ok') return standsThere(mapEvent(outcome.data), window) ? 'there' : 'gone'
  const { status, data } = outcome.answer
  if ((status === 404 || status === 410) && readProblem(data) !== null) return 'gone'
  throw outcome.failure
}
