// The addresses of ours that vendors are told, relative to PUBLIC_URL, and what can be seen of
// PUBLIC_URL without asking anybody. Pure.
import { BlockList, isIP } from 'node:net'
import type { VendorName } from '#shared/domain/ids.ts'

/** Where a vendor rings. */
export function webhookPath(vendor: VendorName): string {
  return `/api/webhooks/calendar/${vendor}`
}

/** Where a vendor's flow begins. */
export function startPath(vendor: VendorName): string {
  return `/api/auth/${vendor}/calendar`
}

/** The redirect address, where a person comes back to, as it is registered at the vendor. */
export function callbackPath(vendor: VendorName): string {
  return `${startPath(vendor)}/callback`
}

/** RFC 1918, RFC 4193, RFC 6598, link-local and loopback: no vendor reaches them. */
const PRIVATE = new BlockList()
for (const [net, bits, family] of [
  ['10.0.0.0', 8, 'ipv4'],
  ['100.64.0.0', 10, 'ipv4'],
  ['127.0.0.0', 8, 'ipv4'],
  ['169.254.0.0', 16, 'ipv4'],
  ['172.16.0.0', 12, 'ipv4'],
  ['192.168.0.0', 16, 'ipv4'],
  ['::1', 128, 'ipv6'],
  ['fc00::', 7, 'ipv6'],
  ['fe80::', 10, 'ipv6'],
] as const)
  PRIVATE.addSubnet(net, bits, family)

/** RFC 6761 §6.3, RFC 6762 §3, RFC 8375, and the domain that ICANN reserved for private use. */
const PRIVATE_NAMES = /(?:^|\.)(?:localhost|local|home\.arpa|internal)$/

/**
 * Why vendors cannot ring this address, with what to do; null when nothing shows that. Google takes
 * https alone (https://developers.google.com/workspace/calendar/api/guides/push), and so does Graph
 * (https://learn.microsoft.com/graph/change-notifications-delivery-webhooks).
 * @param publicUrl an address that `readEnv` accepted.
 * @param apis the addresses of the vendors' APIs: a play vendor, which is spoken to in clear, rings
 * anywhere.
 */
export function unreachableAddress(publicUrl: string, apis: readonly string[]): string | null {
  if (!apis.some((api) => api.startsWith('https:'))) return null
  const { protocol, hostname } = new URL(publicUrl)
  const why = isPrivate(hostname)
    ? 'leads to this machine or a private network, where no vendor reaches it'
    : protocol === 'https:'
      ? null
      : 'begins with http://, and vendors ring https addresses alone'
  return why === null
    ? null
    : `PUBLIC_URL ${why}. No channel can be opened, so calendars are polled every two minutes. Set PUBLIC_URL to the https address under which the internet reaches the ingress.`
}

function isPrivate(hostname: string): boolean {
  const bare = hostname.replace(/^\[|\]$/g, '')
  const version = isIP(bare)
  // A name without a dot is one of this network alone.
  if (version === 0) return !bare.includes('.') || PRIVATE_NAMES.test(bare)
  return PRIVATE.check(bare, version === 4 ? 'ipv4' : 'ipv6')
}
