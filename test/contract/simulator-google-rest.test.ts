// The rest of the simulated Google, with the official SDK as client: hidden and deleted calendars,
// access changes, imports, moves, instances, extended properties, and both ways of what Google
// leaves open about sync tokens and channels.
import { randomUUID } from 'node:crypto'
import type { calendar_v3 } from 'googleapis/build/src/apis/calendar/index.js'
import { describe, expect, it } from 'vitest'
import { startTestSimulator, type TestAccount, type TestSimulator } from '../support/simulator.ts'

const calendarId = 'primary'
const DAY = { start: { date: '2026-12-01' }, end: { date: '2026-12-02' } }
const DAILY = {
  start: { dateTime: '2026-12-01T09:00:00Z', timeZone: 'UTC' },
  end: { dateTime: '2026-12-01T10:00:00Z', timeZone: 'UTC' },
  recurrence: ['RRULE:FREQ=DAILY;COUNT=4'],
}

interface Setting extends AsyncDisposable {
  readonly simulator: TestSimulator
  readonly account: TestAccount
  readonly sdk: calendar_v3.Calendar
}

async function open(calendars: number | readonly object[] = 1): Promise<Setting> {
  const simulator = await startTestSimulator({ clock: 'manual', clockStart: Date.UTC(2026, 10, 20) })
  await simulator.admin('POST', '/admin/notifications', { paused: true, syncMessage: 'after' })
  await simulator.admin('POST', '/admin/paging', { shortPages: false, emptyPages: false })
  const account = await simulator.addAccount({ eventsPerCalendar: 0, calendars })
  const sdk = await simulator.sdk(account)
  return { simulator, account, sdk, [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose]() }
}

function refused(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'fine',
    (error: { status: number; response: { data: { error: { errors: { reason: string }[] } } } }) =>
      `${error.status} ${error.response.data.error.errors[0]?.reason}`,
  )
}

const cursorOf = async (sdk: calendar_v3.Calendar) =>
  (await sdk.events.list({ calendarId, singleEvents: true })).data.nextSyncToken ?? ''

describe('the calendar list', () => {
  it('keeps its place when a calendar goes while somebody pages', async () => {
    await using setting = await open(4)
    const { sdk, simulator, account } = setting
    const first = (await sdk.calendarList.list({ maxResults: 2 })).data
    const path = `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(account.calendars[0]?.id ?? '')}`
    await simulator.admin('DELETE', path)
    const second = (await sdk.calendarList.list({ maxResults: 2, pageToken: first.nextPageToken ?? '' })).data
    const seen = [...(first.items ?? []), ...(second.items ?? [])].map(({ id }) => id)
    expect(seen).toEqual(account.calendars.map(({ id }) => id))
    const later = (await sdk.calendarList.list({ syncToken: second.nextSyncToken ?? '' })).data.items
    expect(later).toMatchObject([{ id: account.calendars[0]?.id, deleted: true }])
  })

  it('leaves hidden entries out unless asked, reports them in increments, and refuses what a sync token forbids', async () => {
    await using setting = await open(2)
    const { sdk, account } = setting
    const hiddenId = account.calendars[1]?.id ?? ''
    const syncToken = (await sdk.calendarList.list()).data.nextSyncToken ?? ''
    await sdk.calendarList.patch({ calendarId: hiddenId, requestBody: { hidden: true } })
    const count = async (showHidden: boolean) =>
      (await sdk.calendarList.list({ showHidden })).data.items?.length
    expect([await count(false), await count(true)]).toEqual([1, 2])
    expect((await sdk.calendarList.list({ syncToken })).data.items).toMatchObject([
      { id: hiddenId, hidden: true },
    ])
    expect(await refused(sdk.calendarList.list({ syncToken, showHidden: false }))).toBe('400 badRequest')
    expect(await refused(sdk.calendarList.list({ syncToken, minAccessRole: 'owner' }))).toBe('400 badRequest')
    const readers = [{ accessRole: 'owner' }, { accessRole: 'reader' }]
    await using other = await open(readers)
    expect((await other.sdk.calendarList.list({ minAccessRole: 'writer' })).data.items).toHaveLength(1)
  })
})

describe('the id of a calendar', () => {
  it('changes with the address of the account; as an alias the old one answers on, its sync tokens do not', async () => {
    await using setting = await open(2)
    const { sdk, simulator, account } = setting
    const path = `/admin/accounts/${account.accountId}/calendars`
    const syncToken = await cursorOf(sdk)
    await simulator.admin('POST', `${path}/${account.email}/rename`, { id: 'new@example.com', alias: true })
    const listed = (await sdk.calendarList.list()).data.items ?? []
    expect(listed.map(({ id, primary }) => [id, primary])).toEqual([
      ['new@example.com', true],
      [account.calendars[1]?.id, undefined],
    ])
    const list = (id: string, more = {}) => refused(sdk.events.list({ calendarId: id, ...more }))
    expect([await list(account.email), await list('new@example.com')]).toEqual(['fine', 'fine'])
    expect(await list('primary', { singleEvents: true, syncToken })).toBe('410 fullSyncRequired')
    const other = encodeURIComponent(account.calendars[1]?.id ?? '')
    await simulator.admin('POST', `${path}/${other}/rename`, { id: 'side@group.calendar.google.com' })
    expect(await list(account.calendars[1]?.id ?? '')).toBe('404 notFound')
  })

  it('that the list leaves out answers on', async () => {
    await using setting = await open(2)
    const { sdk, simulator, account } = setting
    const id = account.calendars[1]?.id ?? ''
    const path = `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(id)}`
    await simulator.admin('PATCH', path, { unlisted: true })
    expect((await sdk.calendarList.list({ showHidden: true })).data.items).toHaveLength(1)
    expect(await refused(sdk.events.list({ calendarId: id }))).toBe('fine')
  })
})

describe('deleted series', () => {
  it.each([
    [{ toldShare: 0.5 }, 2, true],
    [{ toldShare: 0.5, tombstones: 'sparse' }, 2, false],
    [{ tombstones: 'series' }, 1, false],
  ])('are told as the knobs say: %j', async (knobs, count, isNamed) => {
    await using setting = await open()
    const { sdk, simulator } = setting
    const { id } = (await sdk.events.insert({ calendarId, requestBody: DAILY })).data
    const syncToken = await cursorOf(sdk)
    await simulator.admin('POST', '/admin/series', knobs)
    await sdk.events.delete({ calendarId, eventId: id ?? '' })
    const told = (await sdk.events.list({ calendarId, singleEvents: true, syncToken })).data.items ?? []
    expect(told.map(({ status, recurringEventId }) => [status, recurringEventId !== undefined])).toEqual(
      Array.from({ length: count }, () => ['cancelled', isNamed]),
    )
    expect(told.some((item) => item.id === id)).toBe(count === 1)
  })
})

describe('access', () => {
  it('that changes ends the sync tokens of the calendar, a new name does not', async () => {
    await using setting = await open()
    const { sdk, simulator, account } = setting
    const path = `/admin/accounts/${account.accountId}/calendars/${account.email}`
    const list = (syncToken: string) =>
      refused(sdk.events.list({ calendarId, singleEvents: true, syncToken }))
    const first = await cursorOf(sdk)
    await simulator.admin('PATCH', path, { name: 'Renamed' })
    expect(await list(first)).toBe('fine')
    const scope = { type: 'user', value: 'bo@example.com' }
    await sdk.acl.insert({ calendarId, requestBody: { role: 'reader', scope } })
    expect(await list(first)).toBe('410 fullSyncRequired')
    const second = await cursorOf(sdk)
    await sdk.acl.delete({ calendarId, ruleId: 'user:bo@example.com' })
    expect(await list(second)).toBe('410 fullSyncRequired')
    const third = await cursorOf(sdk)
    await simulator.admin('PATCH', path, { accessRole: 'reader' })
    expect(await list(third)).toBe('410 fullSyncRequired')
    expect(await refused(sdk.events.insert({ calendarId, requestBody: DAY }))).toBe('403 forbidden')
    expect((await sdk.calendarList.get({ calendarId })).data).toMatchObject({
      summary: 'Renamed',
      accessRole: 'reader',
    })
  })
})

describe('writes', () => {
  it('import by iCalUID takes the place of what is there; insert with it is refused', async () => {
    await using setting = await open()
    const { sdk } = setting
    const requestBody = { ...DAY, iCalUID: 'x@elsewhere', summary: 'one' }
    const { data: first } = await sdk.events.import({ calendarId, requestBody })
    const { data: second } = await sdk.events.import({
      calendarId,
      requestBody: { ...requestBody, summary: 'two' },
    })
    expect([second.id, second.summary, second.iCalUID]).toEqual([first.id, 'two', 'x@elsewhere'])
    expect(await refused(sdk.events.insert({ calendarId, requestBody }))).toBe('409 duplicate')
    expect(await refused(sdk.events.import({ calendarId, requestBody: DAY }))).toBe('400 required')
    await sdk.events.delete({ calendarId, eventId: first.id ?? '' })
    expect(await refused(sdk.events.insert({ calendarId, requestBody })), 'a tombstone keeps it').toBe(
      '409 duplicate',
    )
    expect((await sdk.events.import({ calendarId, requestBody })).data).toMatchObject({
      id: first.id,
      status: 'confirmed',
    })
  })

  it('move leaves a tombstone and goes on under the same id', async () => {
    await using setting = await open(2)
    const { sdk, account } = setting
    const destination = account.calendars[1]?.id ?? ''
    const syncToken = await cursorOf(sdk)
    const { data } = await sdk.events.insert({ calendarId, requestBody: { ...DAY, summary: 'mine' } })
    const eventId = data.id ?? ''
    expect((await sdk.events.move({ calendarId, eventId, destination })).data).toMatchObject({
      id: eventId,
      summary: 'mine',
    })
    const { items } = (await sdk.events.list({ calendarId, singleEvents: true, syncToken })).data
    expect(items).toEqual([
      { kind: 'calendar#event', etag: expect.any(String), id: eventId, status: 'cancelled' },
    ])
    expect((await sdk.events.get({ calendarId: destination, eventId })).data.status).toBe('confirmed')
  })

  it('extended properties are dropped and cut in silence, matched in listings, and deleted by null', async () => {
    await using setting = await open()
    const { sdk } = setting
    const long = 'k'.repeat(45)
    const given = { a: '1', b: 'v'.repeat(2_000), [long]: 'lost' }
    const requestBody = { ...DAY, extendedProperties: { private: given } }
    const { data } = await sdk.events.insert({ calendarId, requestBody })
    expect(data.extendedProperties?.private).toEqual({ a: '1', b: 'v'.repeat(1024) })
    await sdk.events.insert({ calendarId, requestBody: DAY })
    const found = async (pair: string) =>
      (await sdk.events.list({ calendarId, privateExtendedProperty: [pair] })).data.items?.map(({ id }) => id)
    expect([await found('a=1'), await found('a=2')]).toEqual([[data.id], []])
    const eventId = data.id ?? ''
    const patch = { extendedProperties: { private: { a: null as never } } }
    const patched = await sdk.events.patch({ calendarId, eventId, requestBody: patch })
    expect(Object.keys(patched.data.extendedProperties?.private ?? {})).toEqual(['b'])
    const many = Object.fromEntries(Array.from({ length: 301 }, (_, index) => [`k${index}`, 'x']))
    const tooMany = { ...DAY, extendedProperties: { shared: many } }
    expect(await refused(sdk.events.insert({ calendarId, requestBody: tooMany }))).toBe('400 invalid')
  })

  it('a series needs a zone, and shows its instances page by page with their exceptions', async () => {
    await using setting = await open()
    const { sdk } = setting
    const zoneless = { ...DAILY, start: { dateTime: '2026-12-01T09:00:00Z' } }
    expect(await refused(sdk.events.insert({ calendarId, requestBody: zoneless }))).toBe('400 required')
    const { data } = await sdk.events.insert({ calendarId, requestBody: DAILY })
    const eventId = data.id ?? ''
    await sdk.events.delete({ calendarId, eventId: `${eventId}_20261202T090000Z` })
    await sdk.events.patch({
      calendarId,
      eventId: `${eventId}_20261203T090000Z`,
      requestBody: { summary: 'other' },
    })
    const first = (await sdk.events.instances({ calendarId, eventId, maxResults: 2 })).data
    const rest = (
      await sdk.events.instances({ calendarId, eventId, maxResults: 2, pageToken: first.nextPageToken ?? '' })
    ).data
    const ids = [...(first.items ?? []), ...(rest.items ?? [])].map(({ id }) => id?.slice(eventId.length))
    expect(ids).toHaveLength(3)
    expect(new Set(ids)).toEqual(new Set(['_20261201T090000Z', '_20261203T090000Z', '_20261204T090000Z']))
    expect(rest.nextPageToken).toBeUndefined()
    expect((await sdk.events.instances({ calendarId, eventId, showDeleted: true })).data.items).toHaveLength(
      4,
    )
    expect(await refused(sdk.events.instances({ calendarId, eventId: 'never' }))).toBe('404 notFound')
  })
})

describe('what Google leaves open', () => {
  it('a sync token may die of age', async () => {
    await using setting = await open()
    const { sdk, simulator } = setting
    await simulator.admin('POST', '/admin/access-tokens', { seconds: 86_400 })
    const client = await simulator.sdk(setting.account)
    await simulator.admin('POST', '/admin/cursors', { lifeSeconds: 3_600 })
    const syncToken = await cursorOf(sdk)
    const list = () => refused(client.events.list({ calendarId, singleEvents: true, syncToken }))
    await simulator.admin('POST', '/admin/clock', { advanceMs: 3_599_000 })
    expect(await list()).toBe('fine')
    await simulator.admin('POST', '/admin/clock', { advanceMs: 1_000 })
    expect(await list()).toBe('410 fullSyncRequired')
  })

  it('a change may be announced and readable by its id before an increment has it, and comes exactly then', async () => {
    await using setting = await open()
    const { sdk, simulator } = setting
    await simulator.admin('POST', '/admin/cursors', { lagMs: 5_000 })
    let syncToken = await cursorOf(sdk)
    const increment = async () => {
      const { data } = await sdk.events.list({ calendarId, singleEvents: true, syncToken })
      syncToken = data.nextSyncToken ?? ''
      return data.items?.map(({ summary }) => summary)
    }
    const { data } = await sdk.events.insert({ calendarId, requestBody: { ...DAY, summary: 'first' } })
    expect((await sdk.events.get({ calendarId, eventId: data.id ?? '' })).data.summary).toBe('first')
    expect(await increment()).toEqual([])
    await simulator.admin('POST', '/admin/clock', { advanceMs: 3_000 })
    await sdk.events.patch({ calendarId, eventId: data.id ?? '', requestBody: { summary: 'second' } })
    await simulator.admin('POST', '/admin/clock', { advanceMs: 3_000 })
    expect(await increment()).toEqual([])
    await simulator.admin('POST', '/admin/clock', { advanceMs: 2_000 })
    expect([await increment(), await increment()]).toEqual([['second'], []])
  })

  it('a sync token may keep the window of its first listing or not', async () => {
    await using setting = await open()
    const { sdk, simulator } = setting
    const window = { timeMin: '2026-12-02T00:00:00Z', timeMax: '2026-12-03T00:00:00Z' }
    const { data } = await sdk.events.list({ calendarId, singleEvents: true, ...window })
    await sdk.events.insert({ calendarId, requestBody: DAILY })
    const syncToken = data.nextSyncToken ?? ''
    const count = async () =>
      (await sdk.events.list({ calendarId, singleEvents: true, syncToken })).data.items?.length
    expect(await count()).toBe(1)
    await simulator.admin('POST', '/admin/cursors', { keepsWindow: false })
    expect(await count()).toBe(4)
  })

  it('a stop may take effect late, somebody else may be told 403, and a channel may live longer', async () => {
    await using setting = await open()
    const { sdk, simulator } = setting
    const other = await simulator.sdk(await simulator.addAccount())
    const week = 604_800
    const watch = async (ttl: number) => {
      const requestBody = {
        id: randomUUID(),
        type: 'web_hook',
        address: 'https://127.0.0.1:1/hook',
        params: { ttl: String(ttl) },
      }
      const { data } = await sdk.events.watch({ calendarId, requestBody })
      return {
        id: data.id ?? '',
        resourceId: data.resourceId ?? '',
        life: Number(data.expiration) - Date.UTC(2026, 10, 20),
      }
    }
    expect((await watch(2 * week)).life).toBe(week * 1000)
    await simulator.admin('POST', '/admin/channels', {
      lifeSecondsMax: 2 * week,
      stopDelayMs: 30_000,
      foreignStop: 403,
    })
    const { id, resourceId, life } = await watch(2 * week)
    expect(life).toBe(2 * week * 1000)
    const stop = (client: calendar_v3.Calendar) =>
      refused(client.channels.stop({ requestBody: { id, resourceId } }))
    expect([await stop(other), await stop(sdk), await stop(sdk)]).toEqual(['403 forbidden', 'fine', 'fine'])
    const pending = async () => (await simulator.admin<{ pending: number }>('GET', '/admin/channels')).pending
    await simulator.admin('POST', '/admin/notifications', { perChange: 1 })
    const before = await pending()
    await sdk.events.insert({ calendarId, requestBody: DAY })
    expect((await pending()) - before, 'both channels are told').toBe(2)
    await simulator.admin('POST', '/admin/clock', { advanceMs: 30_000 })
    await sdk.events.insert({ calendarId, requestBody: DAY })
    expect((await pending()) - before, 'only the other one is').toBe(3)
    expect(await stop(sdk)).toBe('404 notFound')
  })
})

describe('a partial response', () => {
  it('has what `fields` names, in any nesting, and the rest not', async () => {
    await using setting = await open()
    const { sdk } = setting
    await sdk.events.insert({
      calendarId,
      requestBody: { start: DAILY.start, end: DAILY.end, summary: 'a', description: 'b' },
    })
    const list = async (fields?: string) =>
      (await sdk.events.list({ calendarId, ...(fields && { fields }) })).data
    const whole = await list()
    expect(whole.items?.[0]).toMatchObject({ summary: 'a', description: 'b' })
    const part = await list('nextSyncToken,items(id,start(dateTime),organizer/email)')
    expect(Object.keys(part)).toEqual(['items', 'nextSyncToken'])
    expect(part.items).toEqual([
      {
        id: whole.items?.[0]?.id,
        organizer: { email: whole.items?.[0]?.organizer?.email },
        start: { dateTime: whole.items?.[0]?.start?.dateTime },
      },
    ])
    expect(await list('*')).toEqual(await list())
    expect(Object.keys((await sdk.calendarList.list({ fields: 'items/id' })).data.items?.[0] ?? {})).toEqual([
      'id',
    ])
  })

  it('is refused for a selection that names no field or cannot be read; errors come whole', async () => {
    await using setting = await open()
    const { sdk } = setting
    for (const fields of ['items(idd)', 'items(id', 'items(id))', 'items()', ',', 'items(id,)']) {
      const outcome = await refused(sdk.events.list({ calendarId, fields }))
      expect([fields, outcome]).toEqual([fields, '400 invalid'])
    }
    expect(await refused(sdk.events.list({ calendarId: 'nobody', fields: 'items(id)' }))).toBe('404 notFound')
  })
})
