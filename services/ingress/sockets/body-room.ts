// How many bytes of bodies the ingress holds, of all requests together, until each is answered.
// Invariants: only bytes that arrived count, whatever was announced; large bodies never take the
// share of small ones; where room is short the body that has been arriving longest gives way, so
// that who sends slowly never shuts out who sends at once. Pure but for the clock.

export const KIB = 1024
/** A body up to here is small: of a batch of Graph's as a rule, of everything else always. */
export const SMALL_BODY_BYTES = 64 * KIB
/** Of all bodies. */
export const ROOM_BYTES = 16 * KIB * KIB
/** Of what large bodies have beyond their first 64 kB. */
export const LARGE_ROOM_BYTES = 10 * KIB * KIB
/** The slowest that a body may come, on average, once a second has passed. */
export const SLOWEST_BYTES_PER_S = 16 * KIB
export const GRACE_MS = 1000

/** Why a body was given up: for its rate, or for others. */
export type GivenUp = 'too_slow' | 'no_room'

/** A body's part of the room. */
export interface Share {
  /**
   * Takes room for bytes that arrived.
   * @returns false when there is none; then the share is given back.
   */
  take(bytes: number): boolean
  /** Nothing more arrives; from here on it no longer gives way. */
  complete(): void
  /** Gives everything back; safe to repeat. */
  release(): void
}

export interface BodyRoom {
  /**
   * `giveUp` is called once at most, when another body needs the room or
   * this one comes too slowly.
   */
  open(giveUp: (why: GivenUp) => void): Share
  /** Gives up what comes too slowly. */
  sweep(): void
  /** Bytes held, and bodies that are still arriving. */
  readonly held: { readonly bytes: number; readonly large: number; readonly arriving: number }
}

interface ArrivingBody {
  readonly since: number
  readonly giveUp: (why: GivenUp) => void
  bytes: number
  isReleased: boolean
}

/** @param now milliseconds of a clock that never goes back */
export function createBodyRoom(now: () => number): BodyRoom {
  /** In the order in which they began. */
  const arriving = new Set<ArrivingBody>()
  let bytesHeld = 0
  let largeHeld = 0

  function add(body: ArrivingBody, bytes: number): void {
    const large = largeOf(body.bytes)
    body.bytes += bytes
    bytesHeld += bytes
    largeHeld += largeOf(body.bytes) - large
  }

  function release(body: ArrivingBody): void {
    if (body.isReleased) return
    body.isReleased = true
    arriving.delete(body)
    bytesHeld -= body.bytes
    largeHeld -= largeOf(body.bytes)
  }

  function giveUp(body: ArrivingBody, why: GivenUp): void {
    release(body)
    body.giveUp(why)
  }

  /** Makes the oldest ones give way until `isEnough`. @returns whether it is. */
  function makeRoom(isEnough: () => boolean, mayGive: (other: ArrivingBody) => boolean): boolean {
    for (const other of arriving) {
      if (isEnough()) return true
      if (mayGive(other)) giveUp(other, 'no_room')
    }
    return isEnough()
  }

  return {
    open(onGivenUp) {
      const body: ArrivingBody = { since: now(), giveUp: onGivenUp, bytes: 0, isReleased: false }
      arriving.add(body)
      return {
        take(bytes) {
          if (body.isReleased) return false
          const more = largeOf(body.bytes + bytes) - largeOf(body.bytes)
          const isRoom =
            makeRoom(
              () => more === 0 || largeHeld + more <= LARGE_ROOM_BYTES,
              (other) => other !== body && largeOf(other.bytes) > 0,
            ) &&
            makeRoom(
              () => bytesHeld + bytes <= ROOM_BYTES,
              (other) => other !== body && other.bytes > 0,
            )
          if (isRoom) add(body, bytes)
          else release(body)
          return isRoom
        },
        complete: () => void arriving.delete(body),
        release: () => release(body),
      }
    },
    sweep() {
      for (const body of arriving) {
        const ms = now() - body.since
        // In their order: those after this one are younger.
        if (ms < GRACE_MS) return
        if (body.bytes * 1000 < SLOWEST_BYTES_PER_S * ms) giveUp(body, 'too_slow')
      }
    },
    get held() {
      return { bytes: bytesHeld, large: largeHeld, arriving: arriving.size }
    },
  }
}

function largeOf(bytes: number): number {
  return Math.max(0, bytes - SMALL_BODY_BYTES)
}
