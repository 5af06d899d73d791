// Admin routes for trouble: faults on requests, and the knobs.
import type { Route } from '../http.ts'
import type { AdminContext } from './admin.ts'
import {
  accessTokensBody,
  consentBody,
  faultBody,
  grantsBody,
  latencyBody,
  notificationsBody,
  pagingBody,
  webhookBody,
} from './bodies.ts'
import type { FaultSpec } from './faults.ts'
import { NotFound, parseBody } from './parse-body.ts'

export const FAULT_ROUTES: readonly Route<AdminContext>[] = [
  {
    method: 'POST',
    path: '/admin/faults',
    handle: ({ deps, call }) => {
      const spec = parseBody(faultBody, call.body) as FaultSpec
      return { status: 201, body: { faultId: deps.faults.add(spec).faultId } }
    },
  },
  {
    method: 'GET',
    path: '/admin/faults',
    handle: ({ deps }) => ({ status: 200, body: { faults: deps.faults.list() } }),
  },
  {
    method: 'DELETE',
    path: '/admin/faults/:faultId',
    handle: ({ deps }, params) => {
      if (!deps.faults.remove(params['faultId'] ?? '')) throw new NotFound('There is no such fault.')
      return { status: 204 }
    },
  },
  {
    method: 'DELETE',
    path: '/admin/faults',
    handle: ({ deps }) => {
      deps.faults.clear()
      return { status: 204 }
    },
  },
  { method: 'GET', path: '/admin/knobs', handle: ({ deps }) => ({ status: 200, body: deps.knobs }) },
  {
    method: 'POST',
    path: '/admin/notifications',
    handle: ({ deps, call }) => {
      Object.assign(deps.knobs.notifications, parseBody(notificationsBody, call.body))
      deps.push.wake()
      return { status: 200, body: deps.knobs.notifications }
    },
  },
  {
    method: 'POST',
    path: '/admin/latency',
    handle: ({ deps, call }) => {
      deps.knobs.latencyMs = parseBody(latencyBody, call.body).ms
      return { status: 200, body: { ms: deps.knobs.latencyMs } }
    },
  },
  {
    method: 'POST',
    path: '/admin/access-tokens',
    handle: ({ deps, call }) => {
      deps.knobs.accessTokenSeconds = parseBody(accessTokensBody, call.body).seconds
      return { status: 200, body: { seconds: deps.knobs.accessTokenSeconds } }
    },
  },
  {
    method: 'POST',
    path: '/admin/consent',
    handle: ({ deps, call }) => {
      Object.assign(deps.knobs.consent, parseBody(consentBody, call.body))
      return { status: 200, body: deps.knobs.consent }
    },
  },
  {
    method: 'POST',
    path: '/admin/grants',
    handle: ({ deps, call }) => {
      Object.assign(deps.knobs.grants, parseBody(grantsBody, call.body))
      return { status: 200, body: deps.knobs.grants }
    },
  },
  {
    method: 'POST',
    path: '/admin/paging',
    handle: ({ deps, call }) => {
      Object.assign(deps.knobs.paging, parseBody(pagingBody, call.body))
      return { status: 200, body: deps.knobs.paging }
    },
  },
  {
    method: 'POST',
    path: '/admin/webhooks/send',
    handle: ({ deps, call }) => {
      const { channelId, copies, messageNumber, token, resourceId, address } = parseBody(
        webhookBody,
        call.body,
      )
      const known = deps.world.channels.get(channelId)
      if (!known && address === undefined)
        throw new NotFound('There is no such channel; give an address to send anyway.')
      const {
        accountId = '',
        calendarId = '',
        resourceUri = deps.googleUrl(),
        expiresAt = deps.world.now(),
      } = known ?? {}
      const forged = {
        id: channelId,
        accountId,
        calendarId,
        resourceUri,
        expiresAt,
        resourceId: resourceId ?? known?.resourceId ?? 'unknown',
        address: address ?? known?.address ?? '',
        token: token ?? known?.token ?? null,
      }
      deps.push.spurious(forged, copies ?? 1, messageNumber)
      return { status: 202, body: { copies: copies ?? 1 } }
    },
  },
]
