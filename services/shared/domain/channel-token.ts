// The channel token: proof that a notification belongs to a channel that we opened, checked without a lookup.
// v1.<kid>.<connectionId>.<providerId>.<calendarId>.<mac>: ids as base64url of their 16 bytes (the nil uuid where there is
// no calendar), mac = HMAC-SHA-256 over vendor, kid and ids, cut to 16 bytes. At most 111 characters, since Graph's
// clientState holds 128 and Google's token 256. Only the one canonical spelling of a token is accepted, and a token that is
// missing, malformed, of an unknown key or forged costs the same work.
import { createHmac, timingSafeEqual } from 'node:crypto'
import {
  calendarId,
  connectionId,
  providerId,
  type CalendarId,
  type ConnectionId,
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

const NIL = '00000000-0000-0000-0000-000000000000'
const KID = /^[A-Za-z0-9_-]{1,16}$/
const TOKEN =
  /^v1\.([A-Za-z0-9_-]{1,16})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{22})\.[A-Za-z0-9_-]{22}$/
const LENGTH_MAX = 111
const MAC_BYTES = 16

/** Stands in for an unknown key so that the work is the same; a match against it is never accepted. */
const DECOY = { kid: 'decoy', key: Buffer.alloc(32), ids: Buffer.alloc(48) }

/**
 * The token that a new channel carries, signed with the current key.
 * Throws when the current key id is not 1 to 16 of A-Z a-z 0-9 _ - or its key is missing (a fault of configuration), or
 * when an id is not a uuid.
 */
export function signChannelToken(
  ring: ChannelKeys,
  channel: ChannelClaims & { readonly vendor: VendorName },
): string {
  const key = ring.key(ring.current)
  if (key === undefined)
    throw new Error(`The channel key ${ring.current} is named as current but is missing.`)
  if (!KID.test(ring.current)) throw new Error('A channel key id has 1 to 16 of A-Z a-z 0-9 _ and -.')
  const ids = Buffer.concat(
    [channel.connectionId, channel.providerId, channel.calendarId ?? NIL].map(bytesOfUuid),
  )
  if (ids.length !== DECOY.ids.length) throw new Error('A channel token is made of three uuids.')
  return tokenOf(key, ring.current, channel.vendor, ids)
}

/**
 * What a token says, or null when it is not one of ours for this vendor. The text may be anything that a header can hold;
 * '' stands for a missing one.
 */
export function readChannelToken(ring: ChannelKeys, vendor: VendorName, token: string): ChannelClaims | null {
  const shape = token.length <= LENGTH_MAX ? TOKEN.exec(token) : null
  const kid = shape?.[1] ?? DECOY.kid
  const key = ring.key(kid)
  const ids = shape === null ? DECOY.ids : Buffer.concat(shape.slice(2, 5).map(bytesOfText))
  // The whole token is written anew from what it says and compared as text: a second spelling of the same bytes (the last
  // character of 22 carries four spare bits) differs from it.
  const expected = tokenOf(key ?? DECOY.key, kid, vendor, ids)
  const equal = timingSafeEqual(padded(token), padded(expected))
  if (!equal || shape === null || key === undefined) return null
  const calendar = uuidOf(ids.subarray(32, 48))
  return {
    connectionId: connectionId(uuidOf(ids.subarray(0, 16))),
    providerId: providerId(uuidOf(ids.subarray(16, 32))),
    calendarId: calendar === NIL ? null : calendarId(calendar),
  }
}

function tokenOf(key: Buffer, kid: string, vendor: VendorName, ids: Buffer): string {
  const mac = createHmac('sha256', key)
    .update(`calstream channel token v1\0${vendor}\0${kid}\0`)
    .update(ids)
    .digest()
    .subarray(0, MAC_BYTES)
  const fields = [ids.subarray(0, 16), ids.subarray(16, 32), ids.subarray(32, 48), mac]
  return ['v1', kid, ...fields.map((field) => field.toString('base64url'))].join('.')
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
