// Noting which channels ring: bounded for each connection, and never stopped by one notice.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { connectionId, providerId } from '#shared/domain/ids.ts'
import { createLogger } from '#shared/process/log.ts'
import type { Queryable } from '#shared/store/database.ts'
import { CONNECTION_MAX, createChannelNotices } from '../../../services/ingress/webhooks/channel-notices.ts'
import { eventually } from '../../support/eventually.ts'

const DAY_MICROS = 24 * 3600 * 1_000_000

const aConnection = () => ({
  connectionId: connectionId(randomUUID()),
  providerId: providerId(randomUUID()),
  calendarId: null,
})

/** Notices over a table that takes all but channels called `poison`, and is away while told so. */
function someNotices() {
  const state = { now: 1_700_000_000_000_000, isAway: false, statements: 0 }
  const stored: string[] = []
  const logged: string[] = []
  const db: Queryable = {
    query: async (_text, values = []) => {
      const channels = values[1] as readonly string[]
      if (state.isAway) throw new Failure('store/unavailable')
      state.statements += 1
      if (channels.some((channel) => channel.startsWith('poison'))) throw new Failure('store/rejected-data')
      stored.push(...channels.map((channel, i) => `${(values[3] as string[] | undefined)?.[i]} ${channel}`))
      return { rows: [], rowCount: 0 }
    },
  }
  const logger = createLogger({
    service: 'ingress',
    level: 'info',
    destination: { write: (line) => void logged.push(line) },
  })
  const clock = { now: () => state.now }
  const notices = createChannelNotices({ db, clock, logger, noteEveryMs: 20 })
  return { notices, state, stored, logged }
}

const channel = (id: string) => ({ id, resourceId: '' })

test('a connection that rings under 5 000 ids has 250 of them noted in a day, and the next connection its own', async () => {
  const { notices, stored, state } = someNotices()
  await using _notices = notices
  const [noisy, quiet] = [aConnection(), aConnection()]
  for (let n = 0; n < 5000; n += 1) notices.seen('google', channel(`c${n}`), noisy)
  notices.seen('google', channel('mine'), quiet)
  await eventually('the quiet one is noted', () => stored.includes(`${quiet.connectionId} mine`))
  expect(stored).toHaveLength(CONNECTION_MAX + 1)
  // Tomorrow others are: nobody is left out for good.
  state.now += DAY_MICROS
  for (let n = 4000; n < 5000; n += 1) notices.seen('google', channel(`c${n}`), noisy)
  await eventually('those of the next day', () => stored.length === 2 * CONNECTION_MAX + 1)
})

test('the same channel id told by two connections is noted for both', async () => {
  const { notices, stored } = someNotices()
  await using _notices = notices
  const [thief, owner] = [aConnection(), aConnection()]
  for (const claims of [thief, owner, thief]) notices.seen('microsoft', channel('c'), claims)
  await eventually('both', () => stored.length === 2)
  expect(new Set(stored)).toEqual(new Set([`${thief.connectionId} c`, `${owner.connectionId} c`]))
})

test('a notice that Postgres refuses is named in the log, once, and those around and after it are noted', async () => {
  const { notices, stored, logged, state } = someNotices()
  await using _notices = notices
  for (const id of ['a', 'poison\u0000', 'b']) notices.seen('google', channel(id), aConnection())
  await eventually('its neighbours', () => stored.length === 2)
  const statements = state.statements
  notices.seen('google', channel('c'), aConnection())
  await eventually('what came later', () => stored.length === 3)
  expect(state.statements).toBe(statements + 1)
  expect(logged.filter((line) => line.includes('does not take a notice'))).toHaveLength(1)
})

test('a lifecycle notice that Postgres refuses is not asked for again, and one that met an outage is', async () => {
  const { notices, state } = someNotices()
  await using _notices = notices
  const told = (channelId: string) =>
    ({ vendor: 'microsoft', channelId, kind: 'removed', resourceId: null, ...aConnection() }) as const
  expect(await notices.tell([told('poison'), told('good')])).toBe(true)
  state.isAway = true
  expect(await notices.tell([told('good')])).toBe(false)
})

test('channels under whose ids something is refused are told together, each once, and only so many', async () => {
  const { notices, stored, state } = someNotices()
  await using _notices = notices
  state.isAway = true
  for (const id of ['c', '', 'c']) notices.seen('microsoft', channel(id), null)
  for (let n = 0; n < 5000; n += 1) notices.seen('google', channel(`g${n}`), null)
  state.isAway = false
  await eventually('they are told', () => stored.length > 0)
  expect(stored.filter((line) => line.endsWith(' c'))).toHaveLength(1)
  expect(stored.length).toBeLessThanOrEqual(500)
})
