// Everything that the harness wrote down about one drill, never the code under test. Plain data, so
// it can be kept, read again and made by hand. A checker is a pure function over it.
import type { VendorChange } from '../../../infra/oracle/simulator-admin.ts'
import type { EventImage, Holdings, StreamRecord } from '../../../infra/oracle/verify.ts'
import type { GateSwitch } from '../environment/gates.ts'
import type { ProcessEvent } from '../environment/launch.ts'
import type { AuditRow } from './audit.ts'

/** One call of the API as the play vendor saw it. Times: ms since 1970. */
export interface ApiCall {
  readonly seq: number
  readonly start: number
  readonly end: number
  readonly method: string
  readonly path: string
  readonly accountId: string | null
  readonly calendarId: string | null
  /** 0 when the client never got a whole answer. */
  readonly status: number
  readonly items?: number
  readonly syncTokenIn?: string
  readonly syncTokenOut?: string
  readonly pageTokenIn?: string
  readonly faultId?: string
}

/** Whose ring a notification is; a null calendar stands for all of the connection. */
export interface CalendarName {
  readonly connectionId: string
  readonly calendarId: string | null
}

/** One delivery attempt of a notification. */
export interface WebhookAttempt {
  readonly seq: number
  readonly at: number
  readonly channelId: string
  /** 0 for Microsoft's, which have none. */
  readonly messageNumber: number
  /** 0 = never sent. */
  readonly attempt: number
  readonly status?: number
  readonly error?: string
  readonly latencyMs: number
  /**
   * What an item of Microsoft's said of its change. Several items of one batch are several
   * attempts.
   */
  readonly told?: { readonly resource: string; readonly changeType: string; readonly etag: string }
}

/** One fault, from its injection to the proof that it is gone. Times: ms since 1970. */
export interface FaultEntry {
  /** Of the fault catalogue, like `P2`. */
  readonly fault: string
  readonly action: string
  readonly target: string
  readonly startedAt: number
  /** When it was seen to have an effect; null = never: then nothing was proven. */
  activeAt: number | null
  /** When it was taken away; null while it lasts. */
  endedAt: number | null
  /** When it was seen to be gone. */
  healedAt: number | null
}

export interface LedgerAccount {
  readonly accountId: string
  readonly vendor: 'google' | 'microsoft'
  readonly connectionId: string
  readonly providerId: string
  /** vendor calendar id → our id. */
  readonly calendars: ReadonlyMap<string, string>
}

export interface FinalConnection {
  readonly connectionId: string
  readonly status: string
  readonly syncNeeded: boolean
  readonly errorCount: number
  readonly backoffUntil: string | null
}

export interface LogLine {
  readonly instance: string
  readonly raw: string
  /** null for a line that is no JSON object. */
  readonly fields: Readonly<Record<string, unknown>> | null
}

/** What one look at a process found. */
export interface ProcessSample {
  readonly at: number
  readonly instance: string
  readonly pid: number
  readonly rssMb: number
  readonly descriptors: number
}

/** What one look at the system found. */
export interface SystemSample {
  readonly at: number
  readonly outbox: number
  readonly held: number
  readonly dirty: number
  readonly sessions: number
}

/** Metrics of one process at its last scrape: sample name with labels → value. */
export interface Scrape {
  readonly at: number
  readonly instance: string
  readonly pid: number
  readonly values: ReadonlyMap<string, number>
}

/** A notification that the harness sent itself, or any other request to the ingress. */
export interface OwnRequest {
  readonly at: number
  readonly what: string
  readonly method: string
  readonly path: string
  /** 0 = no answer. */
  readonly status: number
  readonly latencyMs: number
  readonly body: string
  readonly retryAfter: string | null
  /** `<channel>:<number>` of a notification. */
  readonly delivery: string | null
  /** What the token of a notification names. */
  readonly calendar?: CalendarName | null
}

export interface Marks {
  readonly startedAt: number
  /** Steady state before was met. */
  readonly steadyAt: number
  /** The last fault was gone and every gate open. */
  readonly healedAt: number
  /** null: it never converged within its time. */
  readonly convergedAt: number | null
  readonly endedAt: number
}

export interface Ledgers {
  readonly accounts: readonly LedgerAccount[]
  /** P: what the vendors hold at the end, and every change on the way. */
  readonly truth: Holdings
  readonly mayDiffer: (image: EventImage) => boolean
  readonly changes: readonly VendorChange[]
  /** A, W, F, N, D. */
  readonly calls: readonly ApiCall[]
  readonly webhooks: readonly WebhookAttempt[]
  readonly gates: readonly GateSwitch[]
  readonly nemesis: readonly FaultEntry[]
  readonly audit: readonly AuditRow[]
  /** What Postgres holds at the end. */
  readonly held: Holdings
  readonly connections: readonly FinalConnection[]
  readonly outboxLeft: number
  readonly heldLeft: number
  /** T: by topic name without the prefix, read by the second client. */
  readonly topics: ReadonlyMap<string, readonly StreamRecord[]>
  /** L. */
  readonly logs: readonly LogLine[]
  readonly processes: readonly ProcessEvent[]
  readonly samples: readonly ProcessSample[]
  readonly load: readonly SystemSample[]
  readonly scrapes: readonly Scrape[]
  readonly requests: readonly OwnRequest[]
  /** Canary values that must be found nowhere, by what they are. */
  readonly secrets: ReadonlyMap<string, string>
  /** Texts in which they are looked for, by where they come from. */
  readonly texts: ReadonlyMap<string, string>
  readonly marks: Marks
}
