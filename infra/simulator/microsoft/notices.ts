// Change and lifecycle notifications of Graph: batched posts with items of several subscriptions, at least once and in no promised order.
// Anything but a 2xx is tried again for four hours of the simulated clock; an endpoint that is often slow gets its notifications
// late, and one that is slow too often loses them for ten minutes (learn.microsoft.com/graph/change-notifications-delivery-webhooks).
import type { SimulatorClock } from '../clock/clock.ts'
import type { Knobs } from '../control/knobs.ts'
import { createRandom, digest, type Random } from '../random.ts'
import type { Change } from '../world/commit.ts'
import type { Subscription } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import { createEndpoints, type Endpoints } from './endpoints.ts'
import { shownId } from './event-shape.ts'

export interface NoticeDeps {
  readonly world: World
  readonly knobs: Knobs
  readonly clock: SimulatorClock
  readonly seed: string
  /** Tells the ledger of webhook attempts. */
  readonly record: (attempt: NoticeAttempt) => void
}

export interface NoticeAttempt {
  readonly at: number
  readonly channelId: string
  readonly url: string
  readonly attempt: number
  readonly status?: number
  readonly error?: string
  readonly latencyMs: number
}

export type LifecycleEvent = 'missed' | 'subscriptionRemoved' | 'reauthorizationRequired'

export interface Notices extends AsyncDisposable {
  /** Tells the subscriptions of a calendar about a change. */
  changed(change: Change): void
  lifecycle(subscription: Subscription, event: LifecycleEvent): void
  /** Sends items as they are, to an address: forged ones, or for subscriptions that nobody knows. */
  forged(url: string, items: readonly object[]): void
  forget(): void
  wake(): void
  readonly pending: number
  idle(): Promise<void>
}

interface Item {
  readonly subscriptionId: string
  readonly body: object
}

interface Post {
  readonly url: string
  readonly items: readonly Item[]
  readonly attempt: number
  readonly firstAt: number
}

/** Items that one post carries at most, and how long one waits for others, by the wall clock. */
const BATCH_MAX = 20
const GATHER_MS = 5
const ATTEMPT_MS_MAX = 30_000
const RETRY_MS_MAX = 4 * 3_600_000
const WAITING_MAX = 100_000

export function createNotices(deps: NoticeDeps): Notices {
  return new NoticeQueue(deps, createRandom(`${deps.seed}/notices`))
}

class NoticeQueue implements Notices {
  readonly #deps: NoticeDeps
  readonly #random: Random
  readonly #ready = new Map<string, Item[]>()
  readonly #delayed = new Set<() => void>()
  readonly #idlers: (() => void)[] = []
  readonly #endpoints: Endpoints
  #gathering: NodeJS.Timeout | undefined
  #inFlight = 0
  #closed = false

  constructor(deps: NoticeDeps, random: Random) {
    this.#deps = deps
    this.#random = random
    this.#endpoints = createEndpoints(() => deps.world.now())
  }

  get pending(): number {
    let waiting = this.#delayed.size + this.#inFlight
    for (const items of this.#ready.values()) waiting += items.length
    return waiting
  }

  changed(change: Change): void {
    for (const subscription of this.#deps.world.subscriptionsOf(change.accountId, change.calendarId)) {
      for (const type of typesOf(change)) {
        if (subscription.changeTypes.includes(type))
          this.#announce(subscription, this.#itemOf(subscription, change, type))
      }
    }
  }

  lifecycle(subscription: Subscription, event: LifecycleEvent): void {
    if (event === 'subscriptionRemoved') this.#deps.world.removeSubscription(subscription.id)
    if (event === 'reauthorizationRequired')
      this.#deps.world.putSubscription({ ...subscription, paused: true })
    if (subscription.lifecycleUrl === null) return
    const body = { ...envelope(this.#deps, subscription), lifecycleEvent: event }
    this.#enqueue(subscription.lifecycleUrl, { subscriptionId: subscription.id, body })
  }

  forged(url: string, items: readonly object[]): void {
    void this.#send({
      url,
      items: items.map((body) => ({ subscriptionId: 'forged', body })),
      attempt: 1,
      firstAt: this.#deps.world.now(),
    })
  }

  forget(): void {
    this.#ready.clear()
    for (const cancel of this.#delayed) cancel()
    this.#delayed.clear()
  }

  wake(): void {
    if (this.#closed || this.#gathering !== undefined || this.#deps.knobs.notifications.paused) return
    this.#gathering = setTimeout(() => this.#flush(), GATHER_MS)
  }

  idle(): Promise<void> {
    if (this.#inFlight === 0 && this.#ready.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#idlers.push(resolve))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    this.forget()
    clearTimeout(this.#gathering)
    for (const idle of this.#idlers.splice(0)) idle()
    await Promise.resolve()
  }

  #announce(subscription: Subscription, item: Item): void {
    const { world, knobs } = this.#deps
    if (subscription.paused || subscription.expiresAt <= world.now()) return
    const { drop, duplicate, delayMs, reorder } = knobs.notifications
    const url = subscription.notificationUrl
    const state = this.#endpoints.state(url)
    if (this.#random.chance(drop) || state === 'drop') {
      this.#record(subscription.id, url, 0, { error: 'dropped', latencyMs: 0 })
      return
    }
    for (let copy = 0; copy <= duplicate; copy += 1) {
      const wait = delayMs + (reorder ? this.#random.below(500) : 0) + (state === 'slow' ? 10_000 : 0)
      if (wait > 0) this.#later(wait, () => this.#enqueue(url, item))
      else this.#enqueue(url, item)
    }
  }

  #enqueue(url: string, item: Item): void {
    if (this.#closed || this.pending >= WAITING_MAX) return
    const items = this.#ready.get(url) ?? []
    this.#ready.set(url, items)
    items.push(item)
    this.wake()
  }

  #flush(): void {
    this.#gathering = undefined
    if (this.#closed || this.#deps.knobs.notifications.paused) return
    for (const [url, items] of this.#ready) {
      const ordered = this.#deps.knobs.notifications.reorder ? items.toReversed() : items
      for (let at = 0; at < ordered.length; at += BATCH_MAX) {
        const batch = ordered.slice(at, at + BATCH_MAX)
        void this.#send({ url, items: batch, attempt: 1, firstAt: this.#deps.world.now() })
      }
    }
    this.#ready.clear()
  }

  #later(delayMs: number, run: () => void): void {
    const cancel = this.#deps.clock.after(delayMs, () => {
      this.#delayed.delete(cancel)
      run()
    })
    this.#delayed.add(cancel)
  }

  async #send(post: Post): Promise<void> {
    this.#inFlight += 1
    const began = performance.now()
    const outcome = await postOnce(post)
    const latencyMs = performance.now() - began
    this.#inFlight -= 1
    if (this.#closed) return
    this.#endpoints.answered(post.url, latencyMs)
    for (const { subscriptionId } of post.items)
      this.#record(subscriptionId, post.url, post.attempt, { ...outcome, latencyMs })
    const delivered = 'status' in outcome && outcome.status >= 200 && outcome.status < 300
    const { retryBaseMs } = this.#deps.knobs.notifications
    const wait = Math.min(600_000, retryBaseMs * 2 ** (post.attempt - 1)) * (0.5 + this.#random.next() / 2)
    if (!delivered && this.#deps.world.now() + wait - post.firstAt < RETRY_MS_MAX)
      this.#later(wait, () => void this.#send({ ...post, attempt: post.attempt + 1 }))
    if (this.#inFlight === 0 && this.#ready.size === 0) for (const idle of this.#idlers.splice(0)) idle()
  }

  #record(
    channelId: string,
    url: string,
    attempt: number,
    outcome: { readonly status?: number; readonly error?: string; readonly latencyMs: number },
  ): void {
    this.#deps.record({ at: this.#deps.world.now(), channelId, url, attempt, ...outcome })
  }

  /** Ids and resources come in several spellings. */
  #itemOf(subscription: Subscription, change: Change, type: string): Item {
    const id = shownId(change.eventId, change.calendarId, subscription.immutableIds)
    const user = digest(change.accountId, 16)
    const resource = this.#random.chance(0.5)
      ? `Users/${user}/Events/${id}`
      : `users('${user}')/events('${id}')`
    const body = {
      id: digest(`${subscription.id}/${change.seq}/${type}`, 16),
      ...envelope(this.#deps, subscription),
      changeType: type,
      resource,
      resourceData: {
        '@odata.type': '#Microsoft.Graph.Event',
        '@odata.id': resource,
        '@odata.etag': `W/${change.etag}`,
        id,
      },
    }
    return { subscriptionId: subscription.id, body }
  }
}

/** One creation is told as created and updated; an update at most once more. */
function typesOf(change: Change): readonly string[] {
  if (change.kind === 'create') return ['created', 'updated']
  return [change.kind === 'delete' ? 'deleted' : 'updated']
}

function envelope({ seed }: NoticeDeps, subscription: Subscription) {
  return {
    subscriptionId: subscription.id,
    subscriptionExpirationDateTime: `${new Date(subscription.expiresAt).toISOString().slice(0, 23)}0000Z`,
    ...(subscription.clientState === null ? {} : { clientState: subscription.clientState }),
    tenantId: `${digest(`${seed}/tenant`, 8)}-0000-4000-8000-000000000000`,
  }
}

async function postOnce(post: Post): Promise<{ status: number } | { error: string }> {
  try {
    const response = await fetch(post.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ value: post.items.map(({ body }) => body) }),
      redirect: 'manual',
      signal: AbortSignal.timeout(ATTEMPT_MS_MAX),
    })
    await response.arrayBuffer()
    return { status: response.status }
  } catch (error) {
    return { error: error instanceof Error ? error.name : 'failed' }
  }
}
