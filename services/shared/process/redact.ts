// Takes secrets out of text by their value and by their shape, whatever field or
// message they travelled in. Invariant: what was registered never leaves, in no
// spelling that a log line can give it.

const MASK = '[secret]'
/** Shorter values would hide ordinary words. */
const VALUE_LENGTH_MIN = 8
/**
 * Registered at start (settings) and when one of them rotates;
 * a bound keeps one line's cost constant whatever a caller does.
 */
const VALUES_MAX = 256

/**
 * Tokens that are recognised without having been registered: they come from vendors and callers at
 * run time. Every pattern is linear: what one attempt reads, no later attempt reads again. So a
 * repetition is either the end of its pattern, or what follows it cannot be in it.
 * (`user:password@` behind `://` once took 27 s for 64 kB of `a:a:a:`.)
 */
const SHAPES: readonly RegExp[] = [
  // Google: access token, refresh token, authorisation code.
  // developers.google.com/identity/protocols/oauth2#size
  /\bya29\.[\w.-]+/g,
  /\b[14]\/\/?0[\w-]{8,}/g,
  /\bGOCSPX-[\w-]+/g,
  // JSON web tokens, whatever their parts: base64 of `{"`.
  /\beyJ[\w.-]{8,}/g,
  /\b(?:Bearer|Basic)\s+[\w.~+/=-]{8,}/gi,
  // Our own: channel tokens (v1 and v2) and sealed credentials (v1).
  /\bv[12]\.[\w-]{1,16}\.[\w-]{16,}\.[\w.-]+/g,
  // name=value of forms and queries, "name":"value" of JSON, also JSON inside a JSON string.
  /(?<=\b(?:access_token|refresh_token|id_token|client_secret|code_verifier|assertion|password|clientState)(?:=|\\*"\s*:\s*\\*"))[^"\\&\s]+/gi,
]

/**
 * What stands before the last @ of a url's authority:
 * hidden when a password is in it, which may itself hold an @.
 */
const USERINFO = /(?<=:\/\/)[^\s/"\\]*(?=@)/g

const values = new Set<string>()
let registered: RegExp | null = null

/**
 * From now on hides this value wherever it appears, plain or escaped as in JSON and urls. Values
 * under 8 characters are ignored.
 */
export function registerSecret(value: string): void {
  if (value.length < VALUE_LENGTH_MIN || values.has(value)) return
  for (const spelling of spellingsOf(value)) values.add(spelling)
  for (const oldest of values) {
    if (values.size <= VALUES_MAX) break
    values.delete(oldest)
  }
  registered = patternOf(values)
}

/** Makes place: a secret that was replaced long ago must not push out one that is in use. */
export function forgetSecret(value: string): void {
  if (!values.has(value)) return
  for (const spelling of spellingsOf(value)) values.delete(spelling)
  registered = values.size === 0 ? null : patternOf(values)
}

function spellingsOf(value: string): readonly string[] {
  return [value, JSON.stringify(value).slice(1, -1), encodeURIComponent(value.toWellFormed())]
}

function patternOf(spellings: ReadonlySet<string>): RegExp {
  // Longest first, so that a secret that holds another one is hidden whole.
  const longestFirst = [...spellings].toSorted((a, b) => b.length - a.length)
  return new RegExp(longestFirst.map((spelling) => escaped(spelling)).join('|'), 'g')
}

/** The text with every secret replaced by [secret]. A line of JSON stays JSON. */
export function redact(text: string): string {
  const known = registered === null ? text : text.replace(registered, MASK)
  const shaped = SHAPES.reduce((line, shape) => line.replace(shape, MASK), known)
  return shaped.replace(USERINFO, (userinfo) => (userinfo.includes(':') ? MASK : userinfo))
}

function escaped(literal: string): string {
  return literal.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')
}
