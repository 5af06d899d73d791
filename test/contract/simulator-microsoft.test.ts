// The simulated Microsoft against the shapes that learn.microsoft.com documents, with the official
// Graph SDK as client: people, calendars, schedules, batches and calls in flight. Written from the
// documentation, not from our adapter, so that the two cannot be wrong together.
import { BatchRequestContent, BatchResponseContent } from '@microsoft/microsoft-graph-client'
import { describe, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import {
  at,
  graphClient,
  type GraphWorld,
  hour,
  type Mailbox,
  openGraph,
  refusal,
  refusedAs,
  type Row,
} from '../support/graph-sdk.ts'

describe('people and calendars', () => {
  test('a user has an id and addresses; calendars are paged and say which is the default', async () => {
    await using world = await openGraph()
    const { graph, account } = world.mailbox
    expect(await graph.api('/me').get()).toMatchObject({
      mail: account.email,
      userPrincipalName: account.email,
    })
    const first = await graph.api('/me/calendars').top(1).get()
    expect(first.value).toHaveLength(1)
    expect(first.value[0]).toMatchObject({ isDefaultCalendar: true, canEdit: true })
    const second = await graph.api(world.mailbox.pathOf(first['@odata.nextLink'])).get()
    expect(second.value[0]).toMatchObject({ isDefaultCalendar: false })
    expect(second['@odata.nextLink']).toBeUndefined()
  })

  test('a calendar that the list leaves out answers on; under a new id the old one is unknown', async () => {
    await using world = await openGraph()
    const { graph, account } = world.mailbox
    const [own, other] = account.calendars
    const path = `/admin/accounts/${account.accountId}/calendars`
    const ids = async () =>
      ((await graph.api('/me/calendars').get()).value as { id: string }[]).map(({ id }) => id)
    await world.simulator.admin('PATCH', `${path}/${encodeURIComponent(other!.id)}`, { unlisted: true })
    expect(await ids()).toEqual([own!.id])
    expect(await graph.api(`/me/calendars/${other!.id}/events`).top(1).get()).toHaveProperty('value')
    await world.simulator.admin('POST', `${path}/${encodeURIComponent(own!.id)}/rename`, { id: 'AAMkNew=' })
    expect((await graph.api('/me/calendars').get()).value).toMatchObject([
      { id: 'AAMkNew=', isDefaultCalendar: true },
    ])
    expect(await refusal(graph.api(`/me/calendars/${own!.id}/events`).get())).toMatchObject({ status: 404 })
  })

  test('a call without a living token is 401 InvalidAuthenticationToken, in Graph’s error body', async () => {
    await using world = await openGraph()
    const stranger = graphClient(world.simulator.microsoftUrl, 'EwB.no')
    expect(await refusedAs(stranger.api('/me').get())).toBe('401 InvalidAuthenticationToken')
    const raw = await fetch(`${world.simulator.microsoftUrl}/v1.0/me`)
    expect(raw.headers.get('request-id')).toBeTruthy()
    expect(raw.headers.get('www-authenticate')).toMatch(/^Bearer /)
    expect(await raw.json()).toEqual({
      error: {
        code: 'InvalidAuthenticationToken',
        message: expect.any(String),
        innerError: {
          date: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/),
          'request-id': expect.any(String),
          'client-request-id': expect.any(String),
        },
      },
    })
  })

  test('a calendar that the person may only read takes no writes', async () => {
    await using world = await openGraph()
    const { graph, account } = await world.join({
      calendars: [{}, { accessRole: 'reader' }],
      eventsPerCalendar: 1,
    })
    const path = `/me/calendars/${encodeURIComponent(account.calendars[1]?.id ?? '')}/events`
    expect(await refusedAs(graph.api(path).post({ subject: 'x', ...hour(3) }))).toBe('403 ErrorAccessDenied')
    const { value } = await graph.api(path).get()
    expect(await refusedAs(graph.api(`/me/events/${value[0].id}`).delete())).toBe('403 ErrorAccessDenied')
  })
})

describe('getSchedule', () => {
  const ask = (schedules: string[], more: object = {}) => ({
    schedules,
    startTime: at(3, 8),
    endTime: at(3, 14),
    availabilityViewInterval: 60,
    ...more,
  })

  test('shows the slots of several people, in the zone that was asked for, and who is not known as an error', async () => {
    await using world = await openGraph()
    const { graph, account } = world.mailbox
    const other = await world.join()
    await world.mailbox.create({ subject: 'Busy', ...hour(3) })
    await world.mailbox.create({ subject: 'Free', showAs: 'free', start: at(3, 12), end: at(3, 13) })
    await world.mailbox.create({
      subject: 'Elsewhere',
      showAs: 'workingElsewhere',
      start: at(3, 13),
      end: at(3, 14),
    })
    await other.create({ subject: 'Perhaps', showAs: 'tentative', start: at(3, 8), end: at(3, 10) })
    await other.create({ subject: 'Away', showAs: 'oof', start: at(3, 9), end: at(3, 10) })
    const { value } = await graph
      .api('/me/calendar/getSchedule')
      .header('Prefer', 'outlook.timezone="Tokyo Standard Time"')
      .post(ask([account.email, other.account.email, 'nobody@example.com']))
    expect(value.map((one: Row) => [one['scheduleId'], one['availabilityView']])).toEqual([
      [account.email, '002000'],
      [other.account.email, '130000'],
      ['nobody@example.com', ''],
    ])
    expect(value[0].scheduleItems[0]).toMatchObject({
      status: 'busy',
      subject: 'Busy',
      start: { dateTime: `${at(3, 19).dateTime}.0000000`, timeZone: 'Tokyo Standard Time' },
    })
    expect(value[2].error).toMatchObject({ responseCode: 'ErrorMailRecipientNotFound' })
  })

  test.each([
    ['an interval of four minutes', { availabilityViewInterval: 4 }],
    ['an interval of more than a day', { availabilityViewInterval: 1441 }],
    ['an interval that is longer than the window', { availabilityViewInterval: 600 }],
    ['an end before the start', { endTime: at(2) }],
    ['more than 62 days', { endTime: at(90) }],
    ['no schedules', { schedules: undefined }],
  ])('refuses %s', async (_what, more) => {
    await using world = await openGraph()
    const asked = { ...ask([world.mailbox.account.email]), ...more }
    const refused = await refusal(world.mailbox.graph.api('/me/calendar/getSchedule').post(asked))
    expect(refused.status).toBe(400)
  })
})

describe('$batch', () => {
  interface Answered {
    readonly id: string
    readonly status: number
    readonly headers?: Readonly<Record<string, string>>
    readonly body?: Row & { readonly error?: { readonly code: string } }
  }

  async function batch(world: GraphWorld, requests: readonly object[]) {
    const { responses } = (await world.mailbox.graph.api('/$batch').post({ requests })) as {
      responses: readonly Answered[]
    }
    return new Map(responses.map((one) => [one.id, one]))
  }

  const write = (id: string, url: string, body: object, more: object = {}) => ({
    id,
    method: 'POST',
    url,
    body,
    headers: { 'Content-Type': 'application/json' },
    ...more,
  })

  test('answers each of its calls with a status of its own, in no promised order', async () => {
    await using world = await openGraph()
    const event = { subject: 'Batched', ...hour(3) }
    const answers = await batch(world, [
      { id: '1', method: 'GET', url: '/me' },
      { id: '2', method: 'GET', url: '/me/events/none' },
      write('3', '/me/events', event),
      { id: '4', method: 'GET', url: '/me/nothing' },
    ])
    const statuses = [...answers].map(([id, { status }]) => `${id} ${status}`)
    expect(statuses.toSorted()).toEqual(['1 200', '2 404', '3 201', '4 400'])
    expect(answers.get('1')?.body).toMatchObject({ mail: world.mailbox.account.email })
    expect(answers.get('2')?.body?.error?.code).toBe('ErrorItemNotFound')
    expect(answers.get('3')?.body).toMatchObject({ subject: 'Batched' })
    expect((await world.mailbox.graph.api('/me/events').get()).value).toHaveLength(1)
  })

  test('works with the batch classes of the SDK', async () => {
    await using world = await openGraph()
    // The SDK leaves out the host and nothing else: the version belongs to the batch.
    const request = (path: string) => new Request(`https://graph.microsoft.com${path}`)
    const content = new BatchRequestContent([
      { id: 'me', request: request('/me') },
      { id: 'calendars', request: request('/me/calendars') },
    ])
    const answered = new BatchResponseContent(
      await world.mailbox.graph.api('/$batch').post(await content.getContent()),
    )
    expect(answered.getResponseById('me').status).toBe(200)
    expect(await answered.getResponseById('calendars').json()).toMatchObject({ value: [{}, {}] })
  })

  test('throttles and fails single calls, and what depends on a failed one is 424 and not made', async () => {
    await using world = await openGraph()
    await world.simulator.admin('POST', '/admin/faults', {
      match: { operation: 'write' },
      times: 1,
      respond: { status: 429, headers: { 'retry-after': '7' } },
    })
    const event = { subject: 'Batched', ...hour(3) }
    const answers = await batch(world, [
      write('first', '/me/events', event),
      write('second', '/me/events', event, { dependsOn: ['first'] }),
      { id: 'third', method: 'GET', url: '/me' },
    ])
    expect(answers.get('first')).toMatchObject({ status: 429, headers: { 'retry-after': '7' } })
    expect(answers.get('second')?.status).toBe(424)
    expect(answers.get('third')?.status).toBe(200)
    expect((await world.mailbox.graph.api('/me/events').get()).value).toEqual([])
    const { requests } = await world.simulator.admin<{ requests: { path: string; status: number }[] }>(
      'GET',
      '/admin/requests',
    )
    expect(requests.filter(({ status }) => status === 429)).toHaveLength(1)
  })

  test('has no connection of its own for each call: a fault that breaks one passes its calls by', async () => {
    await using world = await openGraph()
    const { simulator } = world
    const match = { operation: 'calendars' }
    for (const fault of [{ hang: true }, { reset: 'before' }, { truncate: true }])
      await simulator.admin('POST', '/admin/faults', { match, times: 1, ...fault })
    await simulator.admin('POST', '/admin/faults', { match, times: 1, html: true })
    const answers = await batch(world, [{ id: '1', method: 'GET', url: '/me/calendars' }])
    expect(answers.get('1')?.status).toBe(502)
    const { faults } = await simulator.admin<{ faults: { hits: number }[] }>('GET', '/admin/faults')
    expect(faults.map(({ hits }) => hits)).toEqual([0, 0, 0, 1])
  })

  test('keeps to four at a time of one mailbox, and is refused part by part where fewer are free', async () => {
    await using world = await openGraph()
    const twenty = Array.from({ length: 20 }, (_one, index) => ({
      id: String(index),
      method: 'GET',
      url: '/me/calendars',
    }))
    await world.simulator.admin('POST', '/admin/latency', { ms: 4 })
    const all = [...(await batch(world, twenty)).values()]
    expect(all.filter(({ status }) => status === 200)).toHaveLength(20)
    await world.knobs({ concurrencyMax: 3 })
    const some = [...(await batch(world, twenty)).values()]
    expect(some.filter(({ status }) => status === 429)).toHaveLength(5)
  })

  test.each([
    ['21 calls', Array.from({ length: 21 }, (_one, id) => ({ id: String(id), method: 'GET', url: '/me' }))],
    ['no calls', []],
    [
      'two of one id',
      [
        { id: 'a', method: 'GET', url: '/me' },
        { id: 'A', method: 'GET', url: '/me' },
      ],
    ],
    ['a call without a method', [{ id: 'a', url: '/me' }]],
    ['a body without a type', [{ id: 'a', method: 'POST', url: '/me/events', body: {} }]],
    ['an unknown dependency', [{ id: 'a', method: 'GET', url: '/me', dependsOn: ['b'] }]],
  ])('of %s is refused whole', async (_what, requests) => {
    await using world = await openGraph()
    expect(await refusedAs(world.mailbox.graph.api('/$batch').post({ requests }))).toBe('400 BadRequest')
  })
})

describe('calls in flight', () => {
  /** Calls that have arrived and are held up until the simulator stops. */
  async function hold({ simulator }: GraphWorld, { graph, account }: Mailbox, count: number) {
    const match = { operation: 'calendars', accountId: account.accountId }
    const { faultId } = await simulator.admin<{ faultId: string }>('POST', '/admin/faults', {
      match,
      times: count,
      delayMs: 600_000,
    })
    for (let index = 0; index < count; index += 1)
      graph
        .api('/me/calendar')
        .get()
        .catch(() => {})
    await eventually('the calls to be in flight', async () => {
      const { faults } = await simulator.admin<{ faults: { faultId: string; hits: number }[] }>(
        'GET',
        '/admin/faults',
      )
      return faults.find((fault) => fault.faultId === faultId)?.hits === count
    })
  }

  const oneMore = (mailbox: Mailbox) => mailbox.graph.api('/me/calendar').get()

  test('of one mailbox are four, and one more is 429 ApplicationThrottled; another mailbox has its own', async () => {
    await using world = await openGraph()
    const other = await world.join()
    await hold(world, world.mailbox, 3)
    expect(await oneMore(world.mailbox)).toMatchObject({ isDefaultCalendar: true })
    await hold(world, world.mailbox, 1)
    const { status, code, headers } = await refusal(oneMore(world.mailbox))
    expect([status, code, headers.get('retry-after')]).toEqual([429, 'ApplicationThrottled', '1'])
    expect(await oneMore(other)).toMatchObject({ isDefaultCalendar: true })
    expect(await world.mailbox.graph.api('/me').get(), 'the directory does not count').toBeDefined()
  })

  test('of two mailboxes count together where Microsoft counts by app', async () => {
    await using world = await openGraph()
    await world.knobs({ concurrencyScope: 'app' })
    const other = await world.join()
    await hold(world, world.mailbox, 2)
    await hold(world, other, 2)
    expect(await refusedAs(oneMore(other))).toBe('429 ApplicationThrottled')
  })

  test.each([
    [{ concurrencyRetryAfter: 'absent' }, /^429 null$/],
    [{ concurrencyRetryAfter: 'date' }, /^429 \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT$/],
    [{ concurrencyStatus: 503 }, /^503 1$/],
  ])('are refused in other ways too: %j', async (knobs, expected) => {
    await using world = await openGraph()
    await world.knobs({ concurrencyMax: 1, ...knobs })
    await hold(world, world.mailbox, 1)
    const { status, code, headers } = await refusal(oneMore(world.mailbox))
    expect(`${status} ${headers.get('retry-after')}`).toMatch(expected)
    expect(code).toBe('ApplicationThrottled')
  })
})
