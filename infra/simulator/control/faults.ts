// Injected faults: what to match and what to do instead of, before or after the real answer. The first live fault that matches a
// request wins; every hit is counted, so that a test can prove that its fault was met.
import { digest } from '../random.ts'

export interface FaultMatch {
  readonly method?: string
  /** A regular expression on the path. */
  readonly path?: string
  readonly accountId?: string
  readonly calendarId?: string
  readonly hasPageToken?: boolean
  readonly hasSyncToken?: boolean
}

export interface FaultSpec {
  readonly match?: FaultMatch
  /** Hits after which the fault is spent; absent = until deleted. */
  readonly times?: number
  /** Matching requests that are let through first. */
  readonly skip?: number
  readonly respond?: {
    readonly status: number
    readonly body?: unknown
    readonly headers?: Readonly<Record<string, string>>
    readonly reason?: string
  }
  readonly delayMs?: number
  /** Never answers. */
  readonly hang?: boolean
  /** Closes the connection before or after the work is done: after makes a write ambiguous to its client. */
  readonly reset?: 'before' | 'after'
  /** Sends half of the real answer and closes. */
  readonly truncate?: boolean
  /** Answers an HTML page, status 502 unless `respond` says otherwise. */
  readonly html?: boolean
}

export interface Fault extends FaultSpec {
  readonly faultId: string
  matched: number
  hits: number
}

export interface FaultSubject {
  readonly method: string
  readonly path: string
  readonly accountId: string | null
  readonly calendarId: string | null
  readonly hasPageToken: boolean
  readonly hasSyncToken: boolean
}

export interface Faults {
  /** Throws when the path is no regular expression. */
  add(spec: FaultSpec): Fault
  remove(faultId: string): boolean
  clear(): void
  list(): readonly Fault[]
  /** The fault that this request meets, counted as a hit. */
  meet(subject: FaultSubject): Fault | null
}

export function createFaults(): Faults {
  const faults = new Map<string, { fault: Fault; path: RegExp | null }>()
  let added = 0
  return {
    add(spec) {
      added += 1
      const path = spec.match?.path === undefined ? null : new RegExp(spec.match.path)
      const fault: Fault = {
        ...spec,
        faultId: `f${added}-${digest(JSON.stringify(spec), 6)}`,
        matched: 0,
        hits: 0,
      }
      faults.set(fault.faultId, { fault, path })
      return fault
    },
    remove: (faultId) => faults.delete(faultId),
    clear: () => faults.clear(),
    list: () => [...faults.values()].map(({ fault }) => fault),
    meet(subject) {
      for (const { fault, path } of faults.values()) {
        if (fault.times !== undefined && fault.hits >= fault.times) continue
        if (!matches(fault.match ?? {}, path, subject)) continue
        fault.matched += 1
        if (fault.matched <= (fault.skip ?? 0)) continue
        fault.hits += 1
        return fault
      }
      return null
    },
  }
}

function matches(match: FaultMatch, path: RegExp | null, subject: FaultSubject): boolean {
  return (
    (match.method === undefined || match.method.toUpperCase() === subject.method) &&
    (path === null || path.test(subject.path)) &&
    (match.accountId === undefined || match.accountId === subject.accountId) &&
    (match.calendarId === undefined || match.calendarId === subject.calendarId) &&
    (match.hasPageToken === undefined || match.hasPageToken === subject.hasPageToken) &&
    (match.hasSyncToken === undefined || match.hasSyncToken === subject.hasSyncToken)
  )
}
