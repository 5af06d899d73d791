// The one thing that is written to Google: the event of a canary.
// Source: https://developers.google.com/workspace/calendar/api/v3/reference/events/patch and
// …/events/insert
import { z } from 'zod'
import { readAs } from '../answer.ts'
import type { EventChange } from '../vendor.ts'
import { calendarParam, toRfc3339, VENDOR, type Call } from './call.ts'

const LASTS_MICROS = 30 * 60 * 1_000_000
const wireWritten = z.object({ id: z.string().min(1).max(1024) })

/** Changes the event; makes another one when it is gone. Throws Failure. */
export async function changeEvent(call: Call, change: EventChange): Promise<string> {
  const { vendorCalendarId, vendorEventId, title, at } = change
  const calendarId = calendarParam(vendorCalendarId)
  const requestBody = {
    summary: title,
    start: { dateTime: toRfc3339(at) },
    end: { dateTime: toRfc3339(at + LASTS_MICROS) },
    transparency: 'transparent',
    // A deleted event is shown as cancelled, and this brings it back.
    status: 'confirmed',
  }
  const common = { calendarId, fields: 'id', requestBody }
  if (vendorEventId !== null) {
    const patched = await call('calendar', (api, options) =>
      api.events.patch({ ...common, eventId: vendorEventId }, options),
    )
    if (patched.kind === 'ok') return idOf(patched.data)
    if (patched.answer.status !== 404 && patched.answer.status !== 410) throw patched.failure
  }
  const made = await call('calendar', (api, options) => api.events.insert(common, options))
  if (made.kind === 'refused') throw made.failure
  return idOf(made.data)
}

function idOf(data: unknown): string {
  return readAs(wireWritten, data, { vendor: VENDOR, what: 'event' }).id
}
