// What the admin API takes. Unknown fields are refused: a misspelt knob that is silently ignored
// makes a drill prove nothing.
import { z } from 'zod'
import type { Operation } from '../http.ts'
import { isZone } from '../world/zones.ts'
import { DURATION_MS_MAX, RATE_MAX } from './load.ts'

const zone = z.string().refine(isZone, 'is no IANA time zone')
const count = z.int().min(0)

export const calendarBody = z.strictObject({
  id: z.string().optional(),
  name: z.string().optional(),
  primary: z.boolean().optional(),
  accessRole: z.string().optional(),
  pushSupported: z.boolean().optional(),
  timeZone: zone.optional(),
})

export const calendarChangeBody = z.strictObject({
  name: z.string().optional(),
  accessRole: z.string().optional(),
  pushSupported: z.boolean().optional(),
  hidden: z.boolean().optional(),
  unlisted: z.boolean().optional(),
})

export const renameBody = z.strictObject({ id: z.string().min(1), alias: z.boolean().optional() })

export const accountBody = z.strictObject({
  vendor: z.enum(['google', 'microsoft']).optional(),
  email: z.string().min(3).optional(),
  scope: z.string().optional(),
  calendars: z.union([count.max(500), z.array(calendarBody).max(500)]).optional(),
  eventsPerCalendar: count.max(100_000).optional(),
  claims: z.boolean().optional(),
})

export const fieldsBody = z.record(z.string(), z.unknown())

const mix = z
  .strictObject({
    create: z.number().min(0).default(0),
    update: z.number().min(0).default(0),
    delete: z.number().min(0).default(0),
  })
  .refine((parts) => parts.create + parts.update + parts.delete > 0, 'all parts are 0')

/** Somebody moves an event to another calendar, as people do in their own client. */
export const moveBody = z.strictObject({ calendarId: z.string() })

export const loadBody = z.strictObject({
  changesPerSecond: z.number().positive().max(RATE_MAX),
  durationMs: z.number().positive().max(DURATION_MS_MAX),
  seed: z.union([z.string(), z.number()]).transform(String).optional(),
  accountIds: z.array(z.string()).min(1).optional(),
  mix: mix.optional(),
})

export const changesBody = z.strictObject({
  count: z.int().min(1).max(100_000),
  seed: z.union([z.string(), z.number()]).transform(String).optional(),
  accountIds: z.array(z.string()).min(1).optional(),
  mix: mix.optional(),
})

const operation = z.enum([
  'authorize',
  'token',
  'revoke',
  'calendars',
  'list',
  'read',
  'write',
  'watch',
  'renew',
  'stop',
  'busy',
  'batch',
]) satisfies z.ZodType<Operation>

export const faultBody = z.strictObject({
  match: z
    .strictObject({
      vendor: z.enum(['google', 'microsoft']).optional(),
      operation: operation.optional(),
      method: z.string().optional(),
      path: z.string().optional(),
      accountId: z.string().optional(),
      calendarId: z.string().optional(),
      hasPageToken: z.boolean().optional(),
      hasSyncToken: z.boolean().optional(),
      itemsAtLeast: z.int().min(1).optional(),
      itemsAtMost: z.int().min(1).optional(),
    })
    .optional(),
  times: count.optional(),
  skip: count.optional(),
  onePlace: z.boolean().optional(),
  chance: z.number().min(0).max(1).optional(),
  forMs: z.number().positive().optional(),
  respond: z
    .strictObject({
      status: z.int().min(200).max(599),
      body: z.unknown().optional(),
      headers: z.record(z.string(), z.string()).optional(),
      reason: z.string().optional(),
    })
    .optional(),
  delayMs: z.number().min(0).max(3_600_000).optional(),
  hang: z.boolean().optional(),
  reset: z.enum(['before', 'after']).optional(),
  afterWork: z.boolean().optional(),
  bytesPerSecond: z.int().min(1).optional(),
  endless: z.boolean().optional(),
  contentType: z.string().min(1).optional(),
  truncate: z.boolean().optional(),
  swell: z
    .strictObject({
      copies: z.int().min(1).max(1_000_000).optional(),
      bytesPerItem: count.max(10_000_000).optional(),
    })
    .optional(),
  goesOn: z.enum(['repeating', 'empty', 'renaming']).optional(),
  html: z.boolean().optional(),
})

export const refusalBody = z
  .strictObject({
    vendor: z.enum(['google', 'microsoft']).default('google'),
    kind: z.enum(['unauthorized', 'project', 'suspended', 'tenant', 'token-rate']),
    accountId: z.string().optional(),
    calendarId: z.string().optional(),
    number: z.int().min(1000).optional(),
    form: z.enum(['html', 'json']).optional(),
    forMs: z.number().positive().optional(),
  })
  .refine(
    ({ vendor, number }) => number === undefined || vendor === 'microsoft',
    'only Microsoft numbers its refusals',
  )

/** The person gets another address; the old one stays an alias. */
export const accountChangeBody = z.strictObject({ email: z.string().min(3) })

export const notificationsBody = z.strictObject({
  drop: z.number().min(0).max(1).optional(),
  duplicate: count.max(100).optional(),
  delayMs: z.number().min(0).max(14_400_000).optional(),
  reorder: z.boolean().optional(),
  paused: z.boolean().optional(),
  perChange: count.max(100).optional(),
  syncMessage: z.enum(['before', 'after', 'mixed']).optional(),
  notExists: z.boolean().optional(),
  retryBaseMs: z.number().min(1).max(60_000).optional(),
  retryAttemptsMax: z.int().min(1).max(100).nullable().optional(),
  retryOnConnectionError: z.boolean().optional(),
})

/** How far the clock goes on: by milliseconds, or to an instant. */
export const clockBody = z.union([
  z.strictObject({ advanceMs: count.max(400 * 86_400_000) }),
  z.strictObject({ to: z.iso.datetime({ offset: true }) }),
])

export const latencyBody = z.strictObject({ ms: z.number().min(0).max(600_000) })

export const accessTokensBody = z.strictObject({ seconds: z.int().min(1).max(86_400) })

export const consentBody = z.strictObject({
  account: z.string().min(1).nullable().optional(),
  mode: z.enum(['grant', 'deny', 'partial']).optional(),
  scope: z.string().nullable().optional(),
})

export const quotaBody = z.strictObject({
  perUserPerMinute: z.int().min(1).nullable().optional(),
  perProjectPerMinute: z.int().min(1).nullable().optional(),
  answer: z.union([z.literal('alternate'), z.literal(403), z.literal(429)]).optional(),
  retryAfter: z.boolean().optional(),
})

export const cursorsBody = z.strictObject({
  lifeSeconds: z.int().min(1).nullable().optional(),
  keepsWindow: z.boolean().optional(),
  lagMs: z.number().min(0).max(3_600_000).optional(),
})

export const seriesBody = z.strictObject({
  toldShare: z.number().min(0).max(1).optional(),
  tombstones: z.enum(['whole', 'sparse', 'series']).optional(),
})

export const channelsBody = z.strictObject({
  lifeSecondsMax: z.int().min(1).optional(),
  stopDelayMs: z.number().min(0).max(86_400_000).optional(),
  foreignStop: z.union([z.literal(403), z.literal(404)]).optional(),
  tellsEnd: z.boolean().optional(),
})

export const grantsBody = z.strictObject({
  refreshTokenSeconds: z.int().min(1).nullable().optional(),
  rotate: z.boolean().optional(),
})

const pageKnob = z.union([z.boolean(), z.literal('sometimes')]).optional()
export const pagingBody = z.strictObject({
  shortPages: pageKnob,
  emptyPages: pageKnob,
  pageSizeMax: z.int().min(1).max(2500).optional(),
})

export const expireBody = z.strictObject({
  accountId: z.string().optional(),
  calendarId: z.string().optional(),
})

export const webhookBody = z.strictObject({
  channelId: z.string(),
  copies: z.int().min(1).max(10_000).optional(),
  messageNumber: z.int().min(1).optional(),
  /** Overrides that make a message look forged, or come for a channel that is unknown. */
  token: z.string().optional(),
  resourceId: z.string().optional(),
  address: z.url().optional(),
})

export const microsoftBody = z.strictObject({
  deltaLagMs: z.number().min(0).max(3_600_000).optional(),
  expiredDelta: z
    .enum(['SyncStateNotFound', 'syncStateNotFound', 'resyncRequired', 'bad-request', 'not-found'])
    .optional(),
  sparseTombstones: z.boolean().optional(),
  cancelledOccurrences: z.enum(['series', 'removed', 'both']).optional(),
  repeatedItems: z.number().min(0).max(1).optional(),
  duplicateTransaction: z.enum(['existing', 'conflict']).optional(),
  rotateRefreshTokens: z.boolean().optional(),
  concurrencyMax: z.int().min(1).max(1000).optional(),
  concurrencyScope: z.enum(['mailbox', 'app']).optional(),
  concurrencyStatus: z.union([z.literal(429), z.literal(503)]).optional(),
  concurrencyRetryAfter: z.enum(['seconds', 'date', 'absent']).optional(),
  spontaneousConflict: z.number().min(0).max(1).optional(),
  endlessDaysMax: z.int().min(1).nullable().optional(),
  slowAnswerMs: z.number().min(1).max(30_000).optional(),
  tellsMissed: z.boolean().optional(),
  unknownSubscription: z.enum(['ResourceNotFound', 'ExtensionError']).optional(),
  subscriptionsMax: count.nullable().optional(),
  subscriptionLimit: z.enum(['mailbox', 'count', 'tenant']).optional(),
  tellsClientState: z.boolean().optional(),
  renewalValidates: z.boolean().optional(),
  accessOutlivesRevocation: z.boolean().optional(),
  invisibleForMs: z.number().min(0).max(600_000).optional(),
  mailboxZone: z.string().min(1).nullable().optional(),
})

export const lifecycleBody = z.strictObject({
  event: z.enum(['missed', 'subscriptionRemoved', 'reauthorizationRequired']),
  subscriptionId: z.string().optional(),
  accountId: z.string().optional(),
})

/**
 * A notification as it stands, to wherever:
 * what a forger sends, or a vendor for a subscription that is no more.
 */
export const forgedBody = z.strictObject({
  url: z.url(),
  items: z.array(z.record(z.string(), z.unknown())).max(1000),
})

export const loseSubscriptionBody = z.strictObject({ id: z.string() })

/**
 * The body of each call that takes one, by method and path of its route:
 * scenarios are checked against it.
 */
export const BODY_OF: Readonly<Record<string, z.ZodType>> = {
  'POST /admin/accounts': accountBody,
  'POST /admin/accounts/:accountId/calendars': calendarBody,
  'PATCH /admin/accounts/:accountId/calendars/:calendarId': calendarChangeBody,
  'POST /admin/accounts/:accountId/calendars/:calendarId/rename': renameBody,
  'POST /admin/accounts/:accountId/calendars/:calendarId/events': fieldsBody,
  'PATCH /admin/accounts/:accountId/calendars/:calendarId/events/:eventId': fieldsBody,
  'POST /admin/accounts/:accountId/calendars/:calendarId/events/:eventId/move': moveBody,
  'POST /admin/events/change': changesBody,
  'POST /admin/load': loadBody,
  'POST /admin/faults': faultBody,
  'POST /admin/refusals': refusalBody,
  'PATCH /admin/accounts/:accountId': accountChangeBody,
  'POST /admin/notifications': notificationsBody,
  'POST /admin/latency': latencyBody,
  'POST /admin/access-tokens': accessTokensBody,
  'POST /admin/consent': consentBody,
  'POST /admin/quota': quotaBody,
  'POST /admin/grants': grantsBody,
  'POST /admin/cursors': cursorsBody,
  'POST /admin/series': seriesBody,
  'POST /admin/channels': channelsBody,
  'POST /admin/paging': pagingBody,
  'POST /admin/cursors/expire': expireBody,
  'POST /admin/webhooks/send': webhookBody,
  'POST /admin/microsoft': microsoftBody,
  'POST /admin/lifecycle': lifecycleBody,
  'POST /admin/notifications/forged': forgedBody,
  'POST /admin/subscriptions/lose': loseSubscriptionBody,
  'POST /admin/clock': clockBody,
}
