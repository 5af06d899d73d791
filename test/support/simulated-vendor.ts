// A vendor's world made of the simulator, for the contract suite: what differs between vendors is
// told, the rest is the same.
import { createHash, randomBytes } from 'node:crypto'
import type { Vendor } from '#shared/vendors/vendor.ts'
import { startTestSimulator, type TestSimulator } from './simulator.ts'
import type { ConsentAnswer, EventSpec, TestAccount, Trouble, VendorWorld } from './vendor-world.ts'

/** Nobody listens there: the answer is read off the redirect. */
const REDIRECT_URI = 'http://127.0.0.1:9/back'
const HOUR_MS = 3_600_000

export interface SimulatedVendor {
  readonly name: 'google' | 'microsoft'
  /** Turns knobs before anything happens. */
  readonly prepare?: (admin: TestSimulator['admin']) => Promise<unknown>
  readonly originOf: (simulator: TestSimulator) => string
  readonly createAt: (origin: string) => Vendor
  /** What the simulator does for each trouble. */
  readonly faults: Readonly<Record<Trouble, object>>
  /** Matches the path of a page of events in the simulator's log and faults. */
  readonly pagePath: string
}

/** Starts a simulator of its own. */
export async function openSimulatedVendor(spec: SimulatedVendor): Promise<VendorWorld> {
  const simulator = await startTestSimulator()
  const admin: TestSimulator['admin'] = (method, path, body) => simulator.admin(method, path, body)
  await spec.prepare?.(admin)
  const origin = spec.originOf(simulator)
  const vendor = spec.createAt(origin)
  const eventsOf = ({ accountId, calendar }: TestAccount) =>
    `/admin/accounts/${accountId}/calendars/${encodeURIComponent(calendar)}/events`
  const truth = (account: TestAccount) => readTruth(admin, account)
  return {
    vendor,
    origin,
    vendorAt: (origin) => spec.createAt(origin),
    account: (wanted) => makeAccount(spec, admin, vendor, wanted),
    async create(account, event = {}) {
      const { id } = await admin<{ id: string }>('POST', eventsOf(account), {
        ...inTwoDays(),
        ...fieldsOf(event),
      })
      return id
    },
    async createSeries(account, occurrences) {
      const { id } = await admin<{ id: string }>('POST', eventsOf(account), {
        ...inTwoDays(),
        ...daily(occurrences),
      })
      return occurrencesOf(admin, account, id)
    },
    async makeSeries(account, id, occurrences) {
      await admin('PATCH', `${eventsOf(account)}/${encodeURIComponent(id)}`, daily(occurrences))
      return occurrencesOf(admin, account, id)
    },
    async change(account, id, event) {
      await admin('PATCH', `${eventsOf(account)}/${encodeURIComponent(id)}`, fieldsOf(event))
    },
    async remove(account, id) {
      await admin('DELETE', `${eventsOf(account)}/${encodeURIComponent(id)}`)
    },
    truth,
    async expireCursors({ accountId }) {
      await admin('POST', '/admin/cursors/expire', { accountId })
    },
    async revoke({ accountId }) {
      await admin('POST', `/admin/accounts/${accountId}/revoke`)
    },
    async consent(account, mode) {
      await admin('POST', '/admin/consent', { account: account.accountId, mode })
      return visitConsent(vendor, account)
    },
    async rotate(on) {
      await admin('POST', '/admin/grants', { rotate: on })
    },
    async trouble({ accountId }, trouble, retryAfter) {
      const fault = spec.faults[trouble]
      const respond =
        retryAfter !== undefined && 'respond' in fault
          ? { respond: { ...(fault.respond as object), headers: { 'retry-after': retryAfter } } }
          : {}
      const match = { accountId, path: spec.pagePath }
      await admin('POST', '/admin/faults', { ...fault, ...respond, match, times: 1 })
    },
    async smallPages(pageSizeMax, everyOtherEmpty) {
      const emptyPages = everyOtherEmpty || 'sometimes'
      await admin('POST', '/admin/paging', { pageSizeMax, shortPages: 'sometimes', emptyPages })
    },
    async calls({ accountId }) {
      const path = `/admin/requests?path=${encodeURIComponent(spec.pagePath)}`
      const { requests } = await admin<{ requests: { accountId: string }[] }>('GET', path)
      return requests.filter((request) => request.accountId === accountId).length
    },
    admin,
    [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose](),
  }
}

async function makeAccount(
  { name }: SimulatedVendor,
  admin: TestSimulator['admin'],
  vendor: Vendor,
  { events, calendars = 1 }: { events: number; calendars?: number },
): Promise<TestAccount> {
  const more: object[] = Array.from({ length: calendars - 1 }, () => ({}))
  const made = await admin<{
    accountId: string
    email: string
    refreshToken: string
    calendars: { id: string }[]
  }>('POST', '/admin/accounts', {
    vendor: name,
    calendars: [{ primary: true }, ...more, { pushSupported: false }],
    eventsPerCalendar: events,
  })
  const ids = made.calendars.map(({ id }) => id)
  const { accessToken } = await vendor.refresh(made.refreshToken, AbortSignal.timeout(10_000))
  return {
    accountId: made.accountId,
    email: made.email,
    refreshToken: made.refreshToken,
    accessToken,
    calendar: ids[0] ?? '',
    calendarWithoutPush: ids.at(-1) ?? null,
    calendars: ids,
  }
}

/** What a browser brings back from the consent page. */
async function visitConsent(vendor: Vendor, account: TestAccount): Promise<ConsentAnswer> {
  const codeVerifier = randomBytes(32).toString('base64url')
  const state = randomBytes(16).toString('base64url')
  const url = vendor.consentUrl({
    redirectUri: REDIRECT_URI,
    state,
    codeChallenge: createHash('sha256').update(codeVerifier).digest('base64url'),
    loginHint: account.email,
  })
  const page = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(10_000) })
  await page.body?.cancel()
  const back = new URL(page.headers.get('location') ?? 'about:blank')
  const { searchParams } = back
  if (page.status !== 302 || searchParams.get('state') !== state) {
    throw new Error(`The consent page answered ${page.status} and led to ${back.href}`)
  }
  const code = searchParams.get('code')
  if (code === null) return { kind: 'denied', error: searchParams.get('error') ?? '' }
  return { kind: 'granted', code: { code, codeVerifier, redirectUri: REDIRECT_URI } }
}

async function readTruth(
  admin: TestSimulator['admin'],
  { accountId, calendar }: TestAccount,
): Promise<Map<string, string>> {
  const from = new Date(Date.now() - 30 * 24 * HOUR_MS).toISOString()
  const to = new Date(Date.now() + 365 * 24 * HOUR_MS).toISOString()
  const { accounts } = await admin<{
    accounts: { calendars: { id: string; events: { id: string; etag: string }[] }[] }[]
  }>('GET', `/admin/truth?accountId=${accountId}&timeMin=${from}&timeMax=${to}`)
  const events = accounts[0]?.calendars.find(({ id }) => id === calendar)?.events ?? []
  return new Map(events.map(({ id, etag }) => [id, etag]))
}

async function occurrencesOf(admin: TestSimulator['admin'], account: TestAccount, seriesId: string) {
  const ids = [...(await readTruth(admin, account)).keys()]
  return ids.filter((id) => id.startsWith(`${seriesId}_`))
}

function fieldsOf({ title, allDay, at }: EventSpec): object {
  return {
    ...(title === undefined ? {} : { summary: title }),
    ...(allDay ? { start: { date: allDay.start }, end: { date: allDay.end } } : {}),
    ...(at === undefined ? {} : { start: moment(at), end: moment(at + HOUR_MS) }),
  }
}

function daily(occurrences: number): object {
  return { recurrence: [`RRULE:FREQ=DAILY;COUNT=${occurrences}`] }
}

function inTwoDays(): object {
  const start = Date.now() + 48 * HOUR_MS
  return { start: moment(start), end: moment(start + HOUR_MS) }
}

function moment(at: number): object {
  return { dateTime: new Date(at).toISOString(), timeZone: 'UTC' }
}
