// How a demo account is connected: the booking product asks for a link, the person's browser
// follows it and presses its button, the person consents at the vendor, and the vendor sends the
// browser back. The same requests as in production, against the play vendors.
import { setTimeout as delay } from 'node:timers/promises'
import { createBrowser, linkOn, wordsOn } from './browser.ts'
import { UserError } from '#shared/process/user-error.ts'

export interface Person {
  readonly vendor: 'google' | 'microsoft'
  readonly email: string
}

/** Unleash's own cache and our poll take a second each. */
const GATE_OPENS_WITHIN_MS = 20_000
const ASK_AGAIN_MS = 300
const APP_NAME = 'Demo Bookings'
const TIMEOUT_MS = 20_000

/** Connects one person's account. Throws a UserError that says at which step it ended. */
export async function connectByConsent(
  api: { readonly url: string; readonly bearer: string },
  person: Person,
  signal: AbortSignal,
): Promise<void> {
  const browser = createBrowser(signal)
  const asked = await browser.open(await connectLink(api, person, signal))
  const opened = (await browser.press(asked, 'Continue to')) ?? asked
  const consent = linkOn(opened, person.email)
  const landed = consent === null ? opened : await browser.open(consent)
  if (landed.url.origin !== new URL(api.url).origin || landed.status !== 200) {
    throw new UserError(
      `${person.email} could not be connected: ${landed.url.origin}${landed.url.pathname} answered ${landed.status}: ${wordsOn(landed).slice(0, 500)}`,
    )
  }
}

/**
 * The link that the booking product would show.
 * Waits while the gate for this provider is not seen open yet.
 */
async function connectLink(
  api: { readonly url: string; readonly bearer: string },
  person: Person,
  signal: AbortSignal,
): Promise<string> {
  const deadline = Date.now() + GATE_OPENS_WITHIN_MS
  for (;;) {
    const response = await fetch(`${api.url}/api/calendar/connect-links`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${api.bearer}` },
      body: JSON.stringify({ vendor: person.vendor, app_name: APP_NAME }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    })
    const text = await response.text()
    if (response.ok) return (JSON.parse(text) as { url: string }).url
    if (![403, 503].includes(response.status) || Date.now() > deadline)
      throw new UserError(`No link to connect ${person.email}: ${response.status} ${text.slice(0, 500)}`)
    await delay(ASK_AGAIN_MS, undefined, { signal })
  }
}
