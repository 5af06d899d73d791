// Change and lifecycle notifications of Graph: batched posts with items of several subscriptions,
// at least once and in no promised order. Anything but a 2xx is tried again for four hours of the
// simulated clock; an endpoint that is often slow gets its notifications late, and one that is slow
// too often loses them for up to ten minutes. A subscription that lost some that way is told by
// `missed` once it can be reached
// (learn.microsoft.com/graph/change-notifications-delivery-webhooks, …-lifecycle-events). What the
// knob `drop` loses, nobody is told of. While a subscription waits to be reauthorized its
// notifications wait too, four hours at most.
import type { LifecycleEventType } from '@microsoft/microsoft-graph-types'
import { callbackUrl } from '../callback.ts'
import type { SimulatorClock } from '../clock/clock.ts'
import type { Knobs } from '../control/knobs.ts'
import { createRandom, type Random } from '../random.ts'
import type { Change } from '../world/commit.ts'
import type { Subscription } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import { createEndpoints, type Endpoints } from './endpoints.ts'
import { changeItem, type Item, lifecycleItem, type Told, typesOf } from './notice-items.ts'

export interface NoticeDeps {
  readonly world: World
  readonly knobs: Knobs
  readonly clock: SimulatorClock
  readonly seed: string
  /** Where callbacks to this machine go instead. */
  readonly loopbackHost?: string | undefined
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
  readonly told?: Told
}

export interface Notices extends AsyncDisposable {
  /** Tells the subscriptions of a calendar about a change. */
  changed(change: Change): void
  lifecycle(subscription: Subscription, event: LifecycleEventType): void
  /**
   * Sends items as they are, to an address: forged ones, or for subscriptions that nobody knows.
   */
  forged(url: string, items: readonly object[]): void
  /** The subscription is paused no longer: what waited for that goes out. */
  resumed(subscription: Subscription): void
  forget(): void
  wake(): void
  readonly pending: number
  /** Hosts whose answers were slow too often. */
  readonly endpoints: Endpoints['troubled']
  idle(): Promise<void>
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
/** How often an endpoint that dropped notifications is looked at again, simulated. */
const MISSED_LOOK_MS = 60_000
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
  /** Of paused subscriptions, by subscription. */
  readonly #held = new Map<string, Item[]>()
  /** Subscriptions that lost notifications and were not told yet → their address. */
  readonly #missed = new Map<string, string>()
  #gathering: NodeJS.Timeout | undefined
  #inFlight = 0
  #closed = false

  constructor(deps: NoticeDeps, random: Random) {
    this.#deps = deps
    this.#random = random
    this.#endpoints = createEndpoints(
      () => deps.world.now(),
      () => deps.knobs.microsoft.slowAnswerMs,
    )
  }

  get pending(): number {
    let waiting = this.#delayed.size + this.#inFlight
    for (const lists of [this.#ready, this.#held]) for (const items of lists.values()) waiting += items.length
    return waiting
  }

  get endpoints(): Endpoints['troubled'] {
    return this.#endpoints.troubled
  }

  changed(change: Change): void {
    const { world, knobs, seed } = this.#deps
    const types = typesOf(change, knobs.notifications.perChange)
    for (const subscription of world.subscriptionsOf(change.accountId, change.calendarId)) {
      for (const [no, type] of types.entries()) {
        if (!subscription.changeTypes.includes(type)) continue
        const item = changeItem({ seed, random: this.#random }, subscription, change, { type, no })
        this.#announce(subscription, item)
      }
    }
  }

  resumed(subscription: Subscription): void {
    const held = this.#held.get(subscription.id) ?? []
    this.#held.delete(subscription.id)
    const oldest = this.#deps.world.now() - RETRY_MS_MAX
    for (const item of held) {
      if (item.at > oldest) this.#announce(subscription, item)
      else this.#lost(subscription, 'too-old')
    }
  }

  lifecycle(subscription: Subscription, event: LifecycleEventType): void {
    if (event === 'subscriptionRemoved') {
      this.#deps.world.removeSubscription(subscription.id)
      this.#held.delete(subscription.id)
    }
    if (event === 'reauthorizationRequired')
      this.#deps.world.putSubscription({ ...subscription, paused: true })
    if (subscription.lifecycleUrl === null) return
    const item = lifecycleItem(this.#deps.seed, subscription, event, this.#deps.world.now())
    this.#enqueue(subscription.lifecycleUrl, item)
  }

  forged(url: string, items: readonly object[]): void {
    const at = this.#deps.world.now()
    const forged = items.map((body) => ({ subscriptionId: 'forged', at, kind: 'forged' as const, body }))
    void this.#send({ url, items: forged, attempt: 1, firstAt: at })
  }

  forget(): void {
    for (const waiting of [this.#ready, this.#held, this.#missed]) waiting.clear()
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
    if (subscription.expiresAt <= world.now()) return
    if (subscription.paused) return this.#hold(item)
    const { drop, duplicate, delayMs, reorder } = knobs.notifications
    const url = subscription.notificationUrl
    if (this.#random.chance(drop)) {
      this.#record(subscription.id, url, 0, { error: 'dropped', latencyMs: 0 })
      return
    }
    const state = this.#endpoints.state(url)
    if (state === 'drop') return this.#lost(subscription, 'endpoint-drop')
    for (let copy = 0; copy <= duplicate; copy += 1) {
      const wait = delayMs + (reorder ? this.#random.below(500) : 0) + (state === 'slow' ? 10_000 : 0)
      if (wait > 0) this.#later(wait, () => this.#enqueue(url, item))
      else this.#enqueue(url, item)
    }
  }

  #hold(item: Item): void {
    if (this.pending >= WAITING_MAX) return
    const held = this.#held.get(item.subscriptionId) ?? []
    this.#held.set(item.subscriptionId, held)
    held.push(item)
  }

  /**
   * A notification will never be sent;
   * the subscription hears so once its endpoint takes what is new again.
   */
  #lost(subscription: Subscription, why: string): void {
    const { id, notificationUrl } = subscription
    this.#record(id, notificationUrl, 0, { error: why, latencyMs: 0 })
    if (!this.#deps.knobs.microsoft.tellsMissed || this.#missed.has(id)) return
    this.#missed.set(id, notificationUrl)
    if (this.#missed.size === 1) this.#later(MISSED_LOOK_MS, () => this.#tellMissed())
  }

  #tellMissed(): void {
    for (const [id, url] of this.#missed) {
      if (this.#endpoints.state(url) === 'drop') continue
      this.#missed.delete(id)
      const subscription = this.#deps.world.subscriptions.get(id)
      if (subscription && subscription.expiresAt > this.#deps.world.now())
        this.lifecycle(subscription, 'missed')
    }
    if (this.#missed.size > 0) this.#later(MISSED_LOOK_MS, () => this.#tellMissed())
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
        const whole = ordered.slice(at, at + BATCH_MAX)
        const batch = this.#deps.knobs.microsoft.tellsClientState ? whole : whole.map(unsigned)
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
    const outcome = await postOnce(post, this.#deps.loopbackHost)
    const latencyMs = performance.now() - began
    this.#inFlight -= 1
    if (this.#closed) return
    this.#endpoints.answered(post.url, latencyMs)
    for (const { subscriptionId, told } of post.items)
      this.#record(subscriptionId, post.url, post.attempt, { ...outcome, latencyMs, ...(told && { told }) })
    const delivered = 'status' in outcome && outcome.status >= 200 && outcome.status < 300
    if (!delivered) this.#again(post)
    if (this.#inFlight === 0 && this.#ready.size === 0) for (const idle of this.#idlers.splice(0)) idle()
  }

  #again(post: Post): void {
    const { world, knobs } = this.#deps
    const { retryBaseMs, retryAttemptsMax } = knobs.notifications
    const wait = Math.min(600_000, retryBaseMs * 2 ** (post.attempt - 1)) * (0.5 + this.#random.next() / 2)
    const isLate = world.now() + wait - post.firstAt >= RETRY_MS_MAX
    if (!isLate && post.attempt < (retryAttemptsMax ?? Infinity))
      return this.#later(wait, () => void this.#send({ ...post, attempt: post.attempt + 1 }))
    for (const { kind, subscriptionId } of post.items) {
      const subscription = world.subscriptions.get(subscriptionId)
      if (kind === 'change' && subscription) this.#lost(subscription, 'given-up')
    }
  }

  #record(
    channelId: string,
    url: string,
    attempt: number,
    outcome: Pick<NoticeAttempt, 'status' | 'error' | 'latencyMs' | 'told'>,
  ): void {
    this.#deps.record({ at: this.#deps.world.now(), channelId, url, attempt, ...outcome })
  }
}

async function postOnce(
  post: Post,
  loopbackHost: string | undefined,
): Promise<{ status: number } | { error: string }> {
  try {
    const response = await fetch(callbackUrl(post.url, loopbackHost), {
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

/**
 * As a client gets it now and then: the subscription has a clientState, and its notification has
 * none.
 */
function unsigned(item: Item): Item {
  return { ...item, body: { ...item.body, clientState: null } }
}
