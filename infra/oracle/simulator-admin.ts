// The hand on the play vendor: its admin API as functions.
// Used by the demo and by whoever checks what it shows.
import { setTimeout as delay } from 'node:timers/promises'

export interface DemoAccount {
  readonly accountId: string
  readonly vendor: 'google' | 'microsoft'
  readonly email: string
  readonly calendars: readonly { readonly id: string; readonly name: string }[]
}

/** One committed change, as the vendor's ledger has it. Times: ms since 1970, fractional. */
export interface VendorChange {
  readonly seq: number
  readonly at: number
  readonly accountId: string
  readonly calendarId: string
  readonly eventId: string
  /** Occurrences that it touched and that live on. */
  readonly eventIds: readonly string[]
  /** Occurrences that it ended. */
  readonly removedEventIds: readonly string[]
  readonly kind: 'create' | 'update' | 'delete'
  readonly etag: string
}

export interface LoadState {
  readonly loadId: string
  readonly done: boolean
  readonly changes: number
}

export interface SimulatorAdmin {
  accounts(): Promise<readonly DemoAccount[]>
  createAccount(spec: {
    vendor: DemoAccount['vendor']
    email: string
    calendars: number
    eventsPerCalendar: number
  }): Promise<DemoAccount & { readonly refreshToken: string }>
  /** All changes with a higher seq; the ledger keeps a million occurrences. */
  changesAfter(seq: number): Promise<readonly VendorChange[]>
  /** The seq of the newest change of the world. */
  latestSeq(): Promise<number>
  setLatency(ms: number): Promise<void>
  startLoad(load: {
    changesPerSecond: number
    durationMs: number
    accountIds: readonly string[]
  }): Promise<LoadState>
  readLoad(loadId: string): Promise<LoadState>
  stopLoad(loadId: string): Promise<void>
  /** Ends all loads, whoever began them. */
  stopLoads(): Promise<void>
  /** Notifications of both vendors that wait or are being sent. */
  pendingNotifications(): Promise<number>
}

const TIMEOUT_MS = 60_000
const ASK_AGAIN_MS = 500

/** The admin API at `adminUrl`. Every call ends after a minute or when the signal fires. */
export function simulatorAdmin(adminUrl: string, signal: AbortSignal): SimulatorAdmin {
  const call = (method: string, path: string, body?: unknown) =>
    callAdmin(adminUrl, { method, path, body }, signal)
  return {
    async accounts() {
      return (await call('GET', '/admin/accounts')).accounts as DemoAccount[]
    },
    createAccount: async (spec) =>
      (await call('POST', '/admin/accounts', spec)) as unknown as DemoAccount & { refreshToken: string },
    changesAfter: (seq) => allChanges(call, seq),
    async latestSeq() {
      return (await call('GET', '/admin/truth?accountId=none')).seq as number
    },
    async setLatency(ms) {
      await call('POST', '/admin/latency', { ms })
    },
    async startLoad(load) {
      const { loadId } = await call('POST', '/admin/load', load)
      return { loadId: String(loadId), done: false, changes: 0 }
    },
    readLoad: async (loadId) => (await call('GET', `/admin/load/${loadId}`)) as unknown as LoadState,
    async stopLoad(loadId) {
      await call('DELETE', `/admin/load/${loadId}`)
    },
    async stopLoads() {
      await call('DELETE', '/admin/load')
    },
    async pendingNotifications() {
      const health = await call('GET', '/admin/health')
      return Number(health['pendingNotifications'])
    },
  }
}

type Body = Record<string, unknown>

async function allChanges(
  call: (method: string, path: string) => Promise<Body>,
  from: number,
): Promise<VendorChange[]> {
  const found: VendorChange[] = []
  for (let after = from; ;) {
    const page = await call('GET', `/admin/changes?after=${after}`)
    found.push(...(page['changes'] as VendorChange[]))
    if (page['more'] !== true) return found
    after = Number(page['next'])
  }
}

async function callAdmin(
  adminUrl: string,
  request: { method: string; path: string; body: unknown },
  signal: AbortSignal,
): Promise<Body> {
  const response = await answerOf(adminUrl, request, signal)
  const text = await response.text()
  if (!response.ok) {
    throw new Error(
      `The simulator answered ${response.status} to ${request.method} ${request.path}: ${text.slice(0, 300)}`,
    )
  }
  return text === '' ? {} : (JSON.parse(text) as Body)
}

/**
 * A question that only reads is asked again while nobody answers, for a minute: a busy machine, or
 * a vendor that was killed and is started again.
 */
async function answerOf(
  adminUrl: string,
  { method, path, body }: { method: string; path: string; body: unknown },
  signal: AbortSignal,
): Promise<Response> {
  const deadline = Date.now() + TIMEOUT_MS
  for (;;) {
    try {
      return await fetch(`${adminUrl}${path}`, {
        method,
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
    } catch (error) {
      signal.throwIfAborted()
      if (method !== 'GET' || Date.now() > deadline)
        throw new Error(`The simulator did not answer ${method} ${path}`, { cause: error })
      await delay(ASK_AGAIN_MS, undefined, { signal })
    }
  }
}
