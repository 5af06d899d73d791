// A browser's part in consent, for the demo and for tests: it keeps cookies, follows redirects by
// itself, clicks a link and presses a button. It shares nothing with the ingress, so that what it
// can do a person's browser can do.
import fetchCookie from 'fetch-cookie'
import { parse } from 'node-html-parser'

export interface Landing {
  readonly url: URL
  readonly status: number
  readonly text: string
}

export interface Browser {
  /**
   * Opens an address and follows redirects to a page.
   * Throws after ten of them, and when a server does not answer.
   */
  open(url: string | URL): Promise<Landing>
  /**
   * Sends the first form of a page whose button holds `words`, and follows redirects;
   * null when there is none.
   */
  press(page: Landing, words: string): Promise<Landing | null>
}

const REDIRECTS_MAX = 10
const TIMEOUT_MS = 20_000

/** A fresh browser without cookies. */
export function createBrowser(signal: AbortSignal): Browser {
  const follow = fetchCookie((url: string | URL, init?: RequestInit) =>
    fetch(url, { ...init, signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]) }),
  )
  const go = async (url: URL, form: RequestInit = {}): Promise<Landing> => {
    const init = { ...form, headers: { accept: 'text/html' }, maxRedirect: REDIRECTS_MAX }
    const response = await follow(url, init)
    return { url: new URL(response.url), status: response.status, text: await response.text() }
  }
  return {
    open: (url) => go(new URL(url)),
    async press(page, words) {
      const forms = parse(page.text).querySelectorAll('form')
      const form = forms.find((one) => one.querySelector('button')?.text.includes(words))
      if (form === undefined) return null
      const body = new URLSearchParams()
      for (const input of form.querySelectorAll('input'))
        body.append(input.getAttribute('name') ?? '', input.getAttribute('value') ?? '')
      return go(new URL(form.getAttribute('action') ?? '', page.url), { method: 'POST', body })
    },
  }
}

/** The target of the first link of a page whose text holds `words`; null when there is none. */
export function linkOn(page: Landing, words: string): URL | null {
  const link = parse(page.text)
    .querySelectorAll('a[href]')
    .find(({ text }) => text.includes(words))
  return link ? new URL(link.getAttribute('href') ?? '', page.url) : null
}

/** What a person reads on a page, in one line. */
export function wordsOn({ text }: Landing): string {
  const page = parse(text)
  return (page.querySelector('body') ?? page).structuredText.replaceAll(/\s+/g, ' ')
}
