// Admin routes that only Microsoft has: its subscriptions, their lifecycle notifications, and
// notifications that nobody should believe.
import type { Route } from '../http.ts'
import type { AdminContext } from './context.ts'
import { forgedBody, lifecycleBody, loseSubscriptionBody } from './bodies.ts'
import { NotFound, parseBody } from './parse-body.ts'

export const MICROSOFT_ROUTES: readonly Route<AdminContext>[] = [
  {
    method: 'GET',
    path: '/admin/subscriptions',
    handle: ({ deps }) => {
      const subscriptions = [...deps.world.subscriptions.values()].map(
        ({ clientState: _secret, ...subscription }) => subscription,
      )
      return {
        status: 200,
        body: { subscriptions, pending: deps.notices.pending, endpoints: deps.notices.endpoints },
      }
    },
  },
  {
    // Without a notification: as if it had never been,
    // which no vendor documents and all of them do.
    method: 'POST',
    path: '/admin/subscriptions/lose',
    handle: ({ deps, call }) => {
      const { id } = parseBody(loseSubscriptionBody, call.body)
      if (!deps.world.subscriptions.has(id)) throw new NotFound('There is no such subscription.')
      deps.world.removeSubscription(id)
      return { status: 204 }
    },
  },
  {
    method: 'POST',
    path: '/admin/lifecycle',
    handle: ({ deps, call }) => {
      const { event, subscriptionId, accountId } = parseBody(lifecycleBody, call.body)
      const chosen = [...deps.world.subscriptions.values()].filter(
        (subscription) =>
          (subscriptionId === undefined || subscription.id === subscriptionId) &&
          (accountId === undefined || subscription.accountId === accountId),
      )
      for (const subscription of chosen) deps.notices.lifecycle(subscription, event)
      return { status: 202, body: { subscriptions: chosen.length } }
    },
  },
  {
    method: 'POST',
    path: '/admin/notifications/forged',
    handle: ({ deps, call }) => {
      const { url, items } = parseBody(forgedBody, call.body)
      deps.notices.forged(url, items)
      return { status: 202, body: { items: items.length } }
    },
  },
]
