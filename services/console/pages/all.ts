// Every page, in the order of the navigation.
import type { FastifyInstance } from 'fastify'
import { connectionPage } from './connection.ts'
import { connectionsPage } from './connections.ts'
import { deadLettersPage } from './dead-letters.ts'
import { drillsPage, hasDrills } from './drills.ts'
import { fleetPage } from './fleet.ts'
import { gatesPage, type FlagServer } from './gates.ts'
import { newRepairPage, registerRepairs, repairsPage } from './repairs.ts'
import { registerPage, type PageDeps } from './pages.ts'
import type { Frame } from '../layout.ts'

/** The navigation; the drills stand in it where their evidence is. */
export async function linksOf(): Promise<Frame['links']> {
  return [
    { path: '/fleet', label: 'Fleet' },
    { path: '/connections', label: 'Connections' },
    { path: '/repairs', label: 'Repairs' },
    { path: '/dead-letters', label: 'Dead letters' },
    { path: '/gates', label: 'Gates' },
    ...((await hasDrills()) ? [{ path: '/drills', label: 'Drills' }] : []),
  ]
}

/** Registers the pages; the empty path leads to the first. */
export function registerPages(app: FastifyInstance, deps: PageDeps, flags: FlagServer): void {
  app.get('/', (_request, reply) => reply.redirect('/fleet', 303))
  registerPage(app, deps, fleetPage(deps))
  registerPage(app, deps, connectionsPage(deps))
  registerPage(app, deps, connectionPage(deps))
  registerPage(app, deps, repairsPage(deps))
  registerPage(app, deps, newRepairPage(deps))
  registerRepairs(app, deps)
  registerPage(app, deps, deadLettersPage(deps))
  registerPage(app, deps, gatesPage(deps, flags))
  registerPage(app, deps, drillsPage())
}
