// The one thing that is written to Graph: the event of a canary.
// Source: https://learn.microsoft.com/graph/api/event-update and …/calendar-post-events
import { z } from 'zod'
import type { Micros } from '#shared/domain/ids.ts'
import { pathSegment, readAs } from '../answer.ts'
import type { EventChange } from '../vendor.ts'
import type { Graph } from './call.ts'

const VENDOR = 'Microsoft'
const LASTS_MICROS = 30 * 60 * 1_000_000
/** As events are read, so that the id is the one of their rows. */
const PREFER = 'IdType="ImmutableId"'
const wireWritten = z.object({ id: z.string().min(1).max(1024) })

/** Changes the event; makes another one when it is gone. Throws Failure. */
export async function changeEvent(graph: Graph, change: EventChange): Promise<string> {
  const { vendorCalendarId, vendorEventId, title, at } = change
  const body = {
    subject: title,
    start: timeOf(at),
    end: timeOf(at + LASTS_MICROS),
    showAs: 'free',
    isReminderOn: false,
  }
  const how = { subject: 'calendar', prefer: PREFER, body } as const
  if (vendorEventId !== null) {
    const path = `/me/events/${pathSegment(vendorEventId, VENDOR)}`
    const patched = await graph.call({ ...how, method: 'PATCH', path })
    if (patched.kind === 'ok') return idOf(patched.data)
    if (patched.answer.status !== 404 && patched.answer.status !== 410) throw patched.failure
  }
  const path = `/me/calendars/${pathSegment(vendorCalendarId, VENDOR)}/events`
  const made = await graph.call({ ...how, method: 'POST', path })
  if (made.kind === 'refused') throw made.failure
  return idOf(made.data)
}

function timeOf(at: Micros): { readonly dateTime: string; readonly timeZone: string } {
  return { dateTime: new Date(Math.floor(at / 1000)).toISOString().replace('Z', ''), timeZone: 'UTC' }
}

function idOf(data: unknown): string {
  return readAs(wireWritten, data, { vendor: VENDOR, what: 'event' }).id
}
