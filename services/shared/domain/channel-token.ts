// The channel token: proof that a notification belongs to a channel that we opened, checked without
// a lookup. v2.<kid>.<connectionId>.<providerId>.<calendarId>.<end>.<mac>
//   ids: base64url of their 16 bytes (the nil uuid where there is no calendar)
//   end: the hour since 1970 from which it is believed no more, base64url of three bytes (ADR 14)
//   mac: HMAC-SHA-256 over vendor, kid, ids and end, cut to 16 bytes
// At most 116 characters: Graph's clientState holds 128, Google's token 256. Only the one canonical
// spelling of a token is accepted, and one that is missing, malformed, of an unknown key or forged
// costs the same work. Tokens of the first form, v1, have no end; they end with V1_ENDS_AT.
import { createHmac, timingSafeEqual } from 'node:crypto'
import {
  calendarId,
  connectionId,
  providerId,
  type CalendarId,
  type ConnectionId,
  type Micros,
  type ProviderId,
  type VendorName,
} from './ids.ts'

/** The keys by their id; new tokens are signed with `current`, all are accepted. */
export interface ChannelKeys {
  readonly current: string
  key(kid: string): Buffer | undefined
}

export interface ChannelClaims {
  readonly connectionId: ConnectionId
  readonly providerId: ProviderId
  /** null when the channel watches no single calendar of ours. */
  readonly calendarId: CalendarId | null
}

/**
 * Tokens without an end are believed until 1 February 2027, 00:00 UTC. None is signed any more, and
 * channels that carry one are replaced before then (`unwatchedCalendars`).
 */
export const V1_ENDS_AT: Micros = Date.UTC(2027, 1, 1) * 1000

const NIL = '00000000-0000-0000-0000-000000000000'
const KID = /^[A-Za-z0-9_-]{1,16}$/
const TOKEN =
  /^(v1|v2)\.([A-Za-z0-9_-]{1,16})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{22})(?:\.([A-Za-z0-9_-]{4}))?\.[A-Za-z0-9_-]{22}$/
const LENGTH_MAX = 116
const MAC_BYTES = 16
const END_BYTES = 3
const HOUR_MICROS = 3_600_000_000
const NO_END = Buffer.alloc(0)

type Version = 'v1' | 'v2'

/**
 * Stands in for an unknown key so that the work is the same; a match against it is never accepted.
 */
const DECOY = { kid: 'decoy', key: Buffer.alloc(32), ids: Buffer.alloc(48), end: Buffer.alloc(END_BYTES) }

/**
 * The token that a new channel carries, signed with the current key; `endsAt` is rounded up to the
 * hour. Throws when the current key id is not 1 to 16 of A-Z a-z 0-9 _ - or its key is missing (a
 * fault of configuration), when an id is not a uuid, or when the end is after the year 3883.
 */
export function signChannelToken(
  keys: ChannelKeys,
  channel: ChannelClaims & { readonly vendor: VendorName; readonly endsAt: Micros },
): string {
  const key = keys.key(keys.current)
  if (key === undefined)
    throw new Error(`The channel key ${keys.current} is named as current but is missing.`)
  if (!KID.test(keys.current)) throw new Error('A channel key id has 1 to 16 of A-Z a-z 0-9 _ and -.')
  const ids = Buffer.concat(
    [channel.connectionId, channel.providerId, channel.calendarId ?? NIL].map(bytesOfUuid),
  )
  if (ids.length !== DECOY.ids.length) throw new Error('A channel token is made of three uuids.')
  const end = Buffer.alloc(END_BYTES)
  end.writeUIntBE(Math.ceil(channel.endsAt / HOUR_MICROS), 0, END_BYTES)
  return tokenOf(key, { version: 'v2', kid: keys.current, vendor: channel.vendor, ids, end })
}

/**
 * What a token says, or null when it is not one of ours for this vendor or has ended by `now`. The
 * text may be anything; '' stands for a missing one.
 */
export function readChannelToken(
  keys: ChannelKeys,
  vendor: VendorName,
  token: string,
  now: Micros,
): ChannelClaims | null {
  const shape = token.length <= LENGTH_MAX ? TOKEN.exec(token) : null
  const version = shape?.[1] === 'v1' ? 'v1' : 'v2'
  const kid = shape?.[2] ?? DECOY.kid
  const key = keys.key(kid)
  const ids = shape === null ? DECOY.ids : Buffer.concat(shape.slice(3, 6).map(bytesOfText))
  const end = version === 'v1' ? NO_END : shape === null ? DECOY.end : bytesOfText(shape[6] ?? '')
  // The whole token is written anew from what it says and compared as text: a second spelling of
  // the same bytes (the last character of 22 carries four spare bits) differs from it, and so does
  // a v1 with an end or a v2 without.
  const expected = tokenOf(key ?? DECOY.key, { version, kid, vendor, ids, end })
  const equal = timingSafeEqual(padded(token), padded(expected))
  if (!equal || shape === null || key === undefined) return null
  if (now >= endOf(end)) return null
  const calendar = uuidOf(ids.subarray(32, 48))
  return {
    connectionId: connectionId(uuidOf(ids.subarray(0, 16))),
    providerId: providerId(uuidOf(ids.subarray(16, 32))),
    calendarId: calendar === NIL ? null : calendarId(calendar),
  }
}

function endOf(end: Buffer): Micros {
  return end.length === 0 ? V1_ENDS_AT : end.readUIntBE(0, END_BYTES) * HOUR_MICROS
}

interface Parts {
  readonly version: Version
  readonly kid: string
  readonly vendor: VendorName
  readonly ids: Buffer
  readonly end: Buffer
}

function tokenOf(key: Buffer, { version, kid, vendor, ids, end }: Parts): string {
  const mac = createHmac('sha256', key)
    .update(`calstream channel token ${version}\0${vendor}\0${kid}\0`)
    .update(ids)
    .update(end)
    .digest()
    .subarray(0, MAC_BYTES)
  const named = [ids.subarray(0, 16), ids.subarray(16, 32), ids.subarray(32, 48)]
  const fields = end.length === 0 ? [...named, mac] : [...named, end, mac]
  return [version, kid, ...fields.map((field) => field.toString('base64url'))].join('.')
}

function padded(token: string): Buffer {
  const bytes = Buffer.alloc(LENGTH_MAX + 1)
  // One longer than any token of ours, so that a cut-off long one never equals a short one.
  bytes.write(token.slice(0, LENGTH_MAX + 1), 'latin1')
  return bytes
}

function bytesOfText(field: string): Buffer {
  return Buffer.from(field, 'base64url')
}

function bytesOfUuid(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex')
}

function uuidOf(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
