// Which addresses a setting may name. Invariant: what carries a token, a secret or a key by which
// tokens are checked goes out over TLS, or stays on this machine, or goes to a host that the
// operator named as one on a private network.
import { isIPv4 } from 'node:net'

/**
 * The setting that names hosts which may be spoken to in clear,
 * such as the other containers of one network.
 */
export const ALLOW_HTTP_TO = 'ALLOW_HTTP_TO'

/**
 * Why this text is no http or https address that may be used, in words that follow "cannot be used:
 * "; null when it may. Never repeats the text.
 */
export function addressProblem(text: string, hostsInClear: ReadonlySet<string>): string | null {
  const url = URL.parse(text)
  if (url === null || url.hostname === '' || !/^https?:$/.test(url.protocol))
    return 'it is no http or https address'
  if (url.username !== '' || url.password !== '') return 'it holds a user or a password'
  if (url.protocol === 'https:' || isLoopback(url.hostname) || hostsInClear.has(url.hostname)) return null
  return `it begins with http:// and leads to another machine; use https://, or name its host in ${ALLOW_HTTP_TO} if it is on a private network`
}

/**
 * The hosts of ALLOW_HTTP_TO, as URLs spell them;
 * null when the text is no list of host names without port.
 */
export function readHosts(text: string): ReadonlySet<string> | null {
  const names = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
  const hosts = names.map((name) => URL.parse(`http://${name}/`))
  const isHost = (name: string) => /^(?:[\w.-]{1,253}|\[[\da-f:.]{2,45}\])$/i.test(name)
  if (hosts.includes(null) || !names.every(isHost)) return null
  return new Set(hosts.flatMap((url) => url?.hostname ?? []))
}

/** Whether this host is another machine that no operator named: no secret goes there in clear. */
export function hostProblem(host: string, hostsInClear: ReadonlySet<string>): boolean {
  const name = URL.parse(`http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}/`)
  return name === null || !(isLoopback(name.hostname) || hostsInClear.has(name.hostname))
}

/** The text without the slashes at its end. */
export function withoutEndSlashes(text: string): string {
  let end = text.length
  while (text[end - 1] === '/') end -= 1
  return text.slice(0, end)
}

/**
 * RFC 5735 §3 and RFC 6761 §6.3. A URL spells every form of an address
 * (127.1, 0x7f000001) in one way.
 */
function isLoopback(hostname: string): boolean {
  if (hostname === 'localhost' || hostname === '[::1]') return true
  return isIPv4(hostname) && hostname.startsWith('127.')
}
