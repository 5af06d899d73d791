// The simulated Microsoft's events against learn.microsoft.com/graph/api/resources/event, with the
// official Graph SDK as client: times and zones, ids and moves, change keys, extended properties,
// recurrences, idempotent creation, and what Graph leaves open.
import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { at, hour, IMMUTABLE, openGraph, refusedAs, type Mailbox, type Row } from '../support/graph-sdk.ts'

describe('events', () => {
  test('are shown with a change key, seven digits and Windows zones, and change by PATCH', async () => {
    await using world = await openGraph()
    const { graph } = world.mailbox
    const made = await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    expect(made).toMatchObject({ type: 'singleInstance', subject: 'Plan', isAllDay: false, showAs: 'busy' })
    expect(made['@odata.etag']).toMatch(/^W\/".+"$/)
    expect(made.start).toEqual({ dateTime: `${at(3).dateTime}.0000000`, timeZone: 'UTC' })
    const text = { contentType: 'text', content: 'Bring the plan.' }
    const changed = await graph.api(`/me/events/${made.id}`).patch({ subject: 'Another', body: text })
    expect(changed).toMatchObject({ subject: 'Another', start: made.start, bodyPreview: 'Bring the plan.' })
    expect(changed['@odata.etag']).not.toBe(made['@odata.etag'])
    const zone = 'outlook.timezone="Tokyo Standard Time"'
    const there = await graph.api(`/me/events/${made.id}`).header('Prefer', zone).get()
    expect(there.start).toEqual({
      dateTime: `${at(3, 19).dateTime}.0000000`,
      timeZone: 'Tokyo Standard Time',
    })
    const lost = graph.api(`/me/events/${made.id}`).header('Prefer', 'outlook.timezone="Nowhere"')
    expect(await refusedAs(lost.get())).toBe('400 TimeZoneNotSupportedException')
  })

  test('have all the documented fields, a subject that may be null among them', async () => {
    await using world = await openGraph()
    const made = await world.mailbox.create({ subject: null, ...hour(3) })
    // The example answer of https://learn.microsoft.com/graph/api/user-post-events,
    // without its annotations.
    expect(Object.keys(made)).toEqual(
      expect.arrayContaining(
        `id createdDateTime lastModifiedDateTime changeKey categories originalStartTimeZone originalEndTimeZone
        iCalUId reminderMinutesBeforeStart isReminderOn hasAttachments subject bodyPreview importance sensitivity
        isAllDay isCancelled isOrganizer responseRequested seriesMasterId showAs type webLink onlineMeetingUrl
        isOnlineMeeting onlineMeetingProvider allowNewTimeProposals hideAttendees isDraft transactionId responseStatus
        body start end location locations recurrence attendees organizer`.split(/\s+/),
      ),
    )
    expect(made.subject).toBeNull()
    expect(await world.mailbox.graph.api(`/me/events/${made.id}`).patch({ subject: 'Plan' })).toMatchObject({
      subject: 'Plan',
    })
  })

  test('say which preferences were kept to, and show what was selected', async () => {
    await using world = await openGraph()
    const { id } = await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    const answer = await fetch(`${world.simulator.microsoftUrl}/v1.0/me/events/${id}?$select=subject`, {
      headers: {
        authorization: `Bearer ${world.mailbox.bearer}`,
        prefer: `outlook.timezone="UTC", ${IMMUTABLE}`,
      },
    })
    expect(answer.headers.get('preference-applied')).toBe(`outlook.timezone="UTC", ${IMMUTABLE}`)
    const body = (await answer.json()) as Row
    expect(Object.keys(body).toSorted()).toEqual(['@odata.etag', 'id', 'subject'])
    const { graph } = world.mailbox
    expect(await refusedAs(graph.api(`/me/events/${id}`).query({ $select: 'id,subjekt' }).get())).toBe(
      '400 BadRequest',
    )
    const calendars = await graph.api('/me/calendars').query({ $select: 'name' }).get()
    expect(Object.keys(calendars.value[0])).toEqual(['id', 'name'])
    expect(await refusedAs(graph.api('/me/calendars').query({ $select: 'title' }).get())).toBe(
      '400 BadRequest',
    )
    expect(await graph.api('/me').query({ $select: 'mail' }).get()).not.toHaveProperty('displayName')
  })

  test('all day begin and end at midnight, and are refused otherwise', async () => {
    await using world = await openGraph()
    const create = (body: object) => world.mailbox.create(body)
    expect(await refusedAs(create({ isAllDay: true, start: at(3), end: at(4) }))).toBe(
      '400 ErrorPropertyValidationFailure',
    )
    expect(await refusedAs(create({ isAllDay: true, start: at(3, 0), end: at(3, 0) }))).toBe(
      '400 ErrorPropertyValidationFailure',
    )
    const whole = await create({ isAllDay: true, start: at(3, 0), end: at(4, 0) })
    expect(whole).toMatchObject({ isAllDay: true, start: { dateTime: `${at(3, 0).dateTime}.0000000` } })
  })

  test('are found by their id in any calendar of the mailbox, and in no other than theirs where the path names one', async () => {
    await using world = await openGraph()
    const { graph } = world.mailbox
    const { id } = await world.mailbox.create({ subject: 'Second calendar', ...hour(3) }, 1)
    expect(await graph.api(`/me/events/${id}`).get()).toMatchObject({ subject: 'Second calendar' })
    expect(await graph.api(`${world.mailbox.calendar(1)}/events/${id}`).get()).toMatchObject({ id })
    const elsewhere = graph.api(`${world.mailbox.calendar(0)}/events/${id}`)
    expect(await refusedAs(elsewhere.get())).toBe('404 ErrorItemNotFound')
    expect((await graph.api('/me/events').get()).value, 'the list is the default calendar').toEqual([])
    expect(await graph.api(`/me/events/${id}`).patch({ subject: 'New' })).toMatchObject({ subject: 'New' })
    await graph.api(`/me/events/${id}`).delete()
    expect(await refusedAs(graph.api(`/me/events/${id}`).get())).toBe('404 ErrorItemNotFound')
    const stranger = await world.join()
    const other = await stranger.create({ subject: 'Not yours', ...hour(3) })
    expect(await refusedAs(graph.api(`/me/events/${other.id}`).get())).toBe('404 ErrorItemNotFound')
  })
})

describe('ids', () => {
  test('have two forms, and both find the event; what is neither is malformed', async () => {
    await using world = await openGraph()
    const { graph } = world.mailbox
    const { id } = await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    const immutable = await world.mailbox.immutableId(id)
    expect(immutable).not.toBe(id)
    expect((await graph.api(`/me/events/${immutable}`).get()).id).toBe(id)
    expect(await refusedAs(graph.api('/me/events/AQMkzzzz').get())).toBe('400 ErrorInvalidIdMalformed')
    expect(await refusedAs(graph.api(`/me/events/${immutable.toUpperCase()}`).get())).toBe(
      '404 ErrorItemNotFound',
    )
  })

  test.each(['by the API', 'by a person'])(
    'after a move %s: the immutable one stays, the other changes',
    async (how) => {
      await using world = await openGraph()
      const { graph, account } = world.mailbox
      const [from = '', to = ''] = account.calendars.map(({ id }) => id)
      const { id } = await world.mailbox.create({ subject: 'Plan', ...hour(3) })
      const immutable = await world.mailbox.immutableId(id)
      const [here, there] = [await world.mailbox.round(), await world.mailbox.round(undefined, 1)]
      if (how === 'by the API') {
        const moved = await graph.api(`/me/events/${id}/move`).post({ destinationId: to })
        expect(moved).toMatchObject({ subject: 'Plan' })
        expect(moved.id).not.toBe(id)
      } else {
        const events = `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(from)}/events`
        await world.simulator.admin('POST', `${events}/${immutable}/move`, { calendarId: to })
      }
      expect(await refusedAs(graph.api(`/me/events/${id}`).get())).toBe('404 ErrorItemNotFound')
      const found = await graph.api(`/me/events/${immutable}`).get()
      expect(found).toMatchObject({ subject: 'Plan' })
      expect(await graph.api(`${world.mailbox.calendar(1)}/events/${found.id}`).get()).toMatchObject({
        id: found.id,
      })

      const left = (await world.mailbox.round(here.link)).rows
      expect(left).toEqual([expect.objectContaining({ id: immutable, '@removed': { reason: 'deleted' } })])
      const arrived = (await world.mailbox.round(there.link, 1)).rows
      expect(arrived).toEqual([expect.objectContaining({ id: immutable, subject: 'Plan' })])
    },
  )

  test('of a series lead to its exceptions after a move; an instance alone cannot be moved', async () => {
    await using world = await openGraph()
    const { graph, account } = world.mailbox
    const to = { destinationId: account.calendars[1]?.id }
    const series = await world.mailbox.create({ subject: 'Daily', ...hour(1), recurrence: daily(4) })
    const window = { startDateTime: at(0, 0).dateTime, endDateTime: at(10, 0).dateTime }
    const { value } = await graph.api(`/me/events/${series.id}/instances`).query(window).get()
    await graph.api(`/me/events/${value[1].id}`).patch({ subject: 'Exception' })
    await graph.api(`/me/events/${value[2].id}`).delete()
    expect(await refusedAs(graph.api(`/me/events/${value[3].id}/move`).post(to))).toBe(
      '400 ErrorInvalidParameter',
    )
    const moved = await graph.api(`/me/events/${series.id}/move`).post(to)
    const after = await graph.api(`/me/events/${moved.id}/instances`).query(window).get()
    expect(after.value.map(({ subject, type }: Row) => [subject, type])).toEqual([
      ['Daily', 'occurrence'],
      ['Exception', 'exception'],
      ['Daily', 'occurrence'],
    ])
    const nowhere = graph.api(`/me/events/${moved.id}/move`).post({ destinationId: 'none' })
    expect(await refusedAs(nowhere)).toBe('404 ErrorItemNotFound')
  })
})

describe('change keys', () => {
  test('that are old are 412 for PATCH and DELETE, and a current one lets both pass', async () => {
    await using world = await openGraph()
    const { graph } = world.mailbox
    const made = await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    const first = String(made['@odata.etag'])
    const event = () => graph.api(`/me/events/${made.id}`)
    const changed = await event().header('If-Match', first).patch({ subject: 'Another' })
    expect(await refusedAs(event().header('If-Match', first).patch({ subject: 'x' }))).toBe(
      '412 ErrorIrresolvableConflict',
    )
    expect(await refusedAs(event().header('If-Match', first).delete())).toBe('412 ErrorIrresolvableConflict')
    expect(await event().get()).toMatchObject({ subject: 'Another' })
    await event().header('If-Match', String(changed['@odata.etag'])).delete()
    expect(await refusedAs(event().get())).toBe('404 ErrorItemNotFound')
  })

  test('may be refused for no reason, with or without If-Match, and then nothing was written', async () => {
    await using world = await openGraph()
    const { graph } = world.mailbox
    const made = await world.mailbox.create({ subject: 'Plan', ...hour(3) })
    const event = () => graph.api(`/me/events/${made.id}`)
    await world.knobs({ spontaneousConflict: 1 })
    const current = String(made['@odata.etag'])
    expect(await refusedAs(event().header('If-Match', current).patch({ subject: 'x' }))).toBe(
      '412 ErrorIrresolvableConflict',
    )
    expect(await refusedAs(event().patch({ subject: 'x' }))).toBe('412 ErrorIrresolvableConflict')
    expect(await event().get()).toMatchObject({ subject: 'Plan', '@odata.etag': current })
    await world.knobs({ spontaneousConflict: 0 })
    expect(await event().header('If-Match', current).patch({ subject: 'x' })).toMatchObject({ subject: 'x' })
  })
})

describe('single-value extended properties', () => {
  const LINK = 'String {66f5a359-4659-4830-9070-00047ec6ac6e} Name calsync-link'
  const OTHER = 'String {66f5a359-4659-4830-9070-00047ec6ac6e} Name other'
  const expanded = (id: string) => `singleValueExtendedProperties($filter=id eq '${id}')`
  const having = (id: string, value: string) =>
    `singleValueExtendedProperties/any(ep: ep/id eq '${id}' and ep/value eq '${value}')`

  test('come back only where they are expanded, are found by their value, and never come in a delta', async () => {
    await using world = await openGraph()
    const { graph } = world.mailbox
    const properties = [
      { id: LINK, value: 'one' },
      { id: OTHER, value: 'two' },
    ]
    const { id } = await world.mailbox.create({
      subject: 'Marked',
      ...hour(3),
      singleValueExtendedProperties: properties,
    })
    await world.mailbox.create({ subject: 'Plain', ...hour(4) })
    const plain = await graph.api(`/me/events/${id}`).get()
    expect(Object.keys(plain)).not.toContain('singleValueExtendedProperties')
    const whole = await graph
      .api(`/me/events/${id}`)
      .query({ $expand: expanded(LINK), $select: 'subject' })
      .get()
    expect(whole).toMatchObject({
      subject: 'Marked',
      singleValueExtendedProperties: [{ id: LINK, value: 'one' }],
    })
    const found = await graph
      .api('/me/events')
      .query({ $filter: having(LINK, 'one') })
      .get()
    expect(found.value.map(({ subject }: Row) => subject)).toEqual(['Marked'])
    expect(
      (
        await graph
          .api('/me/events')
          .query({ $filter: having(LINK, 'two') })
          .get()
      ).value,
    ).toEqual([])
    for (const row of (await world.mailbox.round()).rows)
      expect(Object.keys(row)).not.toContain('singleValueExtendedProperties')
  })

  test('are replaced one by one, and refused without braces', async () => {
    await using world = await openGraph()
    const { graph } = world.mailbox
    const { id } = await world.mailbox.create({
      ...hour(3),
      singleValueExtendedProperties: [
        { id: LINK, value: 'one' },
        { id: OTHER, value: 'two' },
      ],
    })
    await graph.api(`/me/events/${id}`).patch({ singleValueExtendedProperties: [{ id: LINK, value: 'new' }] })
    const both = await graph
      .api(`/me/events/${id}`)
      .query({ $expand: `singleValueExtendedProperties($filter=id eq '${LINK}' or id eq '${OTHER}')` })
      .get()
    expect(both.singleValueExtendedProperties).toEqual([
      { id: LINK, value: 'new' },
      { id: OTHER, value: 'two' },
    ])
    const bare = LINK.replaceAll(/[{}]/g, '')
    const refused = graph
      .api(`/me/events/${id}`)
      .patch({ singleValueExtendedProperties: [{ id: bare, value: 'x' }] })
    expect(await refusedAs(refused)).toBe('400 ErrorPropertyValidationFailure')
  })

  test('are the one filter of lists: another is refused, not ignored', async () => {
    await using world = await openGraph()
    const filtered = world.mailbox.graph.api('/me/events').query({ $filter: "subject eq 'x'" })
    expect(await refusedAs(filtered.get())).toBe('400 ErrorInvalidUrlQueryFilter')
  })
})

describe('recurrences', () => {
  test.each([
    [{ type: 'daily', interval: 2 }, [1, 3, 5]],
    [{ type: 'weekly', interval: 1, daysOfWeek: [weekday(1)] }, [1, 8, 15]],
  ])('of %j fall on their days', async (pattern, days) => {
    await using world = await openGraph()
    const starts = await startsOf(world.mailbox, pattern)
    expect(starts.map((start) => start.slice(0, 10))).toEqual(
      days.map((day) => at(day).dateTime.slice(0, 10)),
    )
  })

  test.each([
    ['absoluteMonthly', { dayOfMonth: 7 }],
    ['absoluteYearly', { dayOfMonth: 7, month: 3 }],
  ])('%s fall on the same date, and are shown as they were written', async (type, date) => {
    await using world = await openGraph()
    const pattern = { type, interval: 1, ...date }
    const starts = await startsOf(world.mailbox, pattern, 700)
    expect(starts.length).toBeGreaterThan(0)
    for (const start of starts)
      expect(start).toMatch(type === 'absoluteMonthly' ? /^\d{4}-\d\d-07T/ : /^\d{4}-03-07T/)
    const [series] = (await world.mailbox.graph.api('/me/events').get()).value
    expect(series.recurrence).toMatchObject({ pattern, range: { type: 'numbered', numberOfOccurrences: 3 } })
  })

  test.each([
    { type: 'relativeMonthly', interval: 1, daysOfWeek: ['tuesday'], index: 'second' },
    { type: 'relativeYearly', interval: 1, daysOfWeek: ['tuesday'], index: 'last', month: 3 },
    { type: 'absoluteMonthly', interval: 1, dayOfMonth: 31 },
    { type: 'absoluteYearly', interval: 1, dayOfMonth: 1 },
    { type: 'weekly', interval: 1, daysOfWeek: ['someday'] },
    { type: 'daily', interval: 0 },
  ])('of %j are refused, never stored as another', async (pattern) => {
    await using world = await openGraph()
    const recurrence = { pattern, range: { type: 'noEnd' } }
    expect(await refusedAs(world.mailbox.create({ ...hour(3), recurrence }))).toBe(
      '400 ErrorPropertyValidationFailure',
    )
    expect((await world.mailbox.graph.api('/me/events').get()).value).toEqual([])
  })

  test('without an end cannot be expanded over many years: 504 UnknownError', async () => {
    await using world = await openGraph()
    const { graph } = world.mailbox
    const recurrence = { pattern: { type: 'weekly', interval: 1 }, range: { type: 'noEnd' } }
    const { id } = await world.mailbox.create({ ...hour(3), recurrence })
    const over = (days: number) => ({ startDateTime: at(0, 0).dateTime, endDateTime: at(days, 0).dateTime })
    for (const path of [`/me/events/${id}/instances`, '/me/calendarView', '/me/calendarView/delta']) {
      expect((await graph.api(path).query(over(700)).get()).value.length, path).toBeGreaterThan(0)
      expect(await refusedAs(graph.api(path).query(over(800)).get()), path).toBe('504 UnknownError')
    }
    await world.knobs({ endlessDaysMax: null })
    expect((await graph.api('/me/calendarView').query(over(800)).get()).value.length).toBeGreaterThan(0)
  })
})

describe('transaction ids', () => {
  const event = () => ({ subject: 'Once', ...hour(3), transactionId: randomBytes(8).toString('hex') })

  test('create once: the same event answers again, or 409, as Microsoft likes', async () => {
    await using world = await openGraph()
    const first = event()
    const made = await world.mailbox.create(first)
    expect(made['transactionId']).toBe(first.transactionId)
    expect((await world.mailbox.create(first)).id).toBe(made.id)
    expect((await world.mailbox.create(event())).id).not.toBe(made.id)
    await world.knobs({ duplicateTransaction: 'conflict' })
    expect(await refusedAs(world.mailbox.create(first))).toBe('409 ErrorDuplicateTransactionId')
    expect((await world.mailbox.graph.api('/me/events').get()).value).toHaveLength(2)
  })
})

function daily(numberOfOccurrences: number) {
  return { pattern: { type: 'daily', interval: 1 }, range: { type: 'numbered', numberOfOccurrences } }
}

function weekday(days: number): string {
  const day = new Date(`${at(days).dateTime}Z`)
  return day.toLocaleDateString('en', { weekday: 'long', timeZone: 'UTC' }).toLowerCase()
}

/** The starts of a series of three that begins tomorrow. */
async function startsOf(mailbox: Mailbox, pattern: object, days = 60): Promise<readonly string[]> {
  const recurrence = { pattern, range: { type: 'numbered', numberOfOccurrences: 3 } }
  const { id } = await mailbox.create({ subject: 'Series', ...hour(1), recurrence })
  const window = { startDateTime: at(0, 0).dateTime, endDateTime: at(days, 0).dateTime }
  const { value } = await mailbox.graph.api(`/me/events/${id}/instances`).query(window).get()
  return value.map(({ start }: Row) => start?.dateTime ?? '')
}
