// A browser's part in consent, for the demo and for tests: it keeps cookies per origin, follows redirects by itself and clicks
// a link. It shares nothing with the ingress, so that what it can do a person's browser can do.

export interface Landing {
  readonly url: URL
  readonly status: number
  readonly text: string
}

export interface Browser {
  /** Opens an address and follows redirects to a page. Throws after ten of them, and when a server does not answer. */
  open(url: string | URL): Promise<Landing>
}

const REDIRECTS_MAX = 10
const TIMEOUT_MS = 20_000

/** A fresh browser without cookies. */
export function createBrowser(signal: AbortSignal): Browser {
  const jar = new Map<string, Map<string, string>>()
  return {
    async open(start) {
      let url = new URL(start)
      for (let hop = 0; hop <= REDIRECTS_MAX; hop += 1) {
        const response = await fetch(url, {
          redirect: 'manual',
          headers: { accept: 'text/html', ...cookiesFor(jar, url) },
          signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
        })
        keepCookies(jar, url, response)
        const location = response.headers.get('location')
        const text = await response.text()
        if (location === null || response.status < 300 || response.status > 399)
          return { url, status: response.status, text }
        url = new URL(location, url)
      }
      throw new Error(`More than ${REDIRECTS_MAX} redirects, the last to ${url.origin}${url.pathname}.`)
    },
  }
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
