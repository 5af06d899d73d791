// The one error class and its code table; what follows from a failure is failure-settlement.ts's.
// Adapters and store translate at the border; inside, no code looks at an HTTP status or a
// SQLSTATE.
import type { Micros } from './ids.ts'
import { ANSWER_BYTES_MAX, ANSWER_VALUES_MAX, PAGE_ITEMS_MAX } from './page-limits.ts'

type FailureKind =
  | 'transient'
  | 'throttled'
  | 'unauthorized'
  | 'refused'
  | 'gone'
  | 'conflict'
  | 'invalid'
  | 'defect'
type FailureScope = 'message' | 'calendar' | 'connection' | 'vendor' | 'process'

export interface CodeEntry {
  readonly kind: FailureKind
  readonly scope: FailureScope
  /** What happened and what an operator does about it; shown in last_error and docs/errors.md. */
  readonly text: string
}

export const FAILURE_CODES = {
  'vendor/unavailable': {
    kind: 'transient',
    scope: 'vendor',
    text: 'The vendor answered with a server error or not at all. The connection is tried again automatically.',
  },
  'vendor/timeout': {
    kind: 'transient',
    scope: 'vendor',
    text: 'The vendor did not answer within 30 s. The connection is tried again automatically.',
  },
  'vendor/unreadable-answer': {
    kind: 'transient',
    scope: 'vendor',
    text: 'The vendor answered with something that is not its documented format. Tried again automatically; look at the vendor status page if it lasts.',
  },
  'vendor/answer-too-large': {
    kind: 'invalid',
    scope: 'calendar',
    text: `The vendor sent more than ${ANSWER_BYTES_MAX / 1024 / 1024} MB, ${PAGE_ITEMS_MAX} items or ${ANSWER_VALUES_MAX} values in one answer, also when asked for fewer items, so it was cut off. The other calendars continue. Check the calendar for abuse.`,
  },
  'vendor/throttled': {
    kind: 'throttled',
    scope: 'connection',
    text: 'The vendor asked us to slow down. The connection is tried again after the time that it named.',
  },
  'vendor/quota-exhausted': {
    kind: 'throttled',
    scope: 'vendor',
    text: 'The quota of the project at the vendor is used up. Ask the vendor for more if this lasts.',
  },
  'vendor/budget-spent': {
    kind: 'throttled',
    scope: 'connection',
    text: 'Our own share of calls for this minute is used up, so that the vendor does not have to refuse them. Continues automatically; raise the CALLS_PER_MINUTE settings if the vendor allows more.',
  },
  'vendor/circuit-open': {
    kind: 'throttled',
    scope: 'vendor',
    text: 'The vendor failed many calls in a row, so it is left alone for a moment. Work continues automatically; look at the vendor status page if it lasts.',
  },
  'vendor/recovering': {
    kind: 'throttled',
    scope: 'connection',
    text: 'The vendor has just come back, and those who waited for it are let through one by one. Continues automatically.',
  },
  'vendor/token-rejected': {
    kind: 'transient',
    scope: 'connection',
    text: 'The vendor did not accept the access token. A fresh one is fetched and the call repeated once, automatically.',
  },
  'vendor/grant-revoked': {
    kind: 'unauthorized',
    scope: 'connection',
    text: 'The account no longer lets us in. The person has to connect the calendar again.',
  },
  'vendor/access-denied': {
    kind: 'unauthorized',
    scope: 'connection',
    text: 'The account does not allow what the sync needs. The person has to connect again and grant calendar access.',
  },
  'vendor/no-offline-access': {
    kind: 'unauthorized',
    scope: 'connection',
    text: 'The vendor gave an access token and no refresh token, so the account could be read for about an hour and no longer. Nothing was connected. The app has to be let in offline: at Google access_type=offline and prompt=consent, at Microsoft the permission offline_access.',
  },
  'vendor/admin-required': {
    kind: 'unauthorized',
    scope: 'connection',
    text: 'The organization of the account does not let us in. An administrator there has to act; when they have, it continues automatically.',
  },
  'vendor/call-refused': {
    kind: 'refused',
    scope: 'calendar',
    text: 'The vendor refuses this calendar, in words that say nothing of the account as a whole. It is tried again automatically, ever more rarely.',
  },
  'vendor/account-refused': {
    kind: 'refused',
    scope: 'connection',
    text: 'The vendor refuses everything of this account, also with a fresh token, without a documented reason. It is tried again automatically. It waits for a person only when that lasts, and continues automatically when the vendor lets it in again.',
  },
  'vendor/no-mailbox': {
    kind: 'refused',
    scope: 'connection',
    text: 'The vendor says that the account has no calendar at the moment: no licence, a suspended user, or a calendar service that is switched off. An administrator of the account can change that. It is tried again automatically.',
  },
  'vendor/token-refused': {
    kind: 'refused',
    scope: 'connection',
    text: 'The vendor gives no access token for this account, without a documented reason. It is tried again automatically. It waits for a person only when that lasts, and continues automatically when the vendor lets it in again.',
  },
  'vendor/refusing-all': {
    kind: 'throttled',
    scope: 'vendor',
    text: 'The vendor refuses many accounts one after the other, so the trouble is with the vendor or with our app there, and no person can mend it. Work continues automatically as soon as one call is let in; look at the vendor status page and at the settings of the app.',
  },
  'vendor/client-rejected': {
    kind: 'transient',
    scope: 'vendor',
    text: 'The vendor refuses our app: its client id or secret, or a calendar API that is switched off in its project. An operator has to correct that at the vendor; no person has to connect again.',
  },
  'vendor/calendar-gone': {
    kind: 'gone',
    scope: 'calendar',
    text: 'The calendar was deleted or is no longer shared with the account.',
  },
  'vendor/calendar-unknown': {
    kind: 'transient',
    scope: 'calendar',
    text: 'The vendor says that this calendar does not exist. One answer removes nothing: its events are kept until two lists of calendars, minutes apart, lack it too. While the list names it, it is tried again.',
  },
  'vendor/rejected': {
    kind: 'invalid',
    scope: 'calendar',
    text: 'The vendor rejected the request as malformed. This is a fault of calstream: please report it.',
  },
  'vendor/cursor-expired-again': {
    kind: 'transient',
    scope: 'calendar',
    text: 'The vendor discarded the cursor twice in a row. The calendar is read again after a pause.',
  },
  'vendor/no-progress': {
    kind: 'transient',
    scope: 'calendar',
    text: 'The vendor handed out page after page of this calendar with nothing new in them, so its reading was broken off. It is tried again in pages of another size, and then by a plain listing, automatically. The other calendars continue.',
  },
  'vendor/not-yet-readable': {
    kind: 'transient',
    scope: 'calendar',
    text: 'The vendor tells of a change that it does not show yet. The calendar is read again automatically.',
  },
  'vendor/callback-refused': {
    kind: 'transient',
    scope: 'calendar',
    text: 'The vendor does not accept our webhook address, or did not get the answer that it expects there. Check that PUBLIC_URL begins with https and can be reached from outside; until then calendars are polled, and channels are tried again automatically.',
  },
  'store/unavailable': {
    kind: 'transient',
    scope: 'process',
    text: 'Postgres cannot be reached. Work waits and continues automatically.',
  },
  'store/certificate-refused': {
    kind: 'refused',
    scope: 'process',
    text: "Postgres and we do not accept each other's certificates. Correct sslmode, sslrootcert, sslcert and sslkey in POSTGRES_URL, or the server's certificate. Files are read again, so nothing has to be started again.",
  },
  'store/login-refused': {
    kind: 'refused',
    scope: 'process',
    text: 'Postgres refused the login. Check user and database in POSTGRES_URL, and the password there or in POSTGRES_PASSWORD.',
  },
  'store/contention': {
    kind: 'transient',
    scope: 'connection',
    text: 'A lock or serialization conflict in Postgres. Tried again automatically.',
  },
  'store/outcome-unknown': {
    kind: 'conflict',
    scope: 'connection',
    text: 'The connection to Postgres broke at COMMIT, so it is unknown whether the work was saved. It is claimed and done again.',
  },
  'store/read-only': {
    kind: 'transient',
    scope: 'process',
    text: 'Postgres accepts no writes (failover or standby). Work waits and continues automatically.',
  },
  'store/disk-full': {
    kind: 'transient',
    scope: 'process',
    text: 'Postgres has no disk space left. Free some; work continues automatically.',
  },
  'store/rejected-data': {
    kind: 'invalid',
    scope: 'connection',
    text: 'Postgres refused a value that the vendor sent. The unit is recorded as failed with the bare code.',
  },
  'store/schema-newer': {
    kind: 'defect',
    scope: 'process',
    text: 'The database was migrated by a newer version of calstream. Use that version.',
  },
  'store/fence-lost': {
    kind: 'conflict',
    scope: 'connection',
    text: 'A newer unit took over this connection. Nothing was written.',
  },
  'kafka/unavailable': {
    kind: 'transient',
    scope: 'process',
    text: 'Kafka cannot be reached. Work waits and continues automatically.',
  },
  'kafka/certificate-refused': {
    kind: 'refused',
    scope: 'process',
    text: "Kafka and we do not accept each other's certificates. Correct KAFKA_SSL_CA, KAFKA_SSL_CERT and KAFKA_SSL_KEY, or the broker's certificate. Files are read again, so nothing has to be started again.",
  },
  'kafka/login-refused': {
    kind: 'refused',
    scope: 'process',
    text: 'Kafka refused the login. Correct the KAFKA_SASL settings, or the user at the broker. Files are read again, so nothing has to be started again.',
  },
  'kafka/right-missing': {
    kind: 'refused',
    scope: 'process',
    text: 'Kafka took the login, but this user has no right to what is asked. `calstream acls verify` says which right is missing, `calstream acls apply` gives it.',
  },
  'kafka/fenced': {
    kind: 'conflict',
    scope: 'process',
    text: 'A newer owner took over this shard. Nothing was published.',
  },
  'kafka/rejected': {
    kind: 'invalid',
    scope: 'message',
    text: 'Kafka refused a record (for example too large).',
  },
  'registry/certificate-refused': {
    kind: 'refused',
    scope: 'process',
    text: 'The certificate of the schema registry is not accepted. Correct SCHEMA_REGISTRY_SSL_CA, or the certificate.',
  },
  'registry/login-refused': {
    kind: 'refused',
    scope: 'process',
    text: 'The schema registry refused the login. Correct SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD, or SCHEMA_REGISTRY_BEARER_TOKEN.',
  },
  'registry/right-missing': {
    kind: 'refused',
    scope: 'process',
    text: 'The schema registry took the login, but this user has no right to what is asked. Services read schemas; `calstream schemas apply` also writes them.',
  },
  'registry/unavailable': {
    kind: 'transient',
    scope: 'process',
    text: 'The schema registry cannot be reached. Work waits and continues automatically.',
  },
  'message/unreadable': {
    kind: 'invalid',
    scope: 'message',
    text: 'A record could not be read with its schema. It was copied to the dead-letter topic as it is.',
  },
  'credentials/unreadable': {
    kind: 'defect',
    scope: 'connection',
    text: 'The stored credentials do not open with the configured keys, or were altered. Check CREDENTIALS_KEYS; otherwise the person has to connect again.',
  },
  'sync/unfinished': {
    kind: 'defect',
    scope: 'connection',
    text: 'Eight units in a row of this connection ended without any page or outcome. Look at the logs of the sync service.',
  },
  'sync/gave-way': {
    kind: 'throttled',
    scope: 'calendar',
    text: 'The calendar could not be read before and was slow to answer again, while a change of another calendar of the account waited. It is tried again automatically.',
  },
  'sync/no-room': {
    kind: 'throttled',
    scope: 'connection',
    text: 'Large answers of vendors filled the room that this process has for them. The connection is tried again automatically; look for calendars with very large events if it lasts.',
  },
  'internal/defect': {
    kind: 'defect',
    scope: 'connection',
    text: 'A fault of calstream. Please report it with the log lines of this trace id.',
  },
} as const satisfies Record<string, CodeEntry>

export type FailureCode = keyof typeof FAILURE_CODES

/**
 * An unexpected outcome, classified.
 * `retryAt` (whole µs since 1970) is a floor that the vendor named.
 */
export class Failure extends Error {
  override readonly name = 'Failure'
  readonly code: FailureCode
  readonly kind: FailureKind
  readonly scope: FailureScope
  readonly retryAt: Micros | undefined
  /** The number that the vendor gives its reason, as AADSTS700016. */
  readonly number: number | undefined
  /**
   * Of a failure that parks: the same grant may be good again without the person,
   * so it is worth asking now and then.
   */
  readonly mayHeal: boolean
  /** No call went out: a limit of ours kept it back, or a pause that the vendor wants. */
  readonly isKeptBack: boolean

  constructor(
    code: FailureCode,
    message?: string,
    options: {
      cause?: unknown
      retryAt?: Micros | undefined
      number?: number | undefined
      mayHeal?: boolean
      isKeptBack?: boolean
    } = {},
  ) {
    super(
      message ?? FAILURE_CODES[code].text,
      options.cause === undefined ? undefined : { cause: options.cause },
    )
    this.code = code
    this.kind = FAILURE_CODES[code].kind
    this.scope = FAILURE_CODES[code].scope
    this.retryAt = options.retryAt
    this.number = options.number
    this.mayHeal = options.mayHeal ?? false
    this.isKeptBack = options.isKeptBack ?? false
  }
}

/** Any thrown value as a Failure: an unknown one is a defect, never silent. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  const message = error instanceof Error ? error.message : String(error)
  return new Failure('internal/defect', message, { cause: error })
}

const GRAVITY: Readonly<Record<FailureKind, number>> = {
  unauthorized: 8,
  defect: 7,
  refused: 6,
  invalid: 5,
  gone: 4,
  throttled: 3,
  transient: 2,
  conflict: 1,
}

/**
 * The one failure that stands for several of the same unit: the gravest, that a person has to act
 * on before those that pass without one. It keeps the latest `retryAt` of all of them: none may
 * be tried before the vendor allowed it.
 */
export function worstOf(failures: readonly [Failure, ...Failure[]]): Failure {
  const worst = failures.reduce((a, b) => (GRAVITY[b.kind] > GRAVITY[a.kind] ? b : a))
  const floors = failures.flatMap(({ retryAt }) => (retryAt === undefined ? [] : [retryAt]))
  const retryAt = floors.length === 0 ? undefined : Math.max(...floors)
  return retryAt === worst.retryAt
    ? worst
    : new Failure(worst.code, worst.message, {
        cause: worst.cause,
        retryAt,
        number: worst.number,
        mayHeal: worst.mayHeal,
        isKeptBack: worst.isKeptBack,
      })
}
