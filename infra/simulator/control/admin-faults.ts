// Admin routes for trouble: faults on requests, and messages that no change stands behind.
import type { Route } from '../http.ts'
import type { AdminContext } from './context.ts'
import { faultBody, refusalBody, webhookBody } from './bodies.ts'
import type { FaultSpec } from './faults.ts'
import { NotFound, parseBody } from './parse-body.ts'
import { refusalFault } from './refusals.ts'

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
    method: 'POST',
    path: '/admin/refusals',
    handle: ({ deps, call }) => {
      const fault = refusalFault(parseBody(refusalBody, call.body))
      return { status: 201, body: { faultId: deps.faults.add(fault).faultId } }
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
