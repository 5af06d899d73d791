// The figures of the whole installation, as the page of the fleet and its JSON have them.

import type { CauseCode } from '#shared/domain/causes.ts'
import type { ServiceHealth } from '#shared/domain/service-instances.ts'

export interface Finding {
  readonly level: 'bad' | 'warn'
  readonly text: string
  /** The page that shows more; null where there is none. */
  readonly href: string | null
}

/** As the page and its JSON have it. Times are ISO 8601 in UTC. */
export interface Fleet {
  readonly as_of: string
  /** Why the figures are older than a moment; null while they are not. */
  readonly database_problem: string | null
  readonly is_well: boolean
  readonly findings: readonly Finding[]
  readonly connections: {
    readonly total: number
    readonly in_sync: number
    readonly by_state: readonly StateLine[]
  }
  readonly failures: readonly { vendor: string; code: string; connections: number }[]
  readonly backlog: {
    readonly outbox_rows: number
    readonly outbox_oldest_seconds: number
    readonly held: readonly { gate: string; connections: number }[]
    readonly dead_letters: number
  } | null
  readonly holds: { readonly calendars: number; readonly events: number } | null
  /** Why connections are not up to date; one that has several causes is counted under each. */
  readonly causes: readonly CauseFigures[]
  readonly services: readonly ServiceFigures[]
  readonly gates: readonly { gate: string; state: string; open: boolean }[] | null
  readonly vendors: readonly VendorFigures[]
}

export interface StateLine {
  readonly vendor: string
  readonly state: string
  readonly connections: number
  readonly oldest_sync_seconds: number | null
}

export interface VendorFigures {
  readonly vendor: string
  readonly connections: number
  readonly open_channels: number
  readonly channels_ending: number
  readonly oldest_sync_seconds: number | null
  readonly last_notification_at: string | null
}

export interface CauseFigures {
  readonly cause: CauseCode
  readonly vendor: string
  readonly connections: number
  /** Since when the one has it that has it longest. */
  readonly oldest_since: string | null
}

export interface ServiceFigures {
  readonly service: string
  readonly state: ServiceHealth['state']
  /** That live. */
  readonly processes: number
  readonly versions: readonly string[]
  readonly since: string | null
  readonly problems: readonly string[]
  readonly last_progress_at: string | null
}
