// Push: turns changes into messages on the channels that watch the calendar, and sends them.
// Delivery is at least once and in no promised order, as at Google; the knobs make it worse.
// Bounded: beyond the cap of waiting messages new ones are dropped and counted.
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { callbackUrl } from '../callback.ts'
import type { SimulatorClock } from '../clock/clock.ts'
import type { NotificationKnobs } from '../control/knobs.ts'
import { createLedger, type Ledger } from '../control/ledger.ts'
import { createRandom, type Random } from '../random.ts'
import type { ChannelInfo } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import { afterAttempt, type Agents, deliver, messageHeaders, retryDelay } from './delivery.ts'

const WAITING_MAX = 100_000
const IN_FLIGHT_MAX = 64
const ATTEMPTS_KEPT = 500_000
/** Google names no end of its retries. */
const RETRY_ATTEMPTS_MAX = 8

export interface Attempt {
  readonly seq: number
  /** ms epoch, fractional: when the attempt began. */
  readonly at: number
  readonly channelId: string
  readonly messageNumber: number
  /** 0 = never sent (dropped by a knob, or over the cap). */
  readonly attempt: number
  readonly url: string
  readonly status?: number
  readonly error?: string
  readonly latencyMs: number
  /** What an item of Microsoft's says of its change. */
  readonly told?: object
}

export interface PushDeps {
  readonly world: World
  readonly knobs: NotificationKnobs
  readonly clock: SimulatorClock
  readonly seed: string
  /** Where callbacks to this machine go instead. */
  readonly loopbackHost?: string | undefined
}

interface Message {
  readonly channel: ChannelInfo
  readonly number: number
  readonly state: 'sync' | 'exists' | 'not_exists'
  attempt: number
}

export interface Push extends AsyncDisposable {
  readonly attempts: Ledger<Attempt>
  /** Announces a change of a calendar to its channels. */
  notify(accountId: string, calendarId: string): void
  /**
   * Sends a new channel its first message. When the knob says that it goes out before the answer to
   * watch, resolves once it was sent or `withinMs` have passed; else at once, and the message
   * follows after `afterMs`.
   */
  sync(channel: ChannelInfo, pace: { readonly withinMs: number; readonly afterMs: number }): Promise<void>
  /** The calendar that the channel watches was deleted. */
  ended(channel: ChannelInfo): void
  /** Sends a message that no change stands behind; the channel may be stopped or expired. */
  spurious(channel: ChannelInfo, copies: number, messageNumber?: number): void
  /** Adds an attempt that another sender made to the ledger. */
  note(attempt: Omit<Attempt, 'seq'>): void
  /** Forgets what waits (the world was reset). */
  forget(): void
  /** To be called when the knobs were turned: a pause may have ended. */
  wake(): void
  /** The number of messages that wait or are being sent. */
  readonly pending: number
  /** Resolves when nothing is being sent and nothing could be. */
  idle(): Promise<void>
}

export function createPush(deps: PushDeps): Push {
  return new PushQueue(deps, createRandom(`${deps.seed}/push`))
}

class PushQueue implements Push {
  readonly attempts = createLedger<Attempt>(ATTEMPTS_KEPT)
  readonly #world: World
  readonly #clock: SimulatorClock
  readonly #knobs: NotificationKnobs
  readonly #random: Random
  readonly #loopbackHost: string | undefined
  readonly #ready: Message[] = []
  /** What cancels each delayed message. */
  readonly #delayed = new Set<() => void>()
  readonly #idlers: (() => void)[] = []
  readonly #numbers = new Map<string, number>()
  readonly #agents: Agents = {
    http: new HttpAgent({ keepAlive: true, maxSockets: IN_FLIGHT_MAX }),
    https: new HttpsAgent({ keepAlive: true, maxSockets: IN_FLIGHT_MAX }),
  }
  #inFlight = 0
  #attemptSeq = 0
  #closed = false

  constructor({ world, knobs, clock, loopbackHost }: PushDeps, random: Random) {
    this.#loopbackHost = loopbackHost
    this.#world = world
    this.#clock = clock
    this.#knobs = knobs
    this.#random = random
    // Channels that the journal brought back have sent messages before: their numbers go on above
    // the last one. Milliseconds run ahead of any channel; seconds did not, and a message with an
    // old number is a duplicate that hides a change.
    for (const id of world.channels.keys()) this.#numbers.set(id, Math.floor(world.now()))
  }

  get pending(): number {
    return this.#ready.length + this.#inFlight + this.#delayed.size
  }

  notify(accountId: string, calendarId: string): void {
    for (const channel of this.#world.channelsOf(accountId, calendarId)) {
      for (let copy = 0; copy < this.#knobs.perChange; copy += 1)
        this.#announce(channel, this.#nextNumber(channel.id))
    }
  }

  ended(channel: ChannelInfo): void {
    if (this.#knobs.notExists)
      this.#enqueue({ channel, number: this.#nextNumber(channel.id), state: 'not_exists', attempt: 1 })
  }

  async sync(
    channel: ChannelInfo,
    pace: { readonly withinMs: number; readonly afterMs: number },
  ): Promise<void> {
    this.#numbers.set(channel.id, 1)
    const { syncMessage } = this.#knobs
    const before = syncMessage === 'before' || (syncMessage === 'mixed' && this.#random.chance(0.5))
    const message: Message = { channel, number: 1, state: 'sync', attempt: 1 }
    if (!before) return this.#afterAnswer(message, pace.afterMs)
    let timer: NodeJS.Timeout | undefined
    const tooLong = new Promise<void>((resolve) => (timer = setTimeout(resolve, pace.withinMs)))
    await Promise.race([this.#send(message), tooLong])
    clearTimeout(timer)
  }

  spurious(channel: ChannelInfo, copies: number, messageNumber?: number): void {
    const number = messageNumber ?? this.#nextNumber(channel.id)
    for (let copy = 0; copy < copies; copy += 1) {
      this.#enqueue({ channel, number, state: 'exists', attempt: 1 })
    }
  }

  note(attempt: Omit<Attempt, 'seq'>): void {
    this.#attemptSeq += 1
    this.attempts.append({ seq: this.#attemptSeq, ...attempt })
  }

  wake(): void {
    while (!this.#closed && !this.#knobs.paused && this.#inFlight < IN_FLIGHT_MAX) {
      const message = this.#ready.shift()
      if (!message) return
      void this.#send(message)
    }
  }

  idle(): Promise<void> {
    if (this.#inFlight === 0) return Promise.resolve()
    return new Promise((resolve) => this.#idlers.push(resolve))
  }

  forget(): void {
    this.#ready.length = 0
    for (const cancel of this.#delayed) cancel()
    this.#delayed.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    this.forget()
    for (const idle of this.#idlers.splice(0)) idle()
    this.#agents.http.destroy()
    this.#agents.https.destroy()
    await Promise.resolve()
  }

  #announce(channel: ChannelInfo, number: number): void {
    if (!this.#world.isOpen(channel)) return
    if (this.#random.chance(this.#knobs.drop)) return this.#unsent({ channel, number, attempt: 0 }, 'dropped')
    for (let copy = 0; copy <= this.#knobs.duplicate; copy += 1) {
      const spread = this.#knobs.reorder ? this.#random.below(500) : 0
      const message: Message = { channel, number, state: 'exists', attempt: 1 }
      if (this.#knobs.delayMs + spread > 0) this.#later(message, this.#knobs.delayMs + spread)
      else this.#enqueue(message)
    }
  }

  #enqueue(message: Message): void {
    if (this.#closed) return
    if (this.pending >= WAITING_MAX) return this.#unsent({ ...message, attempt: 0 }, 'over-the-cap')
    this.#ready.push(message)
    this.wake()
  }

  #later(message: Message, delayMs: number): void {
    if (this.#closed) return
    if (this.pending >= WAITING_MAX) return this.#unsent({ ...message, attempt: 0 }, 'over-the-cap')
    const cancel = this.#clock.after(delayMs, () => {
      this.#delayed.delete(cancel)
      this.#enqueue(message)
    })
    this.#delayed.add(cancel)
  }

  /** By the wall clock, because the order of two messages on the wire is meant. */
  #afterAnswer(message: Message, delayMs: number): void {
    const timer = setTimeout(() => {
      this.#delayed.delete(cancel)
      this.#enqueue(message)
    }, delayMs)
    const cancel = () => clearTimeout(timer)
    this.#delayed.add(cancel)
  }

  async #send(message: Message): Promise<void> {
    this.#inFlight += 1
    const at = this.#world.now()
    const headers = messageHeaders(message.channel, message.number, message.state)
    const delivered = await deliver(
      callbackUrl(message.channel.address, this.#loopbackHost),
      headers,
      this.#agents,
    )
    this.#inFlight -= 1
    if (this.#closed) return
    const outcome = delivered.kind === 'answered' ? { status: delivered.status } : { error: delivered.error }
    this.#record(message, at, { ...outcome, latencyMs: delivered.latencyMs })
    const { retryBaseMs, retryAttemptsMax, retryOnConnectionError } = this.#knobs
    const next = afterAttempt(delivered, retryOnConnectionError)
    if (
      next === 'retry' &&
      message.attempt < (retryAttemptsMax ?? RETRY_ATTEMPTS_MAX) &&
      this.#world.channels.has(message.channel.id)
    ) {
      const delayMs = retryDelay(message.attempt, retryBaseMs, this.#random)
      this.#later({ ...message, attempt: message.attempt + 1 }, delayMs)
    }
    this.wake()
    if (this.#inFlight === 0) for (const idle of this.#idlers.splice(0)) idle()
  }

  #unsent(message: Pick<Message, 'channel' | 'number' | 'attempt'>, error: string): void {
    this.#record(message, this.#world.now(), { error, latencyMs: 0 })
  }

  #record(
    message: Pick<Message, 'channel' | 'number' | 'attempt'>,
    at: number,
    outcome: Pick<Attempt, 'status' | 'error' | 'latencyMs'>,
  ): void {
    this.note({
      at,
      channelId: message.channel.id,
      messageNumber: message.number,
      attempt: message.attempt,
      url: message.channel.address,
      ...outcome,
    })
  }

  #nextNumber(channelId: string): number {
    const number = (this.#numbers.get(channelId) ?? 1) + 1 + this.#random.below(4)
    this.#numbers.set(channelId, number)
    return number
  }
}
