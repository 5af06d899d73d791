// Admin routes of the clock: where it stands, and moving it on.
import type { Answer, Route } from '../http.ts'
import type { AdminContext, AdminDeps } from './context.ts'
import { clockBody } from './bodies.ts'
import { parseBody } from './parse-body.ts'

export const CLOCK_ROUTES: readonly Route<AdminContext>[] = [
  { method: 'GET', path: '/admin/clock', handle: ({ deps }) => show(deps) },
  {
    method: 'POST',
    path: '/admin/clock',
    handle: async ({ deps, call }) => {
      const body = parseBody(clockBody, call.body)
      const ms = 'advanceMs' in body ? body.advanceMs : Date.parse(body.to) - deps.clock.now()
      if (ms < 0) throw new RangeError('to: lies in the past; the clock does not go back.')
      await deps.clock.advance(ms)
      return show(deps)
    },
  },
]

function show({ clock }: AdminDeps): Answer {
  const now = clock.now()
  const { mode, waiting } = clock
  return { status: 200, body: { mode, now, time: new Date(now).toISOString(), timers: waiting } }
}
