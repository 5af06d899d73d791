// A browser's part in consent, for the demo and for tests: it keeps cookies per origin, follows
// redirects by itself, clicks a link and presses a button. It shares nothing with the ingress, so
// that what it can do a person's browser can do.

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
  const jar = new Map<string, Map<string, string>>()
  const go = async (start: URL, fields?: URLSearchParams): Promise<Landing> => {
    let url = start
    let form = fields
    for (let hop = 0; hop <= REDIRECTS_MAX; hop += 1) {
      const response = await fetch(url, {
        redirect: 'manual',
        headers: { accept: 'text/html', ...cookiesFor(jar, url) },
        ...(form === undefined ? {} : { method: 'POST', body: form }),
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      })
      keepCookies(jar, url, response)
      const location = response.headers.get('location')
      const text = await response.text()
      if (location === null || response.status < 300 || response.status > 399)
        return { url, status: response.status, text }
      url = new URL(location, url)
      form = undefined
    }
    throw new Error(`More than ${REDIRECTS_MAX} redirects, the last to ${url.origin}${url.pathname}.`)
  }
  return {
    open: (url) => go(new URL(url)),
    async press(page, words) {
      const form = formOn(page, words)
      return form === null ? null : go(form.action, form.fields)
    },
  }
}

function formOn(page: Landing, words: string): { action: URL; fields: URLSearchParams } | null {
  for (const [, tag = '', inside = ''] of page.text.matchAll(/<form\s([^>]*)>([\s\S]*?)<\/form>/gi)) {
    const [, button = ''] = /<button[^>]*>([\s\S]*?)<\/button>/i.exec(inside) ?? []
    if (!unescaped(button).includes(words)) continue
    const fields = new URLSearchParams()
    for (const [input] of inside.matchAll(/<input\s[^>]*>/gi))
      fields.append(attribute(input, 'name'), attribute(input, 'value'))
    return { action: new URL(attribute(tag, 'action'), page.url), fields }
  }
  return null
}

function attribute(tag: string, name: string): string {
  const [, value = ''] = new RegExp(`\\b${name}="([^"]*)"`, 'i').exec(tag) ?? []
  return unescaped(value)
}

/** The target of the first link of a page whose text holds `words`; null when there is none. */
export function linkOn(page: Landing, words: string): URL | null {
  for (const [, href = '', text = ''] of page.text.matchAll(
    /<a\s[^>]*href="([^"]*)"[^>]*>([\s\S]*?)<\/a>/gi,
  )) {
    if (unescaped(text).includes(words)) return new URL(unescaped(href), page.url)
  }
  return null
}

function cookiesFor(jar: ReadonlyMap<string, ReadonlyMap<string, string>>, url: URL): Record<string, string> {
  const kept = [...(jar.get(url.origin) ?? [])].map(([name, value]) => `${name}=${value}`)
  return kept.length === 0 ? {} : { cookie: kept.join('; ') }
}

function keepCookies(jar: Map<string, Map<string, string>>, url: URL, response: Response): void {
  for (const line of response.headers.getSetCookie()) {
    const [pair = '', ...attributes] = line.split(';').map((part) => part.trim())
    const name = pair.slice(0, pair.indexOf('='))
    const own = jar.get(url.origin) ?? new Map<string, string>()
    jar.set(url.origin, own)
    if (attributes.some((attribute) => /^max-age=0$/i.test(attribute))) own.delete(name)
    else own.set(name, pair.slice(name.length + 1))
  }
}

function unescaped(html: string): string {
  return html
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&')
}
