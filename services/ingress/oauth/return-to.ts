// Where a browser may be sent at the end of a flow. Pure. Invariant: only to origins that the operator listed, so that our
// address is never a springboard to somebody else's page.

const RETURN_TO_MAX = 2048

/** The address to go back to; null when it is not on a listed origin, or hides something. */
export function allowedReturn(text: string, origins: readonly string[]): URL | null {
  const url = text.length <= RETURN_TO_MAX ? URL.parse(text) : null
  // Schemes without an origin all have the origin "null".
  if (url === null || !/^https?:$/.test(url.protocol) || !origins.includes(url.origin)) return null
  return url.username === '' && url.password === '' ? url : null
}

/** The address with the outcome for the app in its query. */
export function withOutcome(url: URL, outcome: Readonly<Record<string, string>>): string {
  const target = new URL(url)
  for (const [name, value] of Object.entries(outcome)) target.searchParams.set(name, value)
  return target.href
}
