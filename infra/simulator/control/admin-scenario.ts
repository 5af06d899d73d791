// Admin routes of the scenario: one runs at a time; starting another ends the one before.
import type { Route } from '../http.ts'
import type { AdminContext } from './context.ts'
import { NotFound } from './parse-body.ts'

export const SCENARIO_ROUTES: readonly Route<AdminContext>[] = [
  {
    method: 'POST',
    path: '/admin/scenario',
    handle: async ({ deps, call }) => ({ status: 201, body: await deps.scenario().start(call.body) }),
  },
  {
    method: 'GET',
    path: '/admin/scenario',
    handle: ({ deps }) => {
      const state = deps.scenario().read()
      if (!state) throw new NotFound('No scenario was started.')
      return { status: 200, body: state }
    },
  },
  {
    method: 'DELETE',
    path: '/admin/scenario',
    handle: ({ deps }) => {
      deps.scenario().cancel()
      return { status: 204 }
    },
  },
]
