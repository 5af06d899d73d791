// What Google says of events, as people who run calendar sync reported it:
// whatever it sends, busy time is right.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openProduct, type Case, type Product } from './product.ts'
import type { Item } from './vendors/google.ts'

let product: Product

beforeAll(async () => {
  product = await openProduct('field_google_events')
})

afterAll(async () => {
  await product?.[Symbol.asyncDispose]()
})

/** Ana, her own calendar with these events, connected and read. */
async function ana(story: Case, name: string, ...items: readonly Item[]) {
  const account = product.google.account(name)
  const own = account.calendar(`${name}@example.com`, { primary: true }).holds(...items)
  const connection = await story.connected(account)
  return { account, own, connection }
}

test('a weekly series without an end comes as thousands of occurrences: what lies in the window is held', async () => {
  await using story = await product.begin()
  const { make } = story
  const { own, connection } = await ana(story, 'endless-series', make.google('first', 1, 9))
  const weeks = Array.from({ length: 3800 }, (_, week) => week)
  own.changes(...weeks.map((week) => make.googleOccurrence('mondays', 3 + week * 7, 8)))
  own.changes(...weeks.map((week) => make.googleOccurrence('fridays', 7 + week * 7, 8)))
  await story.ring(own)
  await story.until('both series are there', async () => (await story.held(connection)).length > 100)
  await product.work()
  // 365 days ahead: 52 of each.
  expect((await story.held(connection)).length).toBeLessThan(110)
})

test('a cancelled occurrence that is an id and little else, and a cancelled event with all its details, are gone', async () => {
  await using story = await product.begin()
  const { make } = story
  const series = [1, 2, 3].map((day) => make.googleOccurrence('standup', day, 11))
  const { own } = await ana(story, 'tombstones', ...series, make.google('review', 4, 9))
  await story.busyBecomes(['+1 11:00-12:00', '+2 11:00-12:00', '+3 11:00-12:00', '+4 09:00-10:00'])
  own.loses(String(series[1]!['id']), 'review')
  own.tells({ kind: 'calendar#event', etag: '"1"', id: series[1]!['id'], status: 'cancelled' })
  const recurrence = ['RRULE:FREQ=WEEKLY;UNTIL=20361231T000000Z']
  own.tells(make.google('review', 4, 9, { status: 'cancelled', privateCopy: true, recurrence }))
  await story.ring(own)
  await story.busyBecomes(['+1 11:00-12:00', '+3 11:00-12:00'])
})

test('an event that is moved away and back between two looks is where it was', async () => {
  await using story = await product.begin()
  const { make } = story
  const { own } = await ana(story, 'there-and-back', make.google('lunch', 1, 12))
  own.tells({ id: 'lunch', status: 'cancelled' }).changes(make.google('lunch', 1, 12))
  own.changes(make.google('marker', 2, 9))
  await story.ring(own)
  await story.busyBecomes(['+1 12:00-13:00', '+2 09:00-10:00'])
})

test('a day off begins with the first moment of the day in the zone of its calendar, however that is called', async () => {
  await using story = await product.begin()
  const { make } = story
  // Zones without summer time, and for old and new names of one zone their equality.
  const zones = {
    'Asia/Calcutta': '18:30',
    'Etc/GMT+8': '08:00',
    GMT: '00:00',
    'America/Buenos_Aires': '03:00',
  }
  const strange = ['tzone://Microsoft/Custom', '(GMT+01:00) Berlin', 'GMT+02:00', 'Customized Time Zone']
  const account = product.google.account('zones')
  account.calendar('zones@example.com', { primary: true })
  ;[...Object.keys(zones), ...strange, 'Europe/Kyiv', 'Europe/Kiev'].forEach((timeZone, i) =>
    account
      .calendar(`zone${i}@group.calendar.google.com`, { timeZone })
      .holds(make.googleDay(`day${i}`, 3 + i * 4)),
  )
  await story.connected(account)
  const busy = await story.busy()
  expect(busy.slice(0, 4).map((span) => span.slice(-11, -6))).toEqual(Object.values(zones))
  // Where a zone has no meaning, the day of everybody on earth: from UTC+14 to UTC-12.
  expect(busy.slice(4, 8)).toEqual(strange.map((_, i) => `+${18 + i * 4} 10:00-12:00`))
  const [kyiv, kiev] = busy.slice(8).map((span) => span.slice(-11))
  expect(kyiv).toBe(kiev)
})

test('working locations and birthdays are free, out of office, focus time and what came by mail are busy', async () => {
  await using story = await product.begin()
  const { make } = story
  const free = { transparency: 'transparent' }
  await ana(
    story,
    'kinds',
    make.googleDay('home', 1, {
      ...free,
      eventType: 'workingLocation',
      workingLocationProperties: { type: 'homeOffice' },
    }),
    make.google('office', 2, 8, { ...free, eventType: 'workingLocation', summary: undefined }),
    make.googleDay('birthday', 3, { ...free, eventType: 'birthday', visibility: 'private' }),
    make.google('away', 5, 9, {
      eventType: 'outOfOffice',
      outOfOfficeProperties: { autoDeclineMode: 'declineAllConflictingInvitations' },
    }),
    make.google('focus', 8, 10, {
      eventType: 'focusTime',
      focusTimeProperties: { chatStatus: 'doNotDisturb' },
    }),
    make.google('flight', 9, 6, {
      eventType: 'fromGmail',
      source: { url: 'https://mail.google.com/x', title: 'mail' },
    }),
  )
  expect(await story.busy()).toEqual(['+5 09:00-10:00', '+8 10:00-11:00', '+9 06:00-07:00'])
})

const self = (responseStatus: string): Item => ({
  attendees: [
    { email: 'boss@example.com', organizer: true, responseStatus: 'accepted' },
    { email: 'ana@example.com', self: true, responseStatus },
    { email: 'carl@example.com', responseStatus: 'declined' },
  ],
})

test('an invitation that the person declined does not block; one without an answer does', async () => {
  await using story = await product.begin()
  const { make } = story
  const answers = ['accepted', 'declined', 'tentative', 'needsAction']
  const events = answers.map((answer, i) => make.google(answer, 1, 9 + i * 2, self(answer)))
  const dayOff = make.googleDay('declined-day', 3, self('declined'))
  const series = [5, 6].map((day) =>
    make.googleOccurrence('weekly', day, 9, self(day === 5 ? 'declined' : 'accepted')),
  )
  const { own } = await ana(story, 'invited', ...events, dayOff, ...series)
  await story.busyBecomes(['+1 09:00-10:00', '+1 13:00-14:00', '+1 15:00-16:00', '+6 09:00-10:00'])
  own.changes(make.google('accepted', 1, 9, self('declined')))
  await story.ring(own)
  await story.busyBecomes(['+1 13:00-14:00', '+1 15:00-16:00', '+6 09:00-10:00'])
  own.changes(make.google('declined', 1, 11, self('accepted')))
  await story.ring(own)
  await story.busyBecomes(['+1 11:00-12:00', '+1 13:00-14:00', '+1 15:00-16:00', '+6 09:00-10:00'])
})

test('a series that is deleted and told only for half a year is gone at once, all of it', async () => {
  await using story = await product.begin()
  const { make } = story
  const singles = Array.from({ length: 30 }, (_, i) => make.google(`single${i}`, 2 + i, 15))
  const series = Array.from({ length: 51 }, (_, i) => make.googleOccurrence('weekly', 4 + i * 7, 10))
  const { own, connection } = await ana(story, 'half-told', ...singles, ...series)
  expect(await story.held(connection)).toHaveLength(81)
  for (const [i, one] of series.entries()) {
    const { id, recurringEventId, originalStartTime } = one
    own.loses(String(id))
    if (i < 26) own.tells({ id, recurringEventId, originalStartTime, status: 'cancelled' })
  }
  await story.ring(own)
  await story.until('no occurrence is left', async () => (await story.held(connection)).length === 30)
  expect(await story.busy(4 + 26 * 7, 5 + 26 * 7)).toEqual([])
})

test('a series that is told as gone by its own id alone takes its occurrences along', async () => {
  await using story = await product.begin()
  const { make } = story
  const doomed = [1, 2, 3].map((day) => make.googleOccurrence('doomed', day, 9))
  const kept = [1, 3].map((day) => make.googleOccurrence('kept', day, 11))
  const { own } = await ana(story, 'series-tombstone', ...doomed, ...kept)
  own.loses(...doomed.map(({ id }) => String(id))).tells({ id: 'doomed', status: 'cancelled' })
  await story.ring(own)
  await story.busyBecomes(['+1 11:00-12:00', '+3 11:00-12:00'])
})

test('a series that is cut in two, of which one occurrence is told: the first half ends, the second is there', async () => {
  await using story = await product.begin()
  const { make } = story
  const before = [1, 8, 15, 22].map((day) => make.googleOccurrence('gym', day, 9))
  const { own } = await ana(story, 'cut-series', ...before)
  // "This and following": the rest is a new series under an id that continues the old one.
  const rest = `gym_R${String(before[2]!['id']).slice('gym_'.length)}`
  const after = [15, 22].map((day) => make.googleOccurrence(rest, day, 18))
  own.loses(...before.slice(2).map(({ id }) => String(id)))
  own.holds(...after).tells(after[0]!)
  await story.ring(own)
  await story.busyBecomes(['+1 09:00-10:00', '+8 09:00-10:00', '+15 18:00-19:00', '+22 18:00-19:00'])
})

test('a series that becomes a single event is that event and no occurrence', async () => {
  await using story = await product.begin()
  const { make } = story
  const series = [1, 2, 3].map((day) => make.googleOccurrence('once', day, 9))
  const { own } = await ana(story, 'series-to-single', ...series)
  own.loses(...series.map(({ id }) => String(id))).changes(make.google('once', 1, 9))
  await story.ring(own)
  await story.busyBecomes(['+1 09:00-10:00'])
})

test('whose meetings make a person busy: their own calendars; others are offered with role and primary', async () => {
  await using story = await product.begin()
  const { make } = story
  const account = product.google.account('neighbours')
  account.calendar('neighbours@example.com', { primary: true }).holds(make.google('mine', 1, 9))
  account.calendar('side@group.calendar.google.com').holds(make.google('side', 1, 12))
  account
    .calendar('bob@example.com', { accessRole: 'reader', summary: 'Bob' })
    .holds(make.google('bobs', 2, 9))
  account
    .calendar('c_188x@resource.calendar.google.com', { accessRole: 'freeBusyReader', summary: 'Room 5' })
    .holds(make.google('room', 3, 9, { visibility: 'private' }))
  account
    .calendar('football@import.calendar.google.com', { accessRole: 'reader', summary: 'Football' })
    .holds(make.google('match', 4, 19))
  account
    .calendar('en.german#holiday@group.v.calendar.google.com', { accessRole: 'reader' })
    .holds(make.googleDay('holiday', 5, { visibility: 'public' }))
  const id = await story.connected(account)
  expect(await story.busy()).toEqual(['+1 09:00-10:00', '+1 12:00-13:00'])
  const { calendars } = await story.connection(id)
  expect(calendars).toHaveLength(6)
  expect(calendars).toContainEqual(
    expect.objectContaining({ name: 'neighbours@example.com', primary: true, selected: true }),
  )
  expect(calendars).toContainEqual(expect.objectContaining({ name: 'Bob', primary: false, selected: false }))
})
