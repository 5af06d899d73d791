// The knobs: how the simulated vendor behaves when nothing is injected. Every knob has a default
// that a healthy vendor would show; the admin API turns them while the simulator runs.

/** `sometimes` decides per page from the seed; true forces it, false forbids it. */
export type PageKnob = boolean | 'sometimes'

/** What a person does on the consent page. */
export type ConsentMode = 'grant' | 'deny' | 'partial'

export interface ConsentKnobs {
  /**
   * Id or email of the account that consents; null = whom the login hint names, else a page asks.
   */
  account: string | null
  mode: ConsentMode
  /** What `partial` grants; null = what was asked for without the scopes of calendars. */
  scope: string | null
}

export interface GrantKnobs {
  /**
   * Life of a refresh token (consent screen "Testing": 7 days, time-based access); null = until
   * revoked or half a year unused.
   */
  refreshTokenSeconds: number | null
  /** A refresh answers a new refresh token too; the old one stays valid. */
  rotate: boolean
}

/**
 * Google's budgets; null = none, because a bench would rather meet its own.
 * Google's own are 600 and 10 000.
 */
export interface QuotaKnobs {
  perUserPerMinute: number | null
  perProjectPerMinute: number | null
  /** The status of a refusal: both are documented. */
  answer: 403 | 429 | 'alternate'
  /** Whether a refusal says when to come back. Google does not document that it does. */
  retryAfter: boolean
}

/** What Graph does in more than one way, or is not documented to do in one. */
export interface MicrosoftKnobs {
  /** How long a change is in the mailbox before the delta tells it. */
  deltaLagMs: number
  /** The answer to a delta token that is no longer known. */
  expiredDelta: 'SyncStateNotFound' | 'syncStateNotFound' | 'resyncRequired' | 'bad-request' | 'not-found'
  /** The tombstone of a series stands for all of its occurrences. */
  sparseTombstones: boolean
  /** How the delta tells that one occurrence was cancelled. */
  cancelledOccurrences: 'series' | 'removed' | 'both'
  /** Chance that an item comes twice in a page. */
  repeatedItems: number
  /** The answer to a second creation with the same transaction id. */
  duplicateTransaction: 'existing' | 'conflict'
  rotateRefreshTokens: boolean
  /** Calls of one mailbox that may be in flight. */
  concurrencyMax: number
  /**
   * Whose calls are counted together: the documents flip between an app's calls of one mailbox
   * and all calls of an app.
   */
  concurrencyScope: 'mailbox' | 'app'
  /** How a call too many is refused; 503 is seen beside the documented 429. */
  concurrencyStatus: 429 | 503
  concurrencyRetryAfter: 'seconds' | 'date' | 'absent'
  /** Chance that a PATCH or DELETE meets 412 although nothing stands against it. */
  spontaneousConflict: number
  /** Days of a window beyond which expanding an endless series ends in a 504; null = never. */
  endlessDaysMax: number | null
  /** Wall-clock milliseconds from which an answer to a notification counts as slow. */
  slowAnswerMs: number
  /** Whether a subscription that lost notifications is told so by `missed`. */
  tellsMissed: boolean
  /** The code of the 404 for a subscription that ended or never was. */
  unknownSubscription: 'ResourceNotFound' | 'ExtensionError'
  /** How many subscriptions a mailbox may have; null = Graph's 1 000. */
  subscriptionsMax: number | null
  /** The words for one too many: of the mailbox, of the count, or of the app in its tenant. */
  subscriptionLimit: 'mailbox' | 'count' | 'tenant'
  /** Whether notifications carry the clientState of their subscription. */
  tellsClientState: boolean
  /** Whether a renewal asks the addresses to echo a token again. */
  renewalValidates: boolean
  /** How long after its notification an event still answers 404. */
  invisibleForMs: number
  /** Where access is not evaluated continuously, tokens live on until they end. */
  accessOutlivesRevocation: boolean
  /**
   * What mailboxes call their zone, also a name that nobody knows; null = the Windows name of the
   * default calendar's.
   */
  mailboxZone: string | null
}

/** What Google leaves open about sync tokens. */
export interface CursorKnobs {
  /** Age at which a sync token answers 410; null = never by age. */
  lifeSeconds: number | null
  /**
   * Whether a token keeps the window of its first listing:
   * implied by Google's own sample, stated nowhere.
   */
  keepsWindow: boolean
  /** How long a change is readable by its id and announced, but not yet in an increment. */
  lagMs: number
}

/** How Google tells that occurrences of a series ended: public reports have it in part only. */
export interface SeriesKnobs {
  /** Share of the ended occurrences that get a tombstone, the earliest first. */
  toldShare: number
  /** Each with its series, each by its id alone, or one of the series alone. */
  tombstones: 'whole' | 'sparse' | 'series'
}

/** What Google leaves open about channels. */
export interface ChannelKnobs {
  /** The longest life that is given; seven days are the default, more is not documented. */
  lifeSecondsMax: number
  /** How long messages go on after a stop that succeeded. */
  stopDelayMs: number
  /** The answer to stopping somebody else's channel. */
  foreignStop: 403 | 404
  /** Whether an answer to watch says when the channel ends. */
  tellsEnd: boolean
}

export interface Knobs {
  /** Added to every vendor API call, half before the work and half after. */
  latencyMs: number
  accessTokenSeconds: number
  readonly consent: ConsentKnobs
  readonly grants: GrantKnobs
  readonly quota: QuotaKnobs
  readonly cursors: CursorKnobs
  readonly series: SeriesKnobs
  readonly channels: ChannelKnobs
  readonly microsoft: MicrosoftKnobs
  readonly paging: { shortPages: PageKnob; emptyPages: PageKnob; pageSizeMax: number }
  readonly notifications: NotificationKnobs
}

export interface NotificationKnobs {
  /** Probability that a notification is never sent. */
  drop: number
  /** Extra deliveries of the same message, with the same number. */
  duplicate: number
  delayMs: number
  /** Deliveries overtake each other (each waits a random part of 500 ms more). */
  reorder: boolean
  paused: boolean
  /** Messages per change, each with its own number or id: bursts are normal. */
  perChange: number
  /**
   * Google: whether the `sync` message goes out before the answer to watch,
   * after it, or now so and now so.
   */
  syncMessage: 'before' | 'after' | 'mixed'
  /**
   * Google: says `not_exists` on the channels of a calendar that is deleted; nobody documents that
   * it is sent, or that it is not.
   */
  notExists: boolean
  retryBaseMs: number
  /**
   * null = the vendor's own end: the eighth attempt at Google (it names none; this one is ours),
   * four hours at Microsoft in any case.
   */
  retryAttemptsMax: number | null
  /**
   * Google documents retries for 500, 502, 503 and 504 only; a refused connection is not among
   * them. Microsoft repeats it.
   */
  retryOnConnectionError: boolean
}

/** Turns every knob back, in place, because all parts of the simulator hold the same objects. */
export function resetKnobs(knobs: Knobs, latencyMs: number): void {
  const { latencyMs: latency, accessTokenSeconds, ...groups } = defaultKnobs(latencyMs)
  Object.assign(knobs, { latencyMs: latency, accessTokenSeconds })
  for (const [name, group] of Object.entries(groups)) Object.assign(knobs[name as keyof Knobs], group)
}

export function defaultKnobs(latencyMs: number): Knobs {
  return {
    latencyMs,
    accessTokenSeconds: 3599,
    consent: { account: null, mode: 'grant', scope: null },
    grants: { refreshTokenSeconds: null, rotate: false },
    quota: { perUserPerMinute: null, perProjectPerMinute: null, answer: 'alternate', retryAfter: false },
    cursors: { lifeSeconds: null, keepsWindow: true, lagMs: 0 },
    series: { toldShare: 1, tombstones: 'whole' },
    channels: { lifeSecondsMax: 604_800, stopDelayMs: 0, foreignStop: 404, tellsEnd: true },
    microsoft: {
      deltaLagMs: 0,
      expiredDelta: 'SyncStateNotFound',
      sparseTombstones: true,
      cancelledOccurrences: 'series',
      repeatedItems: 0,
      duplicateTransaction: 'existing',
      rotateRefreshTokens: true,
      concurrencyMax: 4,
      concurrencyScope: 'mailbox',
      concurrencyStatus: 429,
      concurrencyRetryAfter: 'seconds',
      spontaneousConflict: 0,
      endlessDaysMax: 730,
      slowAnswerMs: 10_000,
      tellsMissed: true,
      unknownSubscription: 'ResourceNotFound',
      subscriptionsMax: null,
      subscriptionLimit: 'mailbox',
      tellsClientState: true,
      renewalValidates: false,
      invisibleForMs: 0,
      accessOutlivesRevocation: false,
      mailboxZone: null,
    },
    paging: { shortPages: 'sometimes', emptyPages: 'sometimes', pageSizeMax: 2500 },
    notifications: {
      drop: 0,
      duplicate: 0,
      delayMs: 0,
      reorder: false,
      paused: false,
      perChange: 1,
      syncMessage: 'mixed',
      notExists: false,
      retryBaseMs: 500,
      retryAttemptsMax: null,
      retryOnConnectionError: false,
    },
  }
}
