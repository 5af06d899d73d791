// The name of a request, by which a caller and an operator find it in each other's
// logs. Pure but for chance.
import { randomUUID } from 'node:crypto'

/** Also the header of the answer. */
export const REQUEST_ID = 'x-request-id'

/**
 * What proxies and tracers send (uuids, `<trace>-<span>`, ULIDs, base64url); nothing in it needs
 * escaping in a log or a header.
 */
const SANE = /^[A-Za-z0-9._:=-]{8,128}$/

/**
 * The id that the caller (or a proxy before us) gave it, where that is a plain word of 8 to 128
 * characters; else a new one.
 */
export function requestIdOf(headers: Readonly<Record<string, string | string[] | undefined>>): string {
  const given = headers[REQUEST_ID]
  return typeof given === 'string' && SANE.test(given) ? given : randomUUID()
}
