// Whether a request that changes something comes from a page of ours. Pure. Invariant: what a
// browser sends for a page of another site is refused, also where the cookie came along.
// web.dev/articles/fetch-metadata; W3C Fetch Metadata §2.3; RFC 6454 §7

/** The headers that are looked at. */
interface Telling {
  readonly 'sec-fetch-site'?: unknown
  readonly origin?: unknown
  readonly host?: unknown
}

/**
 * Browsers name the site on addresses that they trust: https, and this machine. Elsewhere the
 * origin decides. A request that names neither is no browser's of our time, and is refused.
 * @param ownOrigin where browsers reach the console; null: what the Host names.
 */
export function comesFromUs(headers: Telling, ownOrigin: string | null): boolean {
  const { origin, host } = headers
  const site = headers['sec-fetch-site']
  if (site !== undefined) return site === 'same-origin'
  if (typeof origin !== 'string') return false
  if (ownOrigin !== null) return origin === ownOrigin
  return URL.parse(origin)?.host === host
}
