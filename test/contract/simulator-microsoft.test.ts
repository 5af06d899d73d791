// The simulated Microsoft against the shapes that learn.microsoft.com documents, with the official Graph SDK as client. Written from the
// documentation, not from our adapter, so that the two cannot be wrong together.
import { createHash, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Client, type Context, GraphError } from '@microsoft/microsoft-graph-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { startTestSimulator, type TestAccount, type TestSimulator } from '../support/simulator.ts'

interface Row {
  readonly id: string
  readonly type?: string
  readonly subject?: string | null
  readonly seriesMasterId?: string | null
  readonly start?: { dateTime: string; timeZone: string }
  readonly '@removed'?: { reason: string }
  readonly [name: string]: unknown
}

interface Delta {
  readonly value: readonly Row[]
  readonly '@odata.nextLink'?: string
  readonly '@odata.deltaLink'?: string
}

const DAY = 86_400_000
const PREFER = 'odata.maxpagesize=50, outlook.timezone="UTC", IdType="ImmutableId"'
let simulator: TestSimulator
let account: TestAccount
let graph: Client

beforeAll(async () => {
  simulator = await startTestSimulator({ seed: 'graph' })
})
afterAll(async () => {
  await simulator?.[Symbol.asyncDispose]()
})
beforeEach(async () => {
  account = await simulator.addAccount({ vendor: 'microsoft', calendars: 2, eventsPerCalendar: 0 })
  graph = await clientOf(account)
})

async function token(
  form: Record<string, string>,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${simulator.microsoftUrl}/common/oauth2/v2.0/token`, {
    method: 'POST',
    body: new URLSearchParams({ client_id: account.clientId, client_secret: account.clientSecret, ...form }),
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

async function clientOf(of: TestAccount): Promise<Client> {
  const { body } = await token({ grant_type: 'refresh_token', refresh_token: of.refreshToken })
  const bearer = String(body['access_token'])
  return graphClient(bearer)
}

/** The SDK's own chain gives a token to https addresses only, and the simulator is loopback http. */
function graphClient(bearer: string): Client {
  return Client.initWithMiddleware({
    baseUrl: simulator.microsoftUrl,
    defaultVersion: 'v1.0',
    middleware: {
      async execute(context: Context) {
        const headers = new Headers(context.options?.headers as Record<string, string>)
        headers.set('Authorization', `Bearer ${bearer}`)
        context.response = await fetch(String(context.request), {
          ...context.options,
          headers,
        } as RequestInit)
      },
    },
  })
}

/** The SDK takes a whole address for one only when it is https. */
function pathOf(link: string): string {
  const base = `${simulator.microsoftUrl}/v1.0`
  expect(link.startsWith(base)).toBe(true)
  return link.slice(base.length)
}

const calendarPath = () => `/me/calendars/${encodeURIComponent(account.calendars[0]?.id ?? '')}`

function at(days: number, hours = 10): { dateTime: string; timeZone: string } {
  const day = new Date(Date.now() + days * DAY).toISOString().slice(0, 10)
  return { dateTime: `${day}T${String(hours).padStart(2, '0')}:00:00`, timeZone: 'UTC' }
}

const create = (event: object) => graph.api(`${calendarPath()}/events`).post(event) as Promise<Row>

/** A whole round: every page, and the delta link at its end. */
async function round(from?: string): Promise<{ rows: readonly Row[]; link: string }> {
  const window = { startDateTime: at(-10).dateTime, endDateTime: at(60).dateTime }
  let page = (await (from === undefined
    ? graph.api(`${calendarPath()}/calendarView/delta`).query(window).header('Prefer', PREFER).get()
    : graph.api(pathOf(from)).header('Prefer', PREFER).get())) as Delta
  const rows = [...page.value]
  while (page['@odata.nextLink'] !== undefined) {
    expect(page['@odata.deltaLink']).toBeUndefined()
    page = (await graph.api(pathOf(page['@odata.nextLink'])).header('Prefer', PREFER).get()) as Delta
    rows.push(...page.value)
  }
  const link = page['@odata.deltaLink'] ?? expect.unreachable('a round ends with a delta link')
  expect(new URL(link).origin).toBe(simulator.microsoftUrl)
  return { rows, link }
}

async function refusal(work: Promise<unknown>): Promise<{ status: number; code: string | null }> {
  const error = await work.then(
    () => expect.unreachable('the call should have been refused'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(GraphError)
  const { statusCode: status, code } = error as GraphError
  return { status, code }
}

describe('people and calendars', () => {
  test('a user has an id and addresses; calendars are paged and say which is the default', async () => {
    expect(await graph.api('/me').get()).toMatchObject({
      mail: account.email,
      userPrincipalName: account.email,
    })
    const first = await graph.api('/me/calendars').top(1).get()
    expect(first.value).toHaveLength(1)
    expect(first.value[0]).toMatchObject({ isDefaultCalendar: true, canEdit: true })
    const second = await graph.api(pathOf(first['@odata.nextLink'])).get()
    expect(second.value[0]).toMatchObject({ isDefaultCalendar: false })
    expect(second['@odata.nextLink']).toBeUndefined()
  })

  test('a call without a living token is 401 InvalidAuthenticationToken', async () => {
    const stranger = graphClient('EwB.no')
    expect(await refusal(stranger.api('/me').get())).toEqual({
      status: 401,
      code: 'InvalidAuthenticationToken',
    })
  })
})

describe('events', () => {
  test('are shown with a change key, seven digits and Windows zones, and change by PATCH', async () => {
    const made = await create({ subject: 'Plan', start: at(3), end: at(3, 11) })
    expect(made).toMatchObject({ type: 'singleInstance', subject: 'Plan', isAllDay: false, showAs: 'busy' })
    expect(made['@odata.etag']).toMatch(/^W\/".+"$/)
    expect(made.start).toEqual({ dateTime: `${at(3).dateTime}.0000000`, timeZone: 'UTC' })
    const changed = await graph.api(`/me/events/${made.id}`).patch({ subject: 'Another' })
    expect(changed).toMatchObject({ subject: 'Another', start: made.start })
    expect(changed['@odata.etag']).not.toBe(made['@odata.etag'])
    const there = await graph
      .api(`/me/events/${made.id}`)
      .header('Prefer', 'outlook.timezone="Tokyo Standard Time"')
      .get()
    expect(there.start).toEqual({
      dateTime: `${at(3, 19).dateTime}.0000000`,
      timeZone: 'Tokyo Standard Time',
    })
  })

  test('refuse an old change key with 412, and an all-day event that does not begin at midnight with 400', async () => {
    const made = await create({ subject: 'Plan', start: at(3), end: at(3, 11) })
    await graph.api(`/me/events/${made.id}`).patch({ subject: 'Another' })
    const stale = graph
      .api(`/me/events/${made.id}`)
      .header('If-Match', String(made['@odata.etag']))
      .patch({ subject: 'x' })
    expect(await refusal(stale)).toEqual({ status: 412, code: 'ErrorIrresolvableConflict' })
    const odd = create({ isAllDay: true, start: at(3), end: at(4) })
    expect((await refusal(odd)).status).toBe(400)
    const whole = await create({ isAllDay: true, start: at(3, 0), end: at(4, 0) })
    expect(whole).toMatchObject({ isAllDay: true, start: { dateTime: `${at(3, 0).dateTime}.0000000` } })
  })

  test('of a recurrence that the simulator does not expand are refused, never stored as another', async () => {
    const monthly = {
      pattern: { type: 'relativeMonthly', interval: 1, daysOfWeek: ['tuesday'], index: 'second' },
      range: { type: 'noEnd' },
    }
    const refused = create({ subject: 'Monthly', start: at(3), end: at(3, 11), recurrence: monthly })
    expect((await refusal(refused)).status).toBe(400)
  })

  test('are created once for a transaction id', async () => {
    const event = {
      subject: 'Once',
      start: at(3),
      end: at(3, 11),
      transactionId: randomBytes(8).toString('hex'),
    }
    expect((await create(event)).id).toBe((await create(event)).id)
  })

  test('keep an immutable id, and have another that names the folder', async () => {
    const made = await create({ subject: 'Plan', start: at(3), end: at(3, 11) })
    const immutable = await graph.api(`/me/events/${made.id}`).header('Prefer', 'IdType="ImmutableId"').get()
    expect(immutable.id).not.toBe(made.id)
    expect((await graph.api(`/me/events/${immutable.id}`).get()).id).toBe(made.id)
  })
})

describe('calendarView/delta', () => {
  test('gives singles whole, a series with bare occurrences, and later what changed, left the window or ended', async () => {
    const single = await create({ subject: 'Single', start: at(3), end: at(3, 11) })
    const leaving = await create({ subject: 'Leaving', start: at(4), end: at(4, 11) })
    const series = await create({
      subject: 'Daily',
      start: at(1),
      end: at(1, 11),
      recurrence: {
        pattern: { type: 'daily', interval: 1 },
        range: { type: 'numbered', numberOfOccurrences: 3 },
      },
    })
    const { rows, link } = await round()
    expect(rows.find(({ type }) => type === 'seriesMaster')).toMatchObject({ subject: 'Daily' })
    const bare = rows.filter(({ type }) => type === 'occurrence')
    expect(bare).toHaveLength(3)
    for (const row of bare) {
      expect(row.seriesMasterId).toBeTruthy()
      expect(Object.keys(row)).not.toContain('subject')
    }
    expect(rows.find(({ subject }) => subject === 'Single')).toMatchObject({ type: 'singleInstance' })

    await graph.api(`/me/events/${single.id}`).delete()
    await graph.api(`/me/events/${leaving.id}`).patch({ start: at(90), end: at(90, 11) })
    const next = await round(link)
    expect(next.rows).toHaveLength(2)
    for (const row of next.rows) expect(row['@removed']).toEqual({ reason: 'deleted' })
    expect((await round(next.link)).rows).toEqual([])

    const instances = await graph
      .api(`/me/events/${series.id}/instances`)
      .query({ startDateTime: at(0, 0).dateTime, endDateTime: at(10, 0).dateTime })
      .get()
    expect(instances.value.map(({ subject }: Row) => subject)).toEqual(['Daily', 'Daily', 'Daily'])
  })

  test('refuses what it does not support, and a link that it forgot is 410 in a state of its own', async () => {
    const select = graph
      .api(`${calendarPath()}/calendarView/delta`)
      .query({ startDateTime: at(0).dateTime, endDateTime: at(9).dateTime, $select: 'id' })
    expect(await refusal(select.get())).toEqual({ status: 400, code: 'ErrorInvalidUrlQuery' })
    const { link } = await round()
    await simulator.admin('POST', '/admin/cursors/expire', { accountId: account.accountId })
    expect(await refusal(graph.api(pathOf(link)).get())).toEqual({ status: 410, code: 'SyncStateNotFound' })
  })
})

interface Notice {
  readonly subscriptionId: string
  readonly clientState: string
  readonly changeType?: string
  readonly lifecycleEvent?: string
  readonly resourceData?: { readonly id: string }
}

/** An address that echoes validation tokens as Graph wants them, and keeps what it is told. */
async function startReceiver(echoes: boolean) {
  const notices: Notice[] = []
  const server = createServer((request, response) => {
    const token = new URL(request.url ?? '', 'http://here').searchParams.get('validationToken')
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      if (token === null) notices.push(...(JSON.parse(body) as { value: Notice[] }).value)
      response.writeHead(token === null ? 202 : 200, { 'content-type': 'text/plain' })
      response.end(token === null ? '' : echoes ? token : encodeURIComponent(token))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/graph?tenant=1`,
    notices,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

describe('subscriptions', () => {
  const wanted = (url: string, days = 1) => ({
    changeType: 'created,updated,deleted',
    notificationUrl: url,
    lifecycleNotificationUrl: url,
    resource: `${calendarPath().slice(1)}/events`,
    expirationDateTime: new Date(Date.now() + days * DAY).toISOString(),
    clientState: 'a state of ours',
  })

  test('come to be once both addresses echo the decoded token, are renewed, and are gone after DELETE', async () => {
    await using receiver = await startReceiver(true)
    const made = await graph.api('/subscriptions').post(wanted(receiver.url))
    expect(made).toMatchObject({
      resource: `${calendarPath().slice(1)}/events`,
      clientState: 'a state of ours',
    })
    const later = new Date(Date.now() + 2 * DAY).toISOString()
    const renewed = await graph.api(`/subscriptions/${made.id}`).patch({ expirationDateTime: later })
    expect(renewed.expirationDateTime).toBe(later)
    await graph.api(`/subscriptions/${made.id}`).delete()
    expect((await refusal(graph.api(`/subscriptions/${made.id}`).get())).status).toBe(404)
  })

  test('are refused where the token comes back undecoded, and beyond 10 070 minutes', async () => {
    await using wrong = await startReceiver(false)
    expect(await refusal(graph.api('/subscriptions').post(wanted(wrong.url)))).toEqual({
      status: 400,
      code: 'ValidationError',
    })
    await using right = await startReceiver(true)
    expect(await refusal(graph.api('/subscriptions').post(wanted(right.url, 8)))).toEqual({
      status: 400,
      code: 'ExtensionError',
    })
  })

  test('tell a creation as created and updated, with the client state, and their own end by lifecycle', async () => {
    await using receiver = await startReceiver(true)
    const { id } = await graph
      .api('/subscriptions')
      .header('Prefer', 'IdType="ImmutableId"')
      .post(wanted(receiver.url))
    const event = await create({ subject: 'Plan', start: at(3), end: at(3, 11) })
    const told = await eventually(
      'both notices',
      () => receiver.notices.length === 2 && [...receiver.notices],
    )
    expect(told.map(({ changeType }) => String(changeType)).toSorted()).toEqual(['created', 'updated'])
    expect(new Set(told.map(({ subscriptionId }) => subscriptionId))).toEqual(new Set([id]))
    expect(told[0]?.clientState).toBe('a state of ours')
    const immutable = await graph.api(`/me/events/${event.id}`).header('Prefer', 'IdType="ImmutableId"').get()
    expect(told[0]?.resourceData?.id).toBe(immutable.id)

    await simulator.admin('POST', '/admin/lifecycle', { event: 'subscriptionRemoved', subscriptionId: id })
    const ended = await eventually('the lifecycle notice', () =>
      receiver.notices.find(({ lifecycleEvent }) => lifecycleEvent !== undefined),
    )
    expect(ended).toMatchObject({ subscriptionId: id, lifecycleEvent: 'subscriptionRemoved' })
    expect((await refusal(graph.api(`/subscriptions/${id}`).get())).status).toBe(404)
  })
})

describe('consent', () => {
  test('is a redirect with a code that works once, with the verifier of its challenge only', async () => {
    const verifier = randomBytes(32).toString('base64url')
    const query = new URLSearchParams({
      client_id: account.clientId,
      response_type: 'code',
      redirect_uri: 'http://127.0.0.1:9/back',
      scope: 'offline_access User.Read Calendars.Read',
      state: 'the-state',
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
      login_hint: account.email,
    })
    const page = await fetch(`${simulator.microsoftUrl}/common/oauth2/v2.0/authorize?${query.toString()}`, {
      redirect: 'manual',
    })
    const back = new URL(page.headers.get('location') ?? '')
    expect([page.status, back.searchParams.get('state')]).toEqual([302, 'the-state'])
    const form = {
      grant_type: 'authorization_code',
      code: back.searchParams.get('code') ?? '',
      redirect_uri: 'http://127.0.0.1:9/back',
      code_verifier: verifier,
    }
    const granted = await token(form)
    expect(granted).toMatchObject({
      status: 200,
      body: { token_type: 'Bearer', scope: 'User.Read Calendars.Read' },
    })
    expect(granted.body['refresh_token']).toBeTruthy()
    expect(await token(form)).toMatchObject({
      status: 400,
      body: { error: 'invalid_grant', error_codes: [54005] },
    })
  })

  test('rotates refresh tokens and leaves the old one alive until the grant is revoked', async () => {
    const first = await token({ grant_type: 'refresh_token', refresh_token: account.refreshToken })
    const next = String(first.body['refresh_token'])
    expect(next).not.toBe(account.refreshToken)
    for (const refresh_token of [account.refreshToken, next])
      expect((await token({ grant_type: 'refresh_token', refresh_token })).status).toBe(200)
    await simulator.admin('POST', `/admin/accounts/${account.accountId}/revoke`)
    const dead = await token({ grant_type: 'refresh_token', refresh_token: next })
    expect(dead).toMatchObject({ status: 400, body: { error: 'invalid_grant', error_codes: [50173] } })
    expect(String(dead.body['error_description'])).toMatch(/^AADSTS50173: .*\r\nTrace ID: /)
  })
})
