// Senders of notifications, honest and hostile, and of bytes that are no HTTP.
import { setTimeout as delay } from 'node:timers/promises'
import type { ChannelKeys } from '#shared/domain/channel-token.ts'
import { calendarId, connectionId, providerId } from '#shared/domain/ids.ts'
import { freshToken } from '../../support/channel-token.ts'
import { rawExchange } from '../../support/raw-http.ts'
import { type Finding, met } from '../criterion.ts'
import type { DrillRun } from '../drill.ts'
import type { ConnectedAccount } from '../environment/accounts.ts'
import type { CalendarName, OwnRequest } from '../ledgers/ledgers.ts'

export const GOOGLE_WEBHOOK = '/api/webhooks/calendar/google'

/** A token as the scheduler gives it to a channel of this account. */
export function channelTokenOf({ system }: DrillRun, account: ConnectedAccount): string {
  const [kid = '', encoded = ''] = (system.env['CHANNEL_TOKEN_KEYS'] ?? '').split(':')
  const key = Buffer.from(encoded, 'base64')
  const keys: ChannelKeys = { current: kid, key: (name) => (name === kid ? key : undefined) }
  return freshToken(keys, {
    vendor: account.vendor,
    connectionId: connectionId(account.connectionId),
    providerId: providerId(account.providerId),
    calendarId: calendarId('00000000-0000-0000-0000-000000000000'),
  })
}

/** One notification by hand. */
export function notify(
  drill: DrillRun,
  what: string,
  message: { readonly channel: string; readonly number: number | string; readonly token: string | null },
): Promise<OwnRequest> {
  return drill.request({
    what,
    method: 'POST',
    path: GOOGLE_WEBHOOK,
    delivery: `${message.channel}:${message.number}`,
    ...namedBy(message.token),
    headers: {
      'x-goog-channel-id': message.channel,
      'x-goog-message-number': String(message.number),
      'x-goog-resource-id': 'drill',
      'x-goog-resource-state': 'exists',
      ...(message.token === null ? {} : { 'x-goog-channel-token': message.token }),
    },
  })
}

/** It was answered 503, and when to come again. */
export function toldToComeAgain({ what, status, retryAfter }: OwnRequest): Finding {
  return met(
    status === 503 && retryAfter !== null,
    `${what}: ${status}, Retry-After ${retryAfter ?? 'missing'}`,
  )
}

/**
 * What a token names, by rules written here again: ids are base64url of 16 bytes, zeros for none.
 */
function namedBy(token: string | null): { readonly calendar?: CalendarName } {
  const [, , connection = '', , calendar = ''] = (token ?? '').split('.')
  const bytes = [connection, calendar].map((field) => Buffer.from(field, 'base64url'))
  if (bytes.some(({ length }) => length !== 16)) return {}
  const [connectionId = '', calendarId = ''] = bytes.map((one) =>
    one.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
  )
  return { calendar: { connectionId, calendarId: /[^0-]/.test(calendarId) ? calendarId : null } }
}

/** As many at a time as a vendor's senders would be. */
export async function inParallel<T>(
  width: number,
  count: number,
  one: (index: number) => Promise<T>,
): Promise<readonly T[]> {
  const results: T[] = []
  let next = 0
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let index = next++; index < count; index = next++) results[index] = await one(index)
    }),
  )
  return results
}

/**
 * Sends at a rate that no answer slows down, as vendors do. With more than `width` open at once it
 * falls behind. A send that had to wait counts its waiting.
 * @returns each with the time from when it was due to its end, ms.
 */
export async function atRate<T>(
  { perSecond, width }: { readonly perSecond: number; readonly width: number },
  count: number,
  one: (index: number) => Promise<T>,
): Promise<readonly { readonly answer: T; readonly sinceDueMs: number }[]> {
  const began = performance.now()
  return inParallel(width, count, async (index) => {
    const due = began + (index * 1000) / perSecond
    const early = due - performance.now()
    if (early > 0) await delay(early)
    const answer = await one(index)
    return { answer, sinceDueMs: performance.now() - due }
  })
}

/** Bytes as they are, and the status that came back; 0 when the server just closed. */
export async function rawStatus({ system }: DrillRun, bytes: string | Uint8Array): Promise<number> {
  const port = Number(system.env['INGRESS_PORT'])
  return rawExchange(port, bytes).then(
    ({ status }) => status,
    () => -1,
  )
}

/** The value below which this share lies. */
export function share(samples: readonly number[], part: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0
}
