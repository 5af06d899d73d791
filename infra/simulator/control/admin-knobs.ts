// Admin routes that turn the knobs. Each answers the group as it stands now.
import type { Route } from '../http.ts'
import type { AdminContext } from './context.ts'
import * as BODIES from './bodies.ts'
import type { Knobs } from './knobs.ts'
import { parseBody } from './parse-body.ts'
import type { z } from 'zod'

type Group = { [K in keyof Knobs]: Knobs[K] extends object ? K : never }[keyof Knobs]

export const KNOB_ROUTES: readonly Route<AdminContext>[] = [
  { method: 'GET', path: '/admin/knobs', handle: ({ deps }) => ({ status: 200, body: deps.knobs }) },
  group('notifications', BODIES.notificationsBody),
  group('consent', BODIES.consentBody),
  group('grants', BODIES.grantsBody),
  group('quota', BODIES.quotaBody),
  group('cursors', BODIES.cursorsBody),
  group('series', BODIES.seriesBody),
  group('channels', BODIES.channelsBody),
  group('paging', BODIES.pagingBody),
  group('microsoft', BODIES.microsoftBody),
  {
    method: 'POST',
    path: '/admin/latency',
    handle: ({ deps, call }) => {
      deps.knobs.latencyMs = parseBody(BODIES.latencyBody, call.body).ms
      return { status: 200, body: { ms: deps.knobs.latencyMs } }
    },
  },
  {
    method: 'POST',
    path: '/admin/access-tokens',
    handle: ({ deps, call }) => {
      deps.knobs.accessTokenSeconds = parseBody(BODIES.accessTokensBody, call.body).seconds
      return { status: 200, body: { seconds: deps.knobs.accessTokenSeconds } }
    },
  },
]

function group(name: Group, schema: z.ZodType): Route<AdminContext> {
  return {
    method: 'POST',
    path: `/admin/${name}`,
    handle: ({ deps, call }) => {
      Object.assign(deps.knobs[name], parseBody(schema, call.body))
      // A pause of the notifications may have ended.
      deps.push.wake()
      deps.notices.wake()
      return { status: 200, body: deps.knobs[name] }
    },
  }
}
