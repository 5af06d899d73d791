// All routes of the API for apps, together.
import type { FastifyInstance } from 'fastify'
import { registerBusy } from './busy.ts'
import { registerCalendarSelection } from './calendar-selection.ts'
import { registerConnections } from './connections.ts'
import type { ApiDeps } from './deps.ts'
import { registerDisconnect } from './disconnect.ts'
import { registerEvents } from './events.ts'
import { registerOpenApi } from './openapi.ts'
import { registerSyncApi } from './sync.ts'

export function registerApi(app: FastifyInstance, deps: ApiDeps): void {
  registerSyncApi(app, deps)
  registerConnections(app, deps)
  registerDisconnect(app, deps)
  registerCalendarSelection(app, deps)
  registerBusy(app, deps)
  registerEvents(app, deps)
  registerOpenApi(app, deps.publicUrl)
}
