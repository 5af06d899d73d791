// The shape of channel ids, where they are taken in: the ingress from notifications, the scheduler
// from a vendor's answer. Invariant: what has another shape counts as no id, so nothing unbounded
// or unprintable is kept of it.
import type { VendorName } from './ids.ts'

const CHANNEL_ID: Readonly<Record<VendorName, RegExp>> = {
  /** Google's documented alphabet and length ("Watch: post", `id`). */
  google: /^[A-Za-z0-9\-_+/=]{1,64}$/,
  /** Graph's are guids (resource type subscription, `id`), in any case. */
  microsoft: /^[0-9a-f-]{36}$/,
}
/** Google calls it "an opaque ID"; stored, so bounded. */
const RESOURCE_ID = /^[\x21-\x7e]{1,256}$/

/**
 * The id of a channel as it is kept, '' for what is none. Graph's in lower case:
 * it does not keep their case.
 */
export function readChannelId(vendor: VendorName, text: string): string {
  // Before its case is changed: a text of 1 MB costs nothing.
  if (text.length > 64) return ''
  const id = vendor === 'microsoft' ? text.toLowerCase() : text
  return CHANNEL_ID[vendor].test(id) ? id : ''
}

/** The id of what a channel of Google watches, '' for what is none. */
export function readResourceId(text: string): string {
  return RESOURCE_ID.test(text) ? text : ''
}
