// The body of a Graph notification, read with suspicion: it is the only place where its token
// is, so it is parsed before its sender is known. Pure. Invariants: only named own fields of
// known types are taken over; no item is dropped because a field that does not decide
// anything is missing or strange.
import { createHash } from 'node:crypto'
import { readChannelId } from '#shared/domain/channel-ids.ts'

export type LifecycleEvent = 'missed' | 'subscriptionRemoved' | 'reauthorizationRequired'

export interface MicrosoftItem {
  /** The channel token; '' for none. */
  readonly clientState: string
  /** It came without any clientState, which is not the same as with a wrong one. */
  readonly isUnsigned: boolean
  /** A guid in lower case; '' for what is none. */
  readonly subscriptionId: string
  /** null for a change; `other` for a lifecycle event that Graph may add one day. */
  readonly lifecycle: LifecycleEvent | 'other' | null
  /**
   * null where nothing tells two notifications of the same change from two changes:
   * lifecycle items and those without etag.
   */
  readonly deliveryKey: string | null
}

export type MicrosoftBatch =
  | { readonly kind: 'batch'; readonly items: readonly MicrosoftItem[] }
  | { readonly kind: 'malformed' }
  | { readonly kind: 'too-many' }

/**
 * Of a field that goes into a delivery key; a longer one counts as missing. Graph documents no
 * bound; its own have some 200 characters (a resource names a user and an event).
 */
const FIELD_MAX = 1024
/** Of a clientState that is looked at; Graph's own bound is 128. */
const TOKEN_MAX = 256

/**
 * A batch has no documented size. An item of an event takes some 1 000 bytes,
 * so a full body holds about as many.
 */
export const ITEMS_MAX = 1000

const utf8 = new TextDecoder('utf-8', { fatal: true })
const LIFECYCLE: ReadonlySet<unknown> = new Set<LifecycleEvent>([
  'missed',
  'subscriptionRemoved',
  'reauthorizationRequired',
])

/**
 * Reads a `changeNotificationCollection`. Items that are no objects become items without a token.
 */
export function readMicrosoftBatch(body: unknown): MicrosoftBatch {
  const parsed = Buffer.isBuffer(body) ? parse(body) : undefined
  const value = isRecord(parsed) ? own(parsed, 'value') : undefined
  if (!Array.isArray(value) || value.length === 0) return { kind: 'malformed' }
  if (value.length > ITEMS_MAX) return { kind: 'too-many' }
  return { kind: 'batch', items: value.map(itemOf) }
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(body)) as unknown
  } catch {
    return undefined
  }
}

function itemOf(value: unknown): MicrosoftItem {
  const item = isRecord(value) ? value : {}
  const subscriptionId = readChannelId('microsoft', text(item, 'subscriptionId'))
  const event = own(item, 'lifecycleEvent')
  const lifecycle =
    event === undefined || event === null
      ? null
      : LIFECYCLE.has(event)
        ? (event as LifecycleEvent)
        : ('other' as const)
  return {
    clientState: text(item, 'clientState', TOKEN_MAX),
    isUnsigned: (own(item, 'clientState') ?? null) === null,
    subscriptionId,
    lifecycle,
    deliveryKey: lifecycle === null ? deliveryKeyOf(item, subscriptionId) : null,
  }
}

/**
 * The same change of the same subscription has the same key,
 * however Graph spells its ids this time.
 */
function deliveryKeyOf(item: Record<string, unknown>, subscriptionId: string): string | null {
  const data = own(item, 'resourceData')
  const etag = isRecord(data) ? text(data, '@odata.etag', FIELD_MAX) : ''
  const resource = text(item, 'resource', FIELD_MAX)
  const changeType = text(item, 'changeType', FIELD_MAX).toLowerCase()
  if (subscriptionId === '' || resource === '' || changeType === '' || etag === '') return null
  const parts = JSON.stringify([subscriptionId, canonicalResource(resource), changeType, etag])
  return `m:${createHash('sha256').update(parts).digest('base64url')}`
}

/**
 * `Users('A')/Events('B')` and `users/a/events/B` are the same resource;
 * the last id alone is told apart by its case.
 */
function canonicalResource(resource: string): string {
  const path = resource.replaceAll(/\('([^']*)'\)/g, '/$1')
  const last = path.lastIndexOf('/') + 1
  return path.slice(0, last).toLowerCase() + path.slice(last)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function own(record: Record<string, unknown>, field: string): unknown {
  return Object.hasOwn(record, field) ? record[field] : undefined
}

/** A text of at most `max` characters; '' for anything else. */
function text(record: Record<string, unknown>, field: string, max = Infinity): string {
  const value = own(record, field)
  return typeof value === 'string' && value.length <= max ? value : ''
}
