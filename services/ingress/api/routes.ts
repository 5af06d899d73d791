// All routes of the API for apps, together.
import type { FastifyInstance } from 'fastify'
import { registerBusy, type BusyDeps } from './busy.ts'
import { registerCalendarSelection, type SelectionDeps } from './calendar-selection.ts'
import { registerConnections, type ConnectionsDeps } from './connections.ts'
import { registerDisconnect, type DisconnectDeps } from './disconnect.ts'
import { registerEvents, type EventsDeps } from './events.ts'
import { registerOpenApi } from './openapi.ts'
import { registerSyncApi, type SyncApiDeps } from './sync.ts'

export function registerApi(
  app: FastifyInstance,
  deps: SyncApiDeps &
    ConnectionsDeps &
    DisconnectDeps &
    SelectionDeps &
    BusyDeps &
    EventsDeps & { readonly publicUrl: string },
): void {
  registerSyncApi(app, deps)
  registerConnections(app, deps)
  registerDisconnect(app, deps)
  registerCalendarSelection(app, deps)
  registerBusy(app, deps)
  registerEvents(app, deps)
  registerOpenApi(app, deps)
}
