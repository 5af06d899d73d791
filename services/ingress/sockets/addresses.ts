// Who counts as one client, and which proxies are believed. Pure.
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net'

/** Longest text of an address that is none, as a proxy may forward it. */
const STRANGE_MAX = 64
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i

/**
 * What the sockets of one client have in common: an IPv4 address, or the first 64 bits of an IPv6
 * address, since a host may take any of the rest for itself (RFC 4291 §2.5.1, RFC 8981).
 */
export function clientOf(address: string): string {
  const [plain = ''] = address.split('%')
  const v4 = MAPPED.exec(plain)?.[1] ?? plain
  if (isIPv4(v4)) return v4
  return isIPv6(plain) ? `${groupsOf(plain).slice(0, 4).join(':')}::/64` : plain.slice(0, STRANGE_MAX)
}

/** The eight groups of an IPv6 address, in one spelling each. */
function groupsOf(address: string): readonly string[] {
  // An address of IPv4 at the end stands for two groups, none of the first four.
  const [left = '', right] = address.replace(/\d+\.\d+\.\d+\.\d+$/, '0:0').split('::')
  const part = (text: string) => text.split(':').filter((group) => group !== '')
  const [head, tail] = [part(left), part(right ?? '')]
  const zeros = right === undefined ? 0 : 8 - head.length - tail.length
  return [...head, ...Array.from({ length: zeros }, () => '0'), ...tail].map((group) =>
    Number.parseInt(group, 16).toString(16),
  )
}

/** Whether this is an address, or a network like `10.0.0.0/8`. */
export function isNetwork(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const version = isIP(address)
  if (version === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
}

/** Says of an address whether it lies in one of these networks (each one isNetwork). */
export function inNetworks(networks: readonly string[]): (address: string) => boolean {
  const list = new BlockList()
  for (const network of networks) {
    const [address = '', bits] = network.split('/')
    const family = isIPv4(address) ? 'ipv4' : 'ipv6'
    list.addSubnet(address, Number(bits ?? (family === 'ipv4' ? 32 : 128)), family)
  }
  return (address) => {
    const v4 = MAPPED.exec(address)?.[1] ?? address
    return isIP(v4) !== 0 && list.check(v4, isIPv4(v4) ? 'ipv4' : 'ipv6')
  }
}
