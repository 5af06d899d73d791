// The request log: every vendor API call as the simulator saw it. Tokens never enter it: access
// tokens stay in their header, and a token in a query is redacted; sync and page tokens are kept,
// because the oracles follow cursors through them.
import { createLedger, type Ledger } from './ledger.ts'

const REQUESTS_KEPT = 500_000

export interface RequestEntry {
  readonly seq: number
  /** ms epoch, fractional. */
  readonly start: number
  readonly end: number
  readonly vendor: 'google' | 'microsoft'
  readonly method: string
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly accountId: string | null
  readonly calendarId: string | null
  /** 0 when the client never got a whole answer. */
  readonly status: number
  readonly items?: number
  readonly syncTokenIn?: string
  readonly syncTokenOut?: string
  readonly pageTokenIn?: string
  /** As it was sent: a caller that comes back earlier is impolite. */
  readonly retryAfter?: string
  readonly faultId?: string
}

export type RequestLog = Ledger<RequestEntry> & {
  readonly record: (entry: Omit<RequestEntry, 'seq'>) => void
}

export function createRequestLog(): RequestLog {
  const ledger = createLedger<RequestEntry>(REQUESTS_KEPT)
  let seq = 0
  return Object.assign(ledger, {
    record(entry: Omit<RequestEntry, 'seq'>) {
      seq += 1
      ledger.append({ seq, ...entry })
    },
  })
}

/** A query as a record, without what would let somebody in. */
export function redactQuery(query: URLSearchParams): Record<string, string> {
  const secret = ['access_token', 'token', 'code', 'refresh_token', 'client_secret', 'code_verifier']
  return Object.fromEntries(
    [...query].map(([name, value]) => [name, secret.includes(name) ? '[redacted]' : value]),
  )
}
