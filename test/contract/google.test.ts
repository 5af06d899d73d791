// Google's adapter, held to the contract of all vendors on the simulated Google.
import { Secret } from '#shared/platform/env.ts'
import { createGoogle } from '#shared/vendors/google/adapter.ts'
import { startTestSimulator, type TestSimulator } from '../support/simulator.ts'
import type { TestAccount, Trouble, VendorWorld } from '../support/vendor-world.ts'
import { describeVendor } from './vendor.contract.ts'

const FAULTS: Readonly<Record<Trouble, object>> = {
  'token-rejected': { respond: { status: 401, reason: 'authError' } },
  throttled: { respond: { status: 429, reason: 'rateLimitExceeded' } },
  'throttled-403': { respond: { status: 403, reason: 'userRateLimitExceeded' } },
  'scope-missing': { respond: { status: 403, reason: 'insufficientPermissions' } },
  'calendar-gone': { respond: { status: 404, reason: 'notFound' } },
  'server-error': { respond: { status: 503, reason: 'backendError' } },
  html: { html: true },
  'connection-reset': { reset: 'before' },
  truncated: { truncate: true },
  'malformed-request': { respond: { status: 400, reason: 'badRequest' } },
}

describeVendor('Google', { throttlesWith403: true, hasCalendarsWithoutPush: true }, openWorld)

async function openWorld(): Promise<VendorWorld> {
  const simulator = await startTestSimulator()
  const client = { clientId: 'calstream-local', clientSecret: new Secret('calstream-local-secret') }
  const vendorAt = (origin: string) =>
    createGoogle({
      apiUrl: origin,
      authUrl: `${origin}/o/oauth2/v2/auth`,
      tokenUrl: `${origin}/token`,
      revokeUrl: `${origin}/revoke`,
      ...client,
    })
  const vendor = vendorAt(simulator.googleUrl)
  const admin: Admin = (method, path, body) => simulator.admin(method, path, body)
  const ids = new Map<string, string>()
  const idOf = ({ refreshToken }: TestAccount) => ids.get(refreshToken) ?? ''
  const eventsOf = (account: TestAccount) =>
    `/admin/accounts/${idOf(account)}/calendars/${encodeURIComponent(account.calendar)}/events`
  const readTruth = (account: TestAccount) => truthOf(admin, idOf(account), account.calendar)
  return {
    vendor,
    vendorAt,
    async account({ events, calendars = 1 }) {
      const more = Array.from({ length: calendars - 1 }, () => ({}))
      const made = await simulator.addAccount({
        calendars: [{}, ...more, { name: 'Holidays', pushSupported: false }],
        eventsPerCalendar: events,
      })
      ids.set(made.refreshToken, made.accountId)
      const calendarIds = made.calendars.map(({ id }) => id)
      const { accessToken } = await vendor.refresh(made.refreshToken, AbortSignal.timeout(10_000))
      return {
        refreshToken: made.refreshToken,
        accessToken,
        calendar: calendarIds[0] ?? '',
        calendarWithoutPush: calendarIds.at(-1) ?? null,
        calendars: calendarIds,
      }
    },
    async create(account, event = {}) {
      const times = event.allDay
        ? { start: { date: event.allDay.start }, end: { date: event.allDay.end } }
        : {}
      const summary = event.title === undefined ? {} : { summary: event.title }
      const defaults = event.allDay ? {} : inTwoDays()
      const { id } = (await admin('POST', eventsOf(account), { ...defaults, ...times, ...summary })) as {
        id: string
      }
      return id
    },
    async createSeries(account, occurrences) {
      const recurrence = [`RRULE:FREQ=DAILY;COUNT=${occurrences}`]
      const { id } = (await admin('POST', eventsOf(account), { ...inTwoDays(), recurrence })) as {
        id: string
      }
      return [...(await readTruth(account)).keys()].filter((key) => key.startsWith(`${id}_`))
    },
    async change(account, id, title) {
      await admin('PATCH', `${eventsOf(account)}/${id}`, { summary: title })
    },
    async remove(account, id) {
      await admin('DELETE', `${eventsOf(account)}/${id}`)
    },
    truth: readTruth,
    async expireCursors(account) {
      await admin('POST', '/admin/cursors/expire', { accountId: idOf(account) })
    },
    async revoke(account) {
      await admin('POST', `/admin/accounts/${idOf(account)}/revoke`)
    },
    async trouble(account, trouble, retryAfterS) {
      const fault = FAULTS[trouble]
      const headers = { 'retry-after': String(retryAfterS) }
      const respond = 'respond' in fault ? { respond: { ...(fault.respond as object), headers } } : {}
      await admin('POST', '/admin/faults', {
        ...fault,
        ...(retryAfterS === undefined ? {} : respond),
        match: { accountId: idOf(account), path: '/events$' },
        times: 1,
      })
    },
    async smallPages(pageSizeMax, everyOtherEmpty) {
      await admin('POST', '/admin/paging', {
        pageSizeMax,
        shortPages: 'sometimes',
        emptyPages: everyOtherEmpty || 'sometimes',
      })
    },
    async calls(account) {
      const { requests } = (await admin('GET', '/admin/requests?path=/events$')) as {
        requests: { accountId: string }[]
      }
      return requests.filter(({ accountId }) => accountId === idOf(account)).length
    },
    [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose](),
  }
}

type Admin = TestSimulator['admin']

async function truthOf(admin: Admin, accountId: string, calendar: string): Promise<Map<string, string>> {
  const from = new Date(Date.now() - 30 * 86_400_000).toISOString()
  const to = new Date(Date.now() + 365 * 86_400_000).toISOString()
  const path = `/admin/truth?accountId=${accountId}&timeMin=${from}&timeMax=${to}`
  const { accounts } = (await admin('GET', path)) as {
    accounts: { calendars: { id: string; events: { id: string; etag: string }[] }[] }[]
  }
  const events = accounts[0]?.calendars.find(({ id }) => id === calendar)?.events ?? []
  return new Map(events.map(({ id, etag }) => [id, etag]))
}

function inTwoDays() {
  const start = Date.now() + 2 * 86_400_000
  const at = (time: number) => ({ dateTime: new Date(time).toISOString(), timeZone: 'UTC' })
  return { start: at(start), end: at(start + 3_600_000) }
}
