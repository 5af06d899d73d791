// What Google does with a receiver's answer: the rule that decides whether a lost notification is
// anybody's fault but ours.
import { describe, expect, it } from 'vitest'
import { afterAttempt, messageHeaders, retryDelay } from '../../../infra/simulator/google/delivery.ts'
import { createRandom } from '../../../infra/simulator/random.ts'

const answered = (status: number) => ({ kind: 'answered', status, latencyMs: 1 }) as const
const refused = { kind: 'unreachable', error: 'ECONNREFUSED', latencyMs: 1 } as const

describe('after an attempt', () => {
  it.each([200, 201, 202, 204, 102])('%i counts as delivered', (status) => {
    expect(afterAttempt(answered(status), false)).toBe('delivered')
  })

  it.each([500, 502, 503, 504])('%i is tried again', (status) => {
    expect(afterAttempt(answered(status), false)).toBe('retry')
  })

  it.each([203, 301, 302, 400, 401, 403, 404, 410, 429, 501, 505])('%i is given up', (status) => {
    expect(afterAttempt(answered(status), false)).toBe('give-up')
  })

  it('gives up on a refused connection unless the knob says otherwise', () => {
    expect(afterAttempt(refused, false)).toBe('give-up')
    expect(afterAttempt(refused, true)).toBe('retry')
  })
})

describe('the wait before a retry', () => {
  it('doubles, is half random, and is capped at a minute', () => {
    const random = createRandom('delays')
    for (const [attempt, full] of [
      [1, 500],
      [2, 1000],
      [5, 8000],
      [20, 60_000],
    ] as const) {
      const delay = retryDelay(attempt, 500, random)
      expect(delay).toBeGreaterThanOrEqual(full / 2)
      expect(delay).toBeLessThanOrEqual(full)
    }
  })
})

describe('the headers of a message', () => {
  const channel = {
    id: 'ch-1',
    accountId: 'c1',
    calendarId: 'cal',
    resourceId: 'res',
    resourceUri: 'http://127.0.0.1/calendar/v3/calendars/cal/events?alt=json',
    address: 'http://127.0.0.1/hook',
    token: 'secret',
    expiresAt: Date.UTC(2026, 10, 28, 1, 13, 52),
  }

  it('are those that Google documents, with the expiry as an HTTP date', () => {
    expect(messageHeaders(channel, 10, 'exists')).toMatchObject({
      'Content-Type': 'application/json; utf-8',
      'Content-Length': '0',
      'X-Goog-Channel-ID': 'ch-1',
      'X-Goog-Message-Number': '10',
      'X-Goog-Resource-ID': 'res',
      'X-Goog-Resource-State': 'exists',
      'X-Goog-Channel-Expiration': 'Sat, 28 Nov 2026 01:13:52 GMT',
      'X-Goog-Channel-Token': 'secret',
    })
  })

  it('have no token when the channel has none', () => {
    expect(messageHeaders({ ...channel, token: null }, 1, 'sync')).not.toHaveProperty('X-Goog-Channel-Token')
  })
})
