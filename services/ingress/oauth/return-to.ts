// Where a browser may be sent at the end of a flow. Pure. Invariant: only to origins that the
// operator listed, so that our address is never a springboard to a stranger's page.

const RETURN_TO_MAX = 2048

/**
 * The whole text: scheme, a host of plain letters, and then no more than a path, query and
 * fragment. URL parsers differ over everything else: they drop tabs and line ends, take a backslash
 * for a slash, other scripts' letters for ours, and a number for an address.
 */
const PLAIN = /^https?:\/\/(?:[\w.-]+|\[[\da-f:]+\])(?::\d+)?(?:[/?#][^\\\p{Cc}\p{Z}]*)?$/iu

/** The address to go back to; null when it is not on a listed origin, or hides something. */
export function allowedReturn(text: string, origins: readonly string[]): URL | null {
  if (text.length > RETURN_TO_MAX || !text.isWellFormed() || !PLAIN.test(text)) return null
  const url = URL.parse(text)
  if (url === null || url.href.length > RETURN_TO_MAX) return null
  const isAsWritten = text.toLowerCase().startsWith(`${url.protocol}//${url.hostname}`)
  return isAsWritten && isListed(url, origins) ? url : null
}

/**
 * `*` as the port stands for every port of this machine (RFC 8252 §7.3);
 * config.ts takes it nowhere else.
 */
function isListed({ origin, protocol, hostname }: URL, origins: readonly string[]): boolean {
  return origins.includes(origin) || origins.includes(`${protocol}//${hostname}:*`)
}

/** The address with the outcome for the app in its query. */
export function withOutcome(url: URL, outcome: Readonly<Record<string, string>>): string {
  const target = new URL(url)
  for (const [name, value] of Object.entries(outcome)) target.searchParams.set(name, value)
  return target.href
}
