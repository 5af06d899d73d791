// The login of the flag server's console. Who signs in there turns every gate, and Unleash
// makes a login that everybody knows unless it is given another one at its first start.
import { randomBytes } from 'node:crypto'

/** The user that Unleash makes at its first start. */
export const CONSOLE_USER = 'admin'

/**
 * Its password unless both UNLEASH_DEFAULT_ADMIN_USERNAME and _PASSWORD were set
 * then (docs.getunleash.io).
 */
const DEFAULT_PASSWORD = 'unleash4all'

const TIMEOUT_MS = 10_000
/** An answer to a login has some hundred. */
const ANSWER_BYTES_MAX = 64_000

/**
 * A password for `admin` that the console takes: all four kinds of characters, none three times in
 * a row. Others never become a login.
 */
export function newConsolePassword(): string {
  for (;;) {
    const password = `Aa1-${randomBytes(24).toString('base64url')}`
    if (!/(.)\1\1/.test(password)) return password
  }
}

/**
 * Signs in as the user `admin`. `consoleUrl` is the server's address without `/api`.
 * Returns the cookie of the session, null when the server refuses the login or has none by
 * password. Throws when the server is away, in trouble (5xx), or was asked too often (429:
 * it answers ten logins a minute).
 */
export async function signIn(
  consoleUrl: string,
  password: string,
  signal: AbortSignal,
): Promise<string | null> {
  const body = { username: CONSOLE_USER, password }
  const answer = await post(`${consoleUrl}/auth/simple/login`, body, {}, signal)
  const cookie = answer.headers.getSetCookie().map((line) => line.split(';')[0])
  if (answer.status === 429 || answer.status >= 500)
    throw new Error(`the flag server answered ${answer.status} to a login`)
  return answer.ok ? cookie.join('; ') : null
}

/** Whether the password that everybody knows opens the console. Throws as `signIn` does. */
export async function isDefaultLoginOpen(consoleUrl: string, signal: AbortSignal): Promise<boolean> {
  return (await signIn(consoleUrl, DEFAULT_PASSWORD, signal)) !== null
}

/**
 * Gives the console `password` where the default one still opens it. The server takes strong ones
 * only: ten characters, upper and lower case, a digit, a sign, none three times in a row. Returns
 * whether it was changed. Throws when the server refuses, and as `signIn` does.
 */
export async function closeDefaultLogin(
  consoleUrl: string,
  password: string,
  signal: AbortSignal,
): Promise<boolean> {
  const cookie = await signIn(consoleUrl, DEFAULT_PASSWORD, signal)
  if (cookie === null) return false
  const body = { password, confirmPassword: password, oldPassword: DEFAULT_PASSWORD }
  const answer = await post(`${consoleUrl}/api/admin/user/change-password`, body, { cookie }, signal)
  if (!answer.ok)
    throw new Error(`the flag server answered ${answer.status} to a change of the console's password`)
  return true
}

async function post(
  url: string,
  body: unknown,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<Response> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
    redirect: 'manual',
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  })
  await readToItsEnd(answer)
  return answer
}

/**
 * What is said in words is of no use, but the server keeps its last byte back until the session is
 * stored: a request before that has no session yet (express-session, seen 2026-11-30).
 */
async function readToItsEnd(answer: Response): Promise<void> {
  let bytes = 0
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.length
    if (bytes > ANSWER_BYTES_MAX) return
  }
}
