// The hand on the play vendors: their admin API, with what drills do all the time as functions.
import { setTimeout as delay } from 'node:timers/promises'

export interface FaultSpec {
  readonly match?: Readonly<Record<string, unknown>>
  readonly times?: number
  readonly skip?: number
  readonly respond?: {
    readonly status: number
    readonly headers?: Readonly<Record<string, string>>
    readonly body?: unknown
    readonly reason?: string
  }
  readonly delayMs?: number
  readonly hang?: boolean
  readonly reset?: 'before' | 'after'
  readonly truncate?: boolean
  readonly html?: boolean
  /** One place per calendar: the page token or cursor of the first call that it struck. */
  readonly onePlace?: boolean
  /** Lists never end: the same items again, or none. */
  readonly goesOn?: 'repeating' | 'empty'
}

export interface LoadSpec {
  readonly changesPerSecond: number
  readonly durationMs: number
  readonly seed: string
  readonly accountIds?: readonly string[]
}

export interface VendorHand {
  readonly adminUrl: string
  /** One call of the admin API; throws with the answer's text unless it is 2xx. */
  admin<T>(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', route: string, body?: unknown): Promise<T>
  /** @returns its id. */
  fault(spec: FaultSpec): Promise<string>
  /** How often a fault was met. */
  hits(faultId: string): Promise<number>
  clearFaults(): Promise<void>
  /** Makes changes at a steady rate; resolves when all are made. @returns how many. */
  load(spec: LoadSpec, signal: AbortSignal): Promise<number>
  /** All entries of a ledger. */
  ledger<T>(name: 'changes' | 'requests' | 'webhooks'): Promise<readonly T[]>
}

const CALL_MS_MAX = 60_000
const POLL_MS = 250

export function openVendorHand(adminUrl: string): VendorHand {
  const admin: VendorHand['admin'] = async <T>(method: string, route: string, body?: unknown) => {
    const response = await fetch(new URL(route, adminUrl), {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(CALL_MS_MAX),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${route} answered ${response.status}: ${text.slice(0, 300)}`)
    return (text === '' ? null : JSON.parse(text)) as T
  }
  return {
    adminUrl,
    admin,
    fault: async (spec) => (await admin<{ faultId: string }>('POST', '/admin/faults', spec)).faultId,
    async hits(faultId) {
      const { faults } = await admin<{ faults: { faultId: string; hits: number }[] }>('GET', '/admin/faults')
      return faults.find((fault) => fault.faultId === faultId)?.hits ?? 0
    },
    clearFaults: () => admin('DELETE', '/admin/faults'),
    async load(spec, signal) {
      const { loadId } = await admin<{ loadId: string }>('POST', '/admin/load', spec)
      const deadline = Date.now() + spec.durationMs + 60_000
      for (;;) {
        const state = await admin<{ done: boolean; changes: number }>('GET', `/admin/load/${loadId}`)
        if (state.done) return state.changes
        if (signal.aborted || Date.now() > deadline) {
          await admin('DELETE', `/admin/load/${loadId}`)
          return state.changes
        }
        await delay(POLL_MS)
      }
    },
    async ledger<T>(name: 'changes' | 'requests' | 'webhooks') {
      const key = name === 'webhooks' ? 'attempts' : name
      const all: T[] = []
      for (let after = 0; ;) {
        const page = await admin<Record<string, unknown>>('GET', `/admin/${name}?after=${after}`)
        if (Number(page['dropped']) > 0)
          throw new Error(`the ledger of ${name} lost its oldest entries: it proves nothing any more`)
        all.push(...(page[key] as T[]))
        if (page['more'] !== true) return all
        after = Number(page['next'])
      }
    },
  }
}
