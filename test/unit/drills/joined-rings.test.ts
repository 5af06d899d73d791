// I15 on notifications that were acknowledged for a ring that they joined.
import { expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import type { Ledgers } from '../../drills/ledgers/ledgers.ts'
import { CALENDAR, CONNECTION, EVENT, record, row, T0 } from './hand-made.ts'
import { attempt, graphAttempt, verdict } from './spoilt.ts'

/** A ring without a key that was made so many ms after T0, for the calendar of channel `ch`. */
const joined = (at: number, changes: Record<string, unknown> = {}) =>
  record(1, 1, {
    topic: TOPICS.requestedGoogle,
    message: {
      deliveryKey: null,
      reason: 'webhook',
      connectionId: CONNECTION,
      calendarId: CALENDAR,
      requestedAt: (T0 + at) * 1000,
      ...changes,
    } as never,
  })
const CHANNEL = row(1, 'channels', { op: 'INSERT', new: { id: 'CH', calendar_id: CALENDAR } })
/** Of Google, and under way from T0 for 400 ms; Graph's are noted when they are answered. */
const GOOGLE = { webhooks: [{ ...attempt(202), latencyMs: 400 }], audit: [CHANNEL] }
const GRAPH = { webhooks: [{ ...graphAttempt(202), at: T0 + 400, latencyMs: 400 }], audit: [CHANNEL] }
const OWN = {
  requests: [
    {
      at: T0,
      what: 'x',
      method: 'POST',
      path: '/',
      status: 202,
      latencyMs: 400,
      body: '',
      retryAfter: null,
      delivery: 'ch:7',
      calendar: { connectionId: CONNECTION, calendarId: null },
    },
  ],
}

const judged = (sent: Partial<Ledgers>, ring: ReturnType<typeof joined>) =>
  verdict('I15', { ...sent, topics: new Map([[TOPICS.requestedGoogle, [ring]]]) })

test.each([
  ['of Google', GOOGLE, joined(300)],
  ['of Graph', GRAPH, joined(300)],
  ['of the harness', OWN, joined(300, { calendarId: null })],
])(
  'a ring of its calendar that was made while it was under way stands for a notification %s',
  (_of, sent, ring) => {
    expect(judged(sent, ring)).toBe('pass')
  },
)

test.each([
  ['made before it arrived', GOOGLE, joined(-300)],
  ['made before one of Graph arrived', GRAPH, joined(-300)],
  ['made after the answer', GOOGLE, joined(700)],
  ['made after the answer to Graph', GRAPH, joined(700)],
  ['of another calendar', GOOGLE, joined(300, { calendarId: EVENT })],
  ['of another connection', GOOGLE, joined(300, { connectionId: EVENT })],
  ['of another reason', GOOGLE, joined(300, { reason: 'recheck' })],
  ['with the key of another', GOOGLE, joined(300, { deliveryKey: 'g:ch:8' })],
  ['of one calendar, for a token of all', OWN, joined(300)],
])('a ring %s does not', (_what, sent, ring) => {
  expect(judged(sent, ring)).toBe('fail')
})
