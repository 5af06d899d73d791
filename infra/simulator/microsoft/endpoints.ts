// How Graph judges an endpoint: of the answers of the last ten minutes more than 10 % slower than
// 10 s make it slow (notifications come 10 s late), more than 15 % make it drop what is new for up
// to ten minutes. The state is of the host, shared by all subscriptions.

export type EndpointState = 'normal' | 'slow' | 'drop'

export interface Endpoints {
  answered(url: string, latencyMs: number): void
  state(url: string): EndpointState
  /** Hosts that are not normal. */
  readonly troubled: readonly { readonly host: string; readonly state: EndpointState }[]
}

const WINDOW_MS = 600_000
const SLOW_SHARE = 0.1
const DROP_SHARE = 0.15
/** Fewer answers than this say nothing. */
const ANSWERS_MIN = 10

/** `slowMs`: the wall-clock time from which an answer counts as slow. */
export function createEndpoints(now: () => number, slowMs: () => number): Endpoints {
  const answers = new Map<string, { readonly at: number; readonly slow: boolean }[]>()
  const recent = (host: string) => {
    const kept = (answers.get(host) ?? []).filter(({ at }) => at > now() - WINDOW_MS)
    answers.set(host, kept)
    return kept
  }
  const judge = (host: string): EndpointState => {
    const seen = recent(host)
    if (seen.length < ANSWERS_MIN) return 'normal'
    const share = seen.filter(({ slow }) => slow).length / seen.length
    return share > DROP_SHARE ? 'drop' : share > SLOW_SHARE ? 'slow' : 'normal'
  }
  return {
    answered(url, latencyMs) {
      recent(new URL(url).host).push({ at: now(), slow: latencyMs > slowMs() })
    },
    state: (url) => judge(new URL(url).host),
    get troubled() {
      return [...answers.keys()]
        .map((host) => ({ host, state: judge(host) }))
        .filter(({ state }) => state !== 'normal')
    },
  }
}
