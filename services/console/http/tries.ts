// How often a sign-in may fail. Invariant: what is kept is bounded, and a stranger who tries from
// many addresses meets the bound of all together.

const WINDOW_MS = 60_000
const PER_CLIENT_MAX = 10
const IN_ALL_MAX = 100
const CLIENTS_MAX = 5_000

export interface Tries {
  /** Seconds to wait before the next try of this client; 0: now. */
  waitSeconds(client: string): number
  failed(client: string): void
}

/** @param now milliseconds; a test moves it. */
export function createTries(now: () => number = Date.now): Tries {
  const clients = new Map<string, number>()
  let all = 0
  let endsAt = 0
  const roll = (): void => {
    if (now() < endsAt) return
    endsAt = now() + WINDOW_MS
    all = 0
    clients.clear()
  }
  return {
    waitSeconds(client) {
      roll()
      const isFree = all < IN_ALL_MAX && (clients.get(client) ?? 0) < PER_CLIENT_MAX
      return isFree ? 0 : Math.max(1, Math.ceil((endsAt - now()) / 1000))
    },
    failed(client) {
      roll()
      all += 1
      if (clients.has(client) || clients.size < CLIENTS_MAX)
        clients.set(client, (clients.get(client) ?? 0) + 1)
    },
  }
}
