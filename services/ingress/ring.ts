// What the ingress asks for: a sync of one connection, or of one of its calendars.
import type { CalendarId, ConnectionId, Micros, ProviderId, VendorName } from '#shared/domain/ids.ts'

export interface Ring {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  readonly vendor: VendorName
  readonly reason: 'webhook' | 'api'
  readonly calendarId: CalendarId | null
  readonly deliveryKey: string | null
  readonly asOf: Micros | null
}
