// The simulated Google against its documentation, with the official SDK as the client: listing,
// paging, sync tokens, writes, errors.
// https://developers.google.com/workspace/calendar/api/guides/sync and …/guides/errors
import { describe, expect, it } from 'vitest'
import type { calendar_v3 } from 'googleapis/build/src/apis/calendar/index.js'
import { startTestSimulator, type TestAccount, type TestSimulator } from '../support/simulator.ts'

const FULL_SYNC_REQUIRED = {
  error: {
    errors: [
      {
        domain: 'calendar',
        reason: 'fullSyncRequired',
        message: 'Sync token is no longer valid, a full sync is required.',
        locationType: 'parameter',
        location: 'syncToken',
      },
    ],
    code: 410,
    message: 'Sync token is no longer valid, a full sync is required.',
  },
}
const TIMES = { start: { dateTime: '2026-12-01T10:00:00Z' }, end: { dateTime: '2026-12-01T11:00:00Z' } }

type Query = Omit<calendar_v3.Params$Resource$Events$List, 'pageToken'>

interface Listed {
  readonly items: calendar_v3.Schema$Event[]
  readonly pages: calendar_v3.Schema$Events[]
  readonly syncToken: string
}

/** Follows page tokens to the end; `between` runs after the first page. */
async function listAll(
  sdk: calendar_v3.Calendar,
  query: Query,
  between?: () => Promise<unknown>,
): Promise<Listed> {
  const pages: calendar_v3.Schema$Events[] = []
  let pageToken: string | null | undefined
  do {
    const { data } = await sdk.events.list({ ...query, ...(pageToken ? { pageToken } : {}) })
    pages.push(data)
    pageToken = data.nextPageToken
    if (pages.length === 1) await between?.()
  } while (pageToken)
  return {
    items: pages.flatMap((page) => page.items ?? []),
    pages,
    syncToken: pages.at(-1)?.nextSyncToken ?? '',
  }
}

async function open(body: Readonly<Record<string, unknown>> = {}) {
  const simulator = await startTestSimulator()
  const account = await simulator.addAccount(body)
  return {
    simulator,
    account,
    sdk: await simulator.sdk(account),
    calendarId: account.calendars[0]?.id ?? '',
    [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose](),
  }
}

function change(simulator: TestSimulator, account: TestAccount, eventId?: string) {
  const base = `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(account.calendars[0]?.id ?? '')}/events`
  return eventId === undefined
    ? simulator.admin<{ id: string; version: number }>('POST', base, {})
    : simulator.admin<{ id: string; version: number }>('PATCH', `${base}/${eventId}`, {})
}

/** The status and body of a refused call. */
async function refusal(call: Promise<unknown>): Promise<{ status: number; reason: string; data: unknown }> {
  const error = await call.then(
    () => new Error('the call was not refused'),
    (thrown: unknown) => thrown as Error,
  )
  const { response } = error as {
    response?: { status: number; data: { error?: { errors?: { reason: string }[] } } }
  }
  if (!response) throw error
  return {
    status: response.status,
    reason: response.data.error?.errors?.[0]?.reason ?? '',
    data: response.data,
  }
}

describe('calendarList', () => {
  it('comes in pages and names the primary calendar by the email', async () => {
    await using world = await open({ calendars: 5, eventsPerCalendar: 0 })
    const first = await world.sdk.calendarList.list({ maxResults: 2 })
    expect(first.data.items).toHaveLength(2)
    expect(first.data.nextSyncToken).toBeUndefined()
    expect(first.data.items?.[0]).toMatchObject({
      id: world.account.email,
      primary: true,
      accessRole: 'owner',
    })
    const second = await world.sdk.calendarList.list({
      maxResults: 2,
      pageToken: first.data.nextPageToken ?? '',
    })
    const third = await world.sdk.calendarList.list({
      maxResults: 2,
      pageToken: second.data.nextPageToken ?? '',
    })
    expect(third.data.items).toHaveLength(1)
    expect(third.data.nextSyncToken).toBeTypeOf('string')
  })

  it('reports a calendar that went, and its events are 404', async () => {
    await using world = await open({ calendars: 2 })
    const { data } = await world.sdk.calendarList.list()
    const gone = world.account.calendars[1]?.id ?? ''
    await world.simulator.admin(
      'DELETE',
      `/admin/accounts/${world.account.accountId}/calendars/${encodeURIComponent(gone)}`,
    )
    const next = await world.sdk.calendarList.list({ syncToken: data.nextSyncToken ?? '' })
    expect(next.data.items).toMatchObject([{ id: gone, deleted: true }])
    expect(await refusal(world.sdk.events.list({ calendarId: gone }))).toMatchObject({
      status: 404,
      reason: 'notFound',
    })
    expect((await world.sdk.events.list({ calendarId: world.calendarId })).status).toBe(200)
  })
})

describe('a full listing', () => {
  it('gives each event once over short and empty pages, and its sync token on the last page only', async () => {
    await using world = await open({ eventsPerCalendar: 120 })
    await world.simulator.admin('POST', '/admin/paging', { shortPages: true, emptyPages: true })
    const { items, pages, syncToken } = await listAll(world.sdk, { calendarId: 'primary', maxResults: 20 })
    const truth = await listAll(world.sdk, { calendarId: 'primary', maxResults: 2500 })
    expect(new Set(items.map(({ id }) => id)).size).toBe(items.length)
    expect(items.map(({ id }) => id)).toEqual(truth.items.map(({ id }) => id))
    expect(items).toHaveLength(120)
    const sizes = pages.map((page) => page.items?.length ?? -1)
    expect(sizes).toContain(0)
    expect(sizes.some((size) => size > 0 && size < 20)).toBe(true)
    expect(pages.slice(0, -1).every((page) => page.nextSyncToken === undefined && page.nextPageToken)).toBe(
      true,
    )
    expect(syncToken).not.toBe('')
  })

  it('fills pages when the knobs are off', async () => {
    await using world = await open({ eventsPerCalendar: 30 })
    await world.simulator.admin('POST', '/admin/paging', { shortPages: false, emptyPages: false })
    const { pages } = await listAll(world.sdk, { calendarId: 'primary', maxResults: 20 })
    expect(pages.map((page) => page.items?.length)).toEqual([20, 10])
  })

  it('keeps showing the moment of its first page, and the next increment has what changed meanwhile', async () => {
    await using world = await open({ eventsPerCalendar: 40 })
    const { simulator, account, sdk } = world
    const before = await listAll(sdk, { calendarId: 'primary', maxResults: 2500 })
    const victim = before.items[35]?.id ?? ''
    let created = ''
    const during = await listAll(sdk, { calendarId: 'primary', maxResults: 10 }, async () => {
      await change(simulator, account, victim)
      created = (await change(simulator, account)).id
    })
    expect(during.items.map(({ etag }) => etag)).toEqual(before.items.map(({ etag }) => etag))
    const after = await listAll(sdk, { calendarId: 'primary', syncToken: during.syncToken })
    expect(after.items.map(({ id }) => id)).toEqual([victim, created])
    // Control: an increment from the end has nothing.
    expect((await listAll(sdk, { calendarId: 'primary', syncToken: after.syncToken })).items).toEqual([])
  })

  it('asks the same page again with the same result', async () => {
    await using world = await open({ eventsPerCalendar: 60 })
    const first = await world.sdk.events.list({ calendarId: 'primary', maxResults: 15 })
    const pageToken = first.data.nextPageToken ?? ''
    const once = await world.sdk.events.list({ calendarId: 'primary', maxResults: 15, pageToken })
    const twice = await world.sdk.events.list({ calendarId: 'primary', maxResults: 15, pageToken })
    expect(twice.data.items).toEqual(once.data.items)
    expect(await refusal(world.sdk.events.list({ calendarId: 'primary', q: 'x', pageToken }))).toMatchObject({
      status: 400,
    })
  })

  it('expands series inside the window and leaves out what does not meet it', async () => {
    await using world = await open({ eventsPerCalendar: 0, calendars: [{ timeZone: 'Europe/Berlin' }] })
    const { sdk } = world
    const weekly = await sdk.events.insert({
      calendarId: 'primary',
      requestBody: {
        ...TIMES,
        start: { ...TIMES.start, timeZone: 'UTC' },
        recurrence: ['RRULE:FREQ=WEEKLY'],
      },
    })
    await sdk.events.insert({
      calendarId: 'primary',
      requestBody: { start: { date: '2027-01-01' }, end: { date: '2027-01-02' } },
    })
    const window = { timeMin: '2026-12-08T11:00:00Z', timeMax: '2026-12-22T10:00:00Z' }
    const { items } = await listAll(sdk, { calendarId: 'primary', singleEvents: true, ...window })
    // timeMin is exclusive on the end, timeMax on the start, so the 8th and the 22nd stay out.
    expect(items).toMatchObject([
      {
        id: `${weekly.data.id}_20261215T100000Z`,
        recurringEventId: weekly.data.id,
        start: { dateTime: '2026-12-15T11:00:00+01:00' },
      },
    ])
    const masters = await listAll(sdk, { calendarId: 'primary' })
    expect(masters.items).toMatchObject([
      { recurrence: ['RRULE:FREQ=WEEKLY'] },
      { start: { date: '2027-01-01' } },
    ])
  })
})

describe('an increment', () => {
  it('has tombstones for deletions; a full listing has none', async () => {
    await using world = await open({ eventsPerCalendar: 3 })
    const { sdk } = world
    const full = await listAll(sdk, { calendarId: 'primary' })
    const eventId = full.items[0]?.id ?? ''
    expect((await sdk.events.delete({ calendarId: 'primary', eventId })).status).toBe(204)
    const { items } = await listAll(sdk, { calendarId: 'primary', syncToken: full.syncToken })
    expect(items).toMatchObject([{ id: eventId, status: 'cancelled' }])
    expect((await listAll(sdk, { calendarId: 'primary' })).items.map(({ id }) => id)).not.toContain(eventId)
    expect((await sdk.events.get({ calendarId: 'primary', eventId })).data.status).toBe('cancelled')
  })

  it('can be read again with the same token', async () => {
    await using world = await open({ eventsPerCalendar: 3 })
    const full = await listAll(world.sdk, { calendarId: 'primary' })
    const { id } = await change(world.simulator, world.account)
    for (let time = 0; time < 2; time += 1) {
      const { items } = await listAll(world.sdk, { calendarId: 'primary', syncToken: full.syncToken })
      expect(items.map((item) => item.id)).toEqual([id])
    }
  })

  it.each(['timeMin', 'timeMax', 'updatedMin', 'q', 'iCalUID', 'orderBy'] as const)(
    'refuses %s beside a sync token with 400',
    async (name) => {
      await using world = await open({ eventsPerCalendar: 1 })
      const { syncToken } = await listAll(world.sdk, { calendarId: 'primary' })
      const value = name === 'orderBy' ? 'updated' : '2026-12-01T00:00:00Z'
      const query = { calendarId: 'primary', syncToken, [name]: value }
      expect(await refusal(world.sdk.events.list(query))).toMatchObject({ status: 400 })
      expect((await world.sdk.events.list({ calendarId: 'primary', syncToken })).status).toBe(200)
    },
  )

  it('answers 410 with the documented body to an expired token, and to one of another calendar or user', async () => {
    await using world = await open({ calendars: 2 })
    const { sdk, simulator, account } = world
    const { syncToken } = await listAll(sdk, { calendarId: 'primary' })
    const elsewhere = account.calendars[1]?.id ?? ''
    expect((await refusal(sdk.events.list({ calendarId: elsewhere, syncToken }))).data).toEqual(
      FULL_SYNC_REQUIRED,
    )
    const stranger = await simulator.sdk(await simulator.addAccount())
    expect((await refusal(stranger.events.list({ calendarId: 'primary', syncToken }))).status).toBe(410)
    expect((await sdk.events.list({ calendarId: 'primary', syncToken })).status).toBe(200)
    await simulator.admin('POST', '/admin/cursors/expire', { accountId: account.accountId })
    expect(await refusal(sdk.events.list({ calendarId: 'primary', syncToken }))).toMatchObject({
      status: 410,
      data: FULL_SYNC_REQUIRED,
    })
    const again = await listAll(sdk, { calendarId: 'primary' })
    expect((await sdk.events.list({ calendarId: 'primary', syncToken: again.syncToken })).status).toBe(200)
  })
})

describe('writes', () => {
  it('insert refuses an id that was ever taken, an empty range and an illegal id', async () => {
    await using world = await open({ eventsPerCalendar: 0 })
    const { events } = world.sdk
    const made = await events.insert({
      calendarId: 'primary',
      requestBody: { ...TIMES, id: 'abcde12345', summary: 'A' },
    })
    expect(made.data).toMatchObject({ id: 'abcde12345', summary: 'A', status: 'confirmed' })
    await events.delete({ calendarId: 'primary', eventId: 'abcde12345' })
    const again = events.insert({ calendarId: 'primary', requestBody: { ...TIMES, id: 'abcde12345' } })
    expect(await refusal(again)).toMatchObject({ status: 409, reason: 'duplicate' })
    const empty = events.insert({
      calendarId: 'primary',
      requestBody: { start: TIMES.start, end: TIMES.start },
    })
    expect(await refusal(empty)).toMatchObject({ status: 400, reason: 'timeRangeEmpty' })
    const illegal = events.insert({ calendarId: 'primary', requestBody: { ...TIMES, id: 'xyz-1' } })
    expect(await refusal(illegal)).toMatchObject({ status: 400, reason: 'invalid' })
  })

  it('patch merges, put replaces, and each write gives a new etag', async () => {
    await using world = await open({ eventsPerCalendar: 0 })
    const { events } = world.sdk
    const made = await events.insert({
      calendarId: 'primary',
      requestBody: { ...TIMES, summary: 'A', location: 'L' },
    })
    const eventId = made.data.id ?? ''
    const patched = await events.patch({ calendarId: 'primary', eventId, requestBody: { summary: 'B' } })
    expect(patched.data).toMatchObject({ summary: 'B', location: 'L' })
    expect(patched.data.etag).toMatch(/^"\d+"$/)
    expect(patched.data.etag).not.toBe(made.data.etag)
    const put = await events.update({
      calendarId: 'primary',
      eventId,
      requestBody: { ...TIMES, summary: 'C' },
    })
    expect(put.data).not.toHaveProperty('location')
  })

  it('keep to If-Match, and delete answers 410 the second time', async () => {
    await using world = await open({ eventsPerCalendar: 0 })
    const { events } = world.sdk
    const made = await events.insert({ calendarId: 'primary', requestBody: { ...TIMES, summary: 'A' } })
    const target = { calendarId: 'primary', eventId: made.data.id ?? '' }
    const patch = (etag: string) =>
      events.patch({ ...target, requestBody: { summary: 'B' } }, { headers: { 'If-Match': etag } })
    expect((await patch(made.data.etag ?? '')).status).toBe(200)
    expect(await refusal(patch(made.data.etag ?? ''))).toMatchObject({
      status: 412,
      reason: 'conditionNotMet',
    })
    expect((await events.delete(target)).status).toBe(204)
    expect(await refusal(events.delete(target))).toMatchObject({ status: 410, reason: 'deleted' })
  })
})
