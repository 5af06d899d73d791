// Names of things: branded ids, the stable event id and the outbox shard of a connection. Pure.
import { v5 } from 'uuid'

type Brand<K, T> = K & { readonly __brand: T }

export type ProviderId = Brand<string, 'ProviderId'>
export type ConnectionId = Brand<string, 'ConnectionId'>
export type CalendarId = Brand<string, 'CalendarId'>
export type EventId = Brand<string, 'EventId'>
export type Micros = number

export type VendorName = 'google' | 'microsoft'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Whether the text is a uuid in its usual form; letter case does not matter. */
export function isUuid(text: string): boolean {
  return UUID.test(text)
}

export const providerId = (text: string): ProviderId => text.toLowerCase() as ProviderId
export const connectionId = (text: string): ConnectionId => text.toLowerCase() as ConnectionId
export const calendarId = (text: string): CalendarId => text.toLowerCase() as CalendarId

/**
 * The id of an event on our side: uuidv5 of the calendar and the vendor's id, so that
 * it survives delete and re-create. Vendor ids are case-sensitive (Graph documents it)
 * and are taken as they are.
 */
export function eventIdOf(calendar: CalendarId, vendorEventId: string): EventId {
  return v5(vendorEventId, calendar) as EventId
}

export const SHARDS = 16

/** The transactional id under which a shard is published; who opens it fences who had it before. */
export function transactionalIdOf(shard: number): string {
  return `relay-${shard}`
}

/**
 * The outbox shard of a connection, 0…15.
 * The last digits of a uuid are random in versions 4 and 7 alike.
 */
export function shardOf(connection: ConnectionId): number {
  return Number.parseInt(connection.slice(-2), 16) % SHARDS
}
