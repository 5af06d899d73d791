// The figures of the whole installation, as the page of the fleet and its JSON have them.

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
