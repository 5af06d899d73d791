// The bytes of vendors' answers that this process has in hand: from their arrival until they are
// read or, for a page, stored. Invariants: all of them together stay below a bound, however many
// calls run; a small answer never waits behind large ones; who waits holds only what a small answer
// may hold, and who may be large needs nothing more, so waits end; a wait is short.
import { AsyncLocalStorage } from 'node:async_hooks'
import { ANSWER_BYTES_MAX } from '#shared/domain/page-limits.ts'
import { Failure } from '#shared/domain/failure.ts'

const MB = 1024 * 1024

interface RoomLimits {
  /** What one holder may have without asking for the room of a large answer. */
  readonly smallMax: number
  /** For all small answers together. 32 units at once, each with its largest small answer. */
  readonly smallBytes: number
  /** The most that one holder may have. */
  readonly largeMax: number
  /**
   * For all large answers together; each takes `largeMax` of it, however large it turns out to be.
   */
  readonly largeBytes: number
  /** A unit that would wait longer gives its slot to others. */
  readonly waitMs: number
}

export const ROOM_LIMITS: RoomLimits = {
  smallMax: 2 * MB,
  smallBytes: 64 * MB,
  largeMax: ANSWER_BYTES_MAX,
  largeBytes: 2 * ANSWER_BYTES_MAX,
  waitMs: 5_000,
}

/** What one call, or one page with all its calls, has in hand. */
export interface Holder {
  /**
   * Takes room for bytes that have arrived.
   * @returns null when there was room, else the wait for it. Throws, and the wait rejects with,
   * Failure `vendor/answer-too-large` or `sync/no-room`, or the reason of the signal.
   */
  take(bytes: number, signal: AbortSignal | null): Promise<void> | null
  /**
   * This call, or the page, needs it no more: the last one gives everything back.
   * More than once does no harm.
   */
  end(): void
}

export interface Room {
  /**
   * Runs the work; what its calls receive counts until the work is done and, where it gave up on
   * some of them, until those have ended too.
   */
  hold<T>(work: () => Promise<T>): Promise<T>
  /**
   * Gives back what the page around here has in hand:
   * it is asked for anew, and nothing of it was kept.
   */
  forget(): void
  /**
   * The holder that a call made here and now belongs to:
   * of the page around it, else its own. The caller ends it.
   */
  holder(): Holder
  /** Bytes in hand, as reserved. */
  taken(): number
  /** How many wait now. */
  waiting(): number
}

/** A room of its own; a process has one (`processRoom`). */
export function createRoom(limits: RoomLimits = ROOM_LIMITS): Room {
  const small = createPool(limits.smallBytes, limits.waitMs)
  const large = createPool(limits.largeBytes, limits.waitMs)
  const scope = new AsyncLocalStorage<AnswerHolder>()
  const open = () => new AnswerHolder(limits, { small, large })
  return {
    async hold(work) {
      const page = open()
      const holder = page.share()
      try {
        return await scope.run(page, work)
      } finally {
        page.isOver = true
        holder.end()
      }
    },
    forget: () => scope.getStore()?.forget(),
    holder() {
      const page = scope.getStore()
      // A refresh of a token may outlive the page that began it.
      return (page && !page.isOver ? page : open()).share()
    },
    taken: () => small.taken() + large.taken(),
    waiting: () => small.waiting() + large.waiting(),
  }
}

interface Pools {
  readonly small: Pool
  readonly large: Pool
}

class AnswerHolder {
  readonly #limits: RoomLimits
  readonly #pools: Pools
  #bytes = 0
  #isLarge = false
  #sharers = 0
  /** The page is done; calls of it that it gave up on may still end. */
  isOver = false
  /** Several calls of one page may outgrow the small share at the same time. */
  #growth: Promise<void> | null = null

  constructor(limits: RoomLimits, pools: Pools) {
    this.#limits = limits
    this.#pools = pools
  }

  share(): Holder {
    this.#sharers += 1
    let isEnded = false
    return {
      take: (bytes, signal) => this.#take(bytes, signal),
      end: () => {
        if (isEnded) return
        isEnded = true
        this.#sharers -= 1
        if (this.#sharers === 0) this.forget()
      },
    }
  }

  forget(): void {
    if (this.#isLarge) this.#pools.large.give(this.#limits.largeMax)
    else this.#pools.small.give(this.#bytes)
    this.#bytes = 0
    this.#isLarge = false
  }

  #take(bytes: number, signal: AbortSignal | null): Promise<void> | null {
    if (this.#bytes + bytes > this.#limits.largeMax) throw new Failure('vendor/answer-too-large')
    if (this.#growth) return this.#growth.then(() => this.#take(bytes, signal) ?? undefined)
    if (this.#isLarge) {
      this.#bytes += bytes
      return null
    }
    if (this.#bytes + bytes > this.#limits.smallMax) {
      const room = this.#pools.large.take(this.#limits.largeMax, signal)
      if (room === null) return this.#becomeLarge(bytes)
      this.#growth = room.then(() => void this.#becomeLarge(bytes)).finally(() => (this.#growth = null))
      return this.#growth
    }
    const room = this.#pools.small.take(bytes, signal)
    if (room === null) return this.#grown(bytes)
    return room.then(() => void this.#grown(bytes))
  }

  #becomeLarge(bytes: number): null {
    if (this.#sharers === 0) {
      this.#pools.large.give(this.#limits.largeMax)
      return null
    }
    this.#pools.small.give(this.#bytes)
    this.#isLarge = true
    this.#bytes += bytes
    return null
  }

  #grown(bytes: number): null {
    if (this.#sharers === 0) this.#pools.small.give(bytes)
    else if (this.#isLarge) {
      // It became large while it waited for a little.
      this.#pools.small.give(bytes)
      this.#bytes += bytes
    } else this.#bytes += bytes
    return null
  }
}

interface Pool {
  take(bytes: number, signal: AbortSignal | null): Promise<void> | null
  give(bytes: number): void
  taken(): number
  waiting(): number
}

/** Bytes given out in the order of asking. */
function createPool(size: number, waitMs: number): Pool {
  let free = size
  const waiting: { readonly bytes: number; readonly enter: () => void }[] = []

  function admit(): void {
    for (let next = waiting[0]; next && next.bytes <= free; next = waiting[0]) {
      free -= next.bytes
      waiting.shift()
      next.enter()
    }
  }

  return {
    take(bytes, signal) {
      if (waiting.length === 0 && bytes <= free) {
        free -= bytes
        return null
      }
      return new Promise((resolve, reject) => {
        const leave = (reason: unknown) => {
          done()
          waiting.splice(waiting.indexOf(entry), 1)
          reject(reason)
          // What stood behind a large wish may fit now.
          admit()
        }
        const aborted = () => leave(signal?.reason)
        const timer = setTimeout(() => leave(new Failure('sync/no-room')), waitMs)
        const done = () => {
          clearTimeout(timer)
          signal?.removeEventListener('abort', aborted)
        }
        const enter = () => {
          done()
          resolve()
        }
        const entry = { bytes, enter }
        waiting.push(entry)
        signal?.addEventListener('abort', aborted, { once: true })
        if (signal?.aborted) aborted()
      })
    },
    give(bytes) {
      free += bytes
      admit()
    },
    taken: () => size - free,
    waiting: () => waiting.length,
  }
}

/** The room of this process: every call to a vendor takes from it. */
export const processRoom = createRoom()
