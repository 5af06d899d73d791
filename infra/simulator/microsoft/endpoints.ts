// How Graph judges an endpoint: of the answers of the last ten minutes more than 10 % slower than 10 s make it slow (notifications come
// 10 s late), more than 15 % make it drop what is new for up to ten minutes. The state is of the host, shared by all subscriptions.

export type EndpointState = 'normal' | 'slow' | 'drop'

export interface Endpoints {
  answered(url: string, latencyMs: number): void
  state(url: string): EndpointState
}

const WINDOW_MS = 600_000
const SLOW_MS = 10_000
const SLOW_SHARE = 0.1
const DROP_SHARE = 0.15
/** Fewer answers than this say nothing. */
const ANSWERS_MIN = 10

export function createEndpoints(now: () => number): Endpoints {
  const answers = new Map<string, { readonly at: number; readonly slow: boolean }[]>()
  const recent = (url: string) => {
    const host = new URL(url).host
    const kept = (answers.get(host) ?? []).filter(({ at }) => at > now() - WINDOW_MS)
    answers.set(host, kept)
    return kept
  }
  return {
    answered(url, latencyMs) {
      recent(url).push({ at: now(), slow: latencyMs > SLOW_MS })
    },
    state(url) {
      const seen = recent(url)
      if (seen.length < ANSWERS_MIN) return 'normal'
      const share = seen.filter(({ slow }) => slow).length / seen.length
      return share > DROP_SHARE ? 'drop' : share > SLOW_SHARE ? 'slow' : 'normal'
    },
  }
}
