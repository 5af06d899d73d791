// A simulated Google of a test's own: its admin API as one function, an account with an access
// token, and the official SDK as client.
import { calendar, type calendar_v3 } from 'googleapis/build/src/apis/calendar/index.js'
import { startSimulator, type Simulator } from '../../infra/simulator/service.ts'
import type { SimulatorConfig } from '../../infra/simulator/config.ts'

/** A truth of 10 000 events took 10 s on a machine with load 17 (2026-11-29). */
const CALL_MS_MAX = 60_000

export interface TestAccount {
  readonly accountId: string
  readonly email: string
  readonly refreshToken: string
  readonly clientId: string
  readonly clientSecret: string
  readonly calendars: readonly { readonly id: string; readonly name: string }[]
}

export interface TestSimulator extends AsyncDisposable {
  readonly googleUrl: string
  readonly microsoftUrl: string
  readonly adminUrl: string
  /** One call of the admin API; throws with the answer's text unless it is 2xx. */
  admin<T>(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<T>
  addAccount(body?: Readonly<Record<string, unknown>>): Promise<TestAccount>
  /** The raw answer of the token endpoint. */
  refresh(account: TestAccount): Promise<Response>
  /** The official SDK, authorised for the account, without its own retries. */
  sdk(account: TestAccount): Promise<calendar_v3.Calendar>
}

export async function startTestSimulator(overrides: Partial<SimulatorConfig> = {}): Promise<TestSimulator> {
  const config = { googlePort: 0, adminPort: 0, allowHttpCallbacks: true, ...overrides }
  return wrap(await startSimulator(config))
}

function wrap(simulator: Simulator): TestSimulator {
  const { googleUrl, microsoftUrl, adminUrl } = simulator
  const admin: TestSimulator['admin'] = async <T>(method: string, path: string, body?: unknown) => {
    const response = await fetch(new URL(path, adminUrl), {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(CALL_MS_MAX),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`)
    return (text === '' ? null : JSON.parse(text)) as T
  }
  const refresh = (account: TestAccount) =>
    fetch(new URL('/token', googleUrl), {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'refresh_token',
        client_id: account.clientId,
        client_secret: account.clientSecret,
        refresh_token: account.refreshToken,
      }),
      signal: AbortSignal.timeout(CALL_MS_MAX),
    })
  return {
    googleUrl,
    microsoftUrl,
    adminUrl,
    admin,
    refresh,
    addAccount: (body = {}) => admin<TestAccount>('POST', '/admin/accounts', body),
    async sdk(account) {
      const { access_token: token } = (await (await refresh(account)).json()) as { access_token: string }
      return calendar({
        version: 'v3',
        rootUrl: `${googleUrl}/`,
        retry: false,
        headers: { Authorization: `Bearer ${token}` },
        timeout: CALL_MS_MAX,
      })
    },
    [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose](),
  }
}

/** How often events were listed, by the vendor's own log, which is told in pages. */
export async function countListings(vendor: Pick<TestSimulator, 'admin'>): Promise<number> {
  let [count, after] = [0, 0]
  for (;;) {
    const page = await vendor.admin<{ requests: readonly unknown[]; more: boolean; next: number }>(
      'GET',
      `/admin/requests?path=/events$&after=${after}`,
    )
    count += page.requests.length
    if (!page.more) return count
    after = page.next
  }
}
