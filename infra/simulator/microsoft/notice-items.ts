// What a notification of Graph's says: learn.microsoft.com/graph/api/resources/changenotification.
// One creation is told as created and updated; ids and resources come in several spellings; the
// form of the event's id is the one of the subscription's making.
import type { ChangeNotification, ChangeType, LifecycleEventType } from '@microsoft/microsoft-graph-types'
import { digest, type Random } from '../random.ts'
import type { Change } from '../world/commit.ts'
import type { Subscription } from '../world/entries.ts'
import { shownId } from './event-shape.ts'

/** What stands in `resourceData`, which Microsoft's types leave empty. */
interface EventData {
  readonly '@odata.type': '#Microsoft.Graph.Event'
  readonly '@odata.id': string
  readonly '@odata.etag': string
  readonly id: string
}

/** One item of a post; `at` is when its change happened, ms epoch. */
export interface Item {
  readonly subscriptionId: string
  readonly at: number
  readonly kind: 'change' | 'lifecycle' | 'forged'
  readonly body: object
  readonly told?: Told
}

/** What tells one change from another in a notification, for the ledger of webhook attempts. */
export interface Told {
  readonly resource: string
  readonly changeType: ChangeType
  readonly etag: string
}

export interface ItemDeps {
  readonly seed: string
  readonly random: Random
}

/** The kinds of notification that a change gives, each as often as bursts are long. */
export function typesOf(change: Change, perChange: number): readonly ChangeType[] {
  const again = (type: ChangeType) => Array.from({ length: perChange }, () => type)
  if (change.kind === 'create') return [...again('created'), ...again('updated')]
  return again(change.kind === 'delete' ? 'deleted' : 'updated')
}

/** A change as one subscription is told of it; `no` tells the notifications of one change apart. */
export function changeItem(
  { seed, random }: ItemDeps,
  subscription: Subscription,
  change: Change,
  { type, no }: { readonly type: ChangeType; readonly no: number },
): Item {
  const id = shownId(change.eventId, change.calendarId, subscription.immutableIds)
  const user = digest(change.accountId, 16)
  const resource = random.chance(0.5) ? `Users/${user}/Events/${id}` : `users('${user}')/events('${id}')`
  const told: Told = { resource, changeType: type, etag: `W/${change.etag}` }
  const body = {
    id: digest(`${subscription.id}/${change.seq}/${type}/${no}`, 16),
    ...envelope(seed, subscription),
    changeType: type,
    resource,
    resourceData: {
      '@odata.type': '#Microsoft.Graph.Event',
      '@odata.id': resource,
      '@odata.etag': told.etag,
      id,
    } satisfies EventData,
  } satisfies ChangeNotification
  return { subscriptionId: subscription.id, at: change.at, kind: 'change', body, told }
}

/** What is told of a subscription itself. */
export function lifecycleItem(
  seed: string,
  subscription: Subscription,
  event: LifecycleEventType,
  at: number,
): Item {
  const body = { ...envelope(seed, subscription), lifecycleEvent: event } satisfies ChangeNotification
  return { subscriptionId: subscription.id, at, kind: 'lifecycle', body }
}

function envelope(seed: string, subscription: Subscription) {
  return {
    subscriptionId: subscription.id,
    subscriptionExpirationDateTime: `${new Date(subscription.expiresAt).toISOString().slice(0, 23)}0000Z`,
    ...(subscription.clientState === null ? {} : { clientState: subscription.clientState }),
    tenantId: `${digest(`${seed}/tenant`, 8)}-0000-4000-8000-000000000000`,
  }
}
