// Where a vendor calls back. Real ones take https alone; the play vendors take this machine too,
// where they are told to.

const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]']

/** Whether a channel or subscription may have this address. */
export function addressAllowed(address: string, allowHttp: boolean): boolean {
  const url = URL.parse(address)
  if (url === null) return false
  return (
    url.protocol === 'https:' || (allowHttp && url.protocol === 'http:' && LOOPBACK.includes(url.hostname))
  )
}

/**
 * The address to call: as it is, but on `loopbackHost` where it means this machine. In a container
 * "this machine" is another one than the browser's, from which the address comes.
 */
export function callbackUrl(address: string, loopbackHost: string | undefined): URL {
  const url = new URL(address)
  if (loopbackHost !== undefined && LOOPBACK.includes(url.hostname)) url.hostname = loopbackHost
  return url
}
