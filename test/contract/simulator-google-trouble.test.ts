// What else goes wrong at the simulated Google: answers that never come, throttling of each kind of
// call, the sign-in's own error bodies, ends in the middle of a listing, receivers that are down
// for a while; and the recurrences that it expands and refuses.
import { randomUUID } from 'node:crypto'
import { auth } from 'googleapis/build/src/apis/oauth2/index.js'
import type { calendar_v3 } from 'googleapis/build/src/apis/calendar/index.js'
import { describe, expect, it } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { startTestSimulator, type TestSimulator } from '../support/simulator.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

const MINUTE_MS = 60_000
const ZONE = 'UTC'

async function open(clock: 'running' | 'manual' = 'running', eventsPerCalendar = 0) {
  const owned = new AsyncDisposableStack()
  const simulator = owned.use(await startTestSimulator({ clock, clockStart: Date.UTC(2027, 0, 4, 8) }))
  const account = await simulator.addAccount({ eventsPerCalendar, calendars: 2 })
  return {
    simulator,
    account,
    sdk: await simulator.sdk(account),
    advance: (advanceMs: number) => simulator.admin('POST', '/admin/clock', { advanceMs }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

type Setting = Awaited<ReturnType<typeof open>>

const CALLS: Readonly<Record<string, (sdk: calendar_v3.Calendar, signal: AbortSignal) => Promise<unknown>>> =
  {
    calendars: (sdk, signal) => sdk.calendarList.list({}, { signal }),
    list: (sdk, signal) => sdk.events.list({ calendarId: 'primary' }, { signal }),
    read: (sdk, signal) => sdk.events.get({ calendarId: 'primary', eventId: 'none0' }, { signal }),
    write: (sdk, signal) => sdk.events.delete({ calendarId: 'primary', eventId: 'none0' }, { signal }),
    watch: (sdk, signal) => sdk.events.watch({ calendarId: 'primary', requestBody: {} }, { signal }),
    stop: (sdk, signal) => sdk.channels.stop({ requestBody: { id: 'none', resourceId: 'none' } }, { signal }),
    busy: (sdk, signal) => sdk.freebusy.query({ requestBody: {} }, { signal }),
  }

const strike = ({ simulator }: Pick<Setting, 'simulator'>, operation: string, fault: object) =>
  simulator.admin('POST', '/admin/faults', { match: { vendor: 'google', operation }, times: 1, ...fault })

/** The status of a call's answer. */
async function statusOf(call: Promise<unknown>): Promise<number | undefined> {
  return call.then(
    (answer) => (answer as { status: number }).status,
    (error: { status?: number }) => error.status,
  )
}

describe.each(Object.keys(CALLS))('a call of kind %s', (operation) => {
  const make = ({ sdk }: Setting, signal = AbortSignal.timeout(10_000)) =>
    CALLS[operation]?.(sdk, signal) ?? expect.unreachable('a known kind')

  it('may never be answered, until the client goes; others are meanwhile', async () => {
    await using setting = await open()
    const { simulator } = setting
    await strike(setting, operation, { hang: true })
    const gone = new AbortController()
    const hanging = statusOf(make(setting, gone.signal))
    await eventually('the call to hang', async () => {
      const { faults } = await simulator.admin<{ faults: { hits: number }[] }>('GET', '/admin/faults')
      return faults[0]?.hits === 1
    })
    const healthy = await statusOf(make(setting))
    expect(healthy).toBeGreaterThanOrEqual(200)
    gone.abort()
    expect(await hanging).toBeUndefined()
  })

  it.each([
    [{ status: 429, reason: 'rateLimitExceeded' }, '30'],
    [{ status: 403, reason: 'userRateLimitExceeded' }, 'Tue, 05 Jan 2027 08:00:00 GMT'],
    [{ status: 403, reason: 'quotaExceeded' }, null],
    [{ status: 503, reason: 'backendError' }, '1'],
  ])('may be refused with %j and Retry-After %s', async (respond, retryAfter) => {
    await using setting = await open()
    const headers = retryAfter === null ? {} : { 'retry-after': retryAfter }
    await strike(setting, operation, { respond: { ...respond, headers } })
    const { status, response } = await make(setting).then(
      () => expect.unreachable('the call should have been refused'),
      (error: { status: number; response: { headers: Headers; data: unknown } }) => error,
    )
    expect([status, response.headers.get('retry-after')]).toEqual([respond.status, retryAfter])
    expect(response.data).toMatchObject({
      error: { code: respond.status, errors: [{ reason: respond.reason }] },
    })
  })
})

describe('faults of the sign-in', () => {
  it.each([
    [{ status: 400, reason: 'invalid_grant' }, 'Token has been expired or revoked.'],
    [{ status: 400 }, 'Token has been expired or revoked.'],
    [{ status: 400, reason: 'admin_policy_enforced' }, expect.stringContaining('policies')],
    [{ status: 401 }, 'The OAuth client was not found.'],
    [{ status: 429 }, 'Rate Limit Exceeded'],
    [{ status: 500 }, 'Backend Error'],
  ])('%j has the shape of OAuth, not of the API', async (respond, description) => {
    await using setting = await open()
    await strike(setting, 'token', { respond })
    const answer = await setting.simulator.refresh(setting.account)
    expect([answer.status, await answer.json()]).toEqual([
      respond.status,
      { error: expect.stringMatching(/^[a-z_]+$/), error_description: description },
    ])
    expect((await setting.simulator.refresh(setting.account)).status).toBe(200)
  })

  it('are understood by the official OAuth client', async () => {
    await using setting = await open()
    const { clientId, clientSecret, refreshToken } = setting.account
    const client = new auth.OAuth2({
      clientId,
      clientSecret,
      endpoints: { oauth2TokenUrl: `${setting.simulator.googleUrl}/token` },
    })
    client.setCredentials({ refresh_token: refreshToken })
    await strike(setting, 'token', { respond: { status: 400 } })
    await expect(client.refreshAccessToken()).rejects.toMatchObject({ status: 400, message: 'invalid_grant' })
    expect((await client.refreshAccessToken()).credentials.access_token).toBeTruthy()
  })
})

describe('between two pages', () => {
  async function firstPage(setting: Setting) {
    await setting.simulator.admin('POST', '/admin/paging', { shortPages: false, emptyPages: false })
    const { data } = await setting.sdk.events.list({ calendarId: 'primary', maxResults: 2 })
    const pageToken = data.nextPageToken ?? expect.unreachable('there is a second page')
    return (sdk = setting.sdk) => sdk.events.list({ calendarId: 'primary', maxResults: 2, pageToken })
  }

  it('a calendar may be deleted', async () => {
    await using setting = await open('running', 5)
    const next = await firstPage(setting)
    await setting.simulator.admin('DELETE', `/admin/accounts/${setting.account.accountId}/calendars/primary`)
    await expect(next()).rejects.toMatchObject({
      status: 404,
      response: { data: { error: { errors: [{ reason: 'notFound' }] } } },
    })
  })

  it('the grant may be revoked', async () => {
    await using setting = await open('running', 5)
    const next = await firstPage(setting)
    await setting.simulator.admin('POST', `/admin/accounts/${setting.account.accountId}/revoke`)
    await expect(next()).rejects.toMatchObject({ status: 401 })
  })

  it('the access token may end, and a fresh one goes on at the same place', async () => {
    await using setting = await open('manual', 5)
    const next = await firstPage(setting)
    await setting.advance(3_600_000)
    await expect(next()).rejects.toMatchObject({ status: 401 })
    expect((await next(await setting.simulator.sdk(setting.account))).data.items).toHaveLength(2)
  })
})

describe('a receiver that is down', () => {
  async function watched() {
    const owned = new AsyncDisposableStack()
    const setting = owned.use(await open('manual'))
    const receiver = owned.use(await startWebhookReceiver())
    await setting.simulator.admin('POST', '/admin/notifications', { syncMessage: 'after' })
    const id = randomUUID()
    const requestBody = { id, type: 'web_hook', address: receiver.url }
    await setting.sdk.events.watch({ calendarId: 'primary', requestBody })
    await eventually('the sync message', () => receiver.received.length === 1)
    const change = () =>
      setting.sdk.events.insert({
        calendarId: 'primary',
        requestBody: { start: { date: '2027-01-05' }, end: { date: '2027-01-06' } },
      })
    return { ...setting, receiver, change, [Symbol.asyncDispose]: () => owned.disposeAsync() }
  }

  const attempts = async ({ simulator }: { readonly simulator: TestSimulator }) =>
    (
      await simulator.admin<{ attempts: { messageNumber: number; status: number }[] }>(
        'GET',
        '/admin/webhooks',
      )
    ).attempts.filter(({ messageNumber }) => messageNumber > 1)

  it('for minutes of the simulated clock gets its message afterwards, under the same number', async () => {
    await using setting = await watched()
    setting.receiver.answer = () => 503
    await setting.change()
    await eventually('the first attempt', async () => (await attempts(setting)).length === 1)
    await setting.advance(20_000)
    const tries = (await attempts(setting)).length
    expect(tries).toBeGreaterThan(2)
    setting.receiver.answer = () => 200
    await setting.advance(2 * MINUTE_MS)
    const all = await attempts(setting)
    expect(all.map(({ status }) => status)).toEqual([...Array.from({ length: tries }, () => 503), 200])
    expect(new Set(all.map(({ messageNumber }) => messageNumber)).size).toBe(1)
  })

  it('is given up after the eighth attempt, or after as many as the knob says', async () => {
    await using setting = await watched()
    setting.receiver.answer = () => 503
    await setting.change()
    await eventually('the first attempt', async () => (await attempts(setting)).length === 1)
    await setting.advance(60 * MINUTE_MS - 1)
    expect(await attempts(setting)).toHaveLength(8)
    await setting.simulator.admin('POST', '/admin/notifications', { retryAttemptsMax: 2 })
    await (
      await setting.simulator.sdk(setting.account)
    ).events.insert({
      calendarId: 'primary',
      requestBody: { start: { date: '2027-01-05' }, end: { date: '2027-01-06' } },
    })
    await eventually('the next message', async () => (await attempts(setting)).length === 9)
    await setting.advance(60 * MINUTE_MS)
    expect(await attempts(setting)).toHaveLength(10)
  })
})

describe('recurrences', () => {
  const insert = ({ sdk }: Setting, rule: string, date: string) =>
    sdk.events.insert({
      calendarId: 'primary',
      requestBody: {
        start: { dateTime: `${date}T10:00:00Z`, timeZone: ZONE },
        end: { dateTime: `${date}T11:00:00Z`, timeZone: ZONE },
        recurrence: [rule],
      },
    })

  it.each([
    ['RRULE:FREQ=MONTHLY;COUNT=3', ['2027-01-31', '2027-03-31', '2027-05-31']],
    ['RRULE:FREQ=MONTHLY;BYMONTHDAY=15;COUNT=2', ['2027-02-15', '2027-03-15']],
    ['RRULE:FREQ=YEARLY;COUNT=2', ['2027-01-31', '2028-01-31']],
  ])('%s fall on the same date', async (rule, days) => {
    await using setting = await open()
    const { data } = await insert(setting, rule, '2027-01-31')
    const { data: found } = await setting.sdk.events.instances({
      calendarId: 'primary',
      eventId: data.id ?? '',
    })
    expect(found.items?.map(({ start }) => start?.dateTime?.slice(0, 10))).toEqual(days)
  })

  it.each(['RRULE:FREQ=MONTHLY;BYDAY=2TU', 'RRULE:FREQ=YEARLY;BYWEEKNO=7', 'RRULE:FREQ=HOURLY'])(
    '%s are refused, never stored as another',
    async (rule) => {
      await using setting = await open()
      await expect(insert(setting, rule, '2027-01-31')).rejects.toMatchObject({
        status: 400,
        response: { data: { error: { errors: [{ reason: 'invalid' }] } } },
      })
    },
  )

  it('move with their exceptions', async () => {
    await using setting = await open()
    const { sdk, account } = setting
    const { data } = await insert(setting, 'RRULE:FREQ=DAILY;COUNT=3', '2027-01-05')
    const eventId = data.id ?? ''
    const { data: before } = await sdk.events.instances({ calendarId: 'primary', eventId })
    const second = before.items?.[1]?.id ?? ''
    const requestBody = { summary: 'An exception' }
    await sdk.events.patch({ calendarId: 'primary', eventId: second, requestBody })
    const destination = account.calendars[1]?.id ?? ''
    await sdk.events.move({ calendarId: 'primary', eventId, destination })
    const { data: after } = await sdk.events.instances({ calendarId: destination, eventId })
    expect(after.items).toHaveLength(3)
    expect(after.items?.find(({ id }) => id === second)).toMatchObject(requestBody)
    await expect(sdk.events.instances({ calendarId: 'primary', eventId })).rejects.toMatchObject({
      status: 404,
    })
  })
})
