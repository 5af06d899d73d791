// Injected faults: what to match and what to do instead of, before or after the real answer.
// The first live fault that matches a request wins; every hit is counted, so that a test can
// prove that its fault was met.
import { createRandom, digest } from '../random.ts'

export interface FaultMatch {
  readonly vendor?: 'google' | 'microsoft'
  /** The kind of call, whatever its path: token, list, write, watch, stop and so on. */
  readonly operation?: string
  readonly method?: string
  /** A regular expression on the path. */
  readonly path?: string
  readonly accountId?: string
  readonly calendarId?: string
  readonly hasPageToken?: boolean
  readonly hasSyncToken?: boolean
  /**
   * It asks for so many items of a list at least, or at most; a call that names no number matches
   * neither.
   */
  readonly itemsAtLeast?: number
  readonly itemsAtMost?: number
}

export interface FaultSpec {
  readonly match?: FaultMatch
  /** Hits after which the fault is spent; absent = until deleted. */
  readonly times?: number
  /** Matching requests that are let through first. */
  readonly skip?: number
  /**
   * Strikes, of each calendar, one place alone: the page token or cursor of the first call that it
   * struck.
   */
  readonly onePlace?: boolean
  /** Probability that a matching request is struck; absent = 1. Drawn from the simulator's seed. */
  readonly chance?: number
  /** Simulated milliseconds after which the fault is over. */
  readonly forMs?: number
  readonly respond?: {
    readonly status: number
    readonly body?: unknown
    readonly headers?: Readonly<Record<string, string>>
    readonly reason?: string
  }
  readonly delayMs?: number
  /** Never answers. */
  readonly hang?: boolean
  /**
   * Closes the connection before or after the work is done:
   * after makes a write ambiguous to its client.
   */
  readonly reset?: 'before' | 'after'
  /** With `respond` or `html`: does the work first, which then nobody hears of. */
  readonly afterWork?: boolean
  /** Sends the real answer at this pace. */
  readonly bytesPerSecond?: number
  /** Sends half of the real answer, and then white space without end. */
  readonly endless?: boolean
  /** Sends the real answer under another content type. */
  readonly contentType?: string
  /** Sends half of the real answer and closes. */
  readonly truncate?: boolean
  /**
   * Sends the real answer with its items so many times,
   * or with so much text beside each of them, whatever was asked for.
   */
  readonly swell?: { readonly copies?: number; readonly bytesPerItem?: number }
  /**
   * Lists never end: a next page follows each, with the same items, with none, or with the same
   * under new ids.
   */
  readonly goesOn?: 'repeating' | 'empty' | 'renaming'
  /** Answers an HTML page, status 502 unless `respond` says otherwise. */
  readonly html?: boolean
}

export interface Fault extends FaultSpec {
  readonly faultId: string
  /** ms epoch; null = until it is spent or deleted. */
  readonly endsAt: number | null
  matched: number
  hits: number
}

export interface FaultSubject {
  readonly vendor: 'google' | 'microsoft'
  readonly operation: string | null
  readonly method: string
  readonly path: string
  readonly accountId: string | null
  readonly calendarId: string | null
  /** The page token or cursor; null on a first page. */
  readonly place: string | null
  readonly hasPageToken: boolean
  readonly hasSyncToken: boolean
  /** How many items it asks for, if it says so. */
  readonly items: number | null
  /** One call of a batch: it has no connection of its own to break. */
  readonly inBatch: boolean
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

export function createFaults(now: () => number, seed: string): Faults {
  const random = createRandom(`${seed}/faults`)
  const faults = new Map<string, Armed>()
  let added = 0
  return {
    add(spec) {
      added += 1
      const path = spec.match?.path === undefined ? null : new RegExp(spec.match.path)
      const fault: Fault = {
        ...spec,
        faultId: `f${added}-${digest(JSON.stringify(spec), 6)}`,
        endsAt: spec.forMs === undefined ? null : now() + spec.forMs,
        matched: 0,
        hits: 0,
      }
      faults.set(fault.faultId, { fault, path, places: new Map() })
      return fault
    },
    remove: (faultId) => faults.delete(faultId),
    clear: () => faults.clear(),
    list: () => [...faults.values()].map(({ fault }) => fault),
    meet(subject) {
      for (const armed of faults.values()) {
        const { fault } = armed
        if (fault.times !== undefined && fault.hits >= fault.times) continue
        if (fault.endsAt !== null && now() >= fault.endsAt) continue
        if (!matches(armed, subject) || !isItsPlace(armed, subject)) continue
        if (subject.inBatch && breaksConnection(fault)) continue
        fault.matched += 1
        if (fault.matched <= (fault.skip ?? 0)) continue
        if (fault.chance !== undefined && !random.chance(fault.chance)) continue
        fault.hits += 1
        if (fault.onePlace && subject.place !== null) armed.places.set(calendarOf(subject), subject.place)
        return fault
      }
      return null
    },
  }
}

function breaksConnection(fault: FaultSpec): boolean {
  const { hang, reset, bytesPerSecond, endless, contentType, truncate } = fault
  return [hang, reset, bytesPerSecond, endless, contentType, truncate].some(Boolean)
}

interface Armed {
  readonly fault: Fault
  readonly path: RegExp | null
  /** Of each calendar, the place that is struck. */
  readonly places: Map<string, string>
}

/**
 * How the page tokens of a list begin that never ends: they are the fault's own, so no other
 * condition on tokens holds.
 */
export const ENDLESS_TOKEN = 'endless-'

function isItsPlace({ fault, places }: Armed, subject: FaultSubject): boolean {
  if (!fault.onePlace) return true
  if (subject.place === null) return false
  return (places.get(calendarOf(subject)) ?? subject.place) === subject.place
}

function calendarOf({ accountId, calendarId }: FaultSubject): string {
  return `${accountId}/${calendarId}`
}

function matches({ fault, path }: Armed, subject: FaultSubject): boolean {
  const { match = {}, goesOn } = fault
  const isOwn = goesOn !== undefined && subject.place?.startsWith(ENDLESS_TOKEN) === true
  const { items } = subject
  return (
    (match.vendor === undefined || match.vendor === subject.vendor) &&
    (match.operation === undefined || match.operation === subject.operation) &&
    (match.method === undefined || match.method.toUpperCase() === subject.method) &&
    (path === null || path.test(subject.path)) &&
    (match.accountId === undefined || match.accountId === subject.accountId) &&
    (match.calendarId === undefined || match.calendarId === subject.calendarId) &&
    (isOwn || match.hasPageToken === undefined || match.hasPageToken === subject.hasPageToken) &&
    (isOwn || match.hasSyncToken === undefined || match.hasSyncToken === subject.hasSyncToken) &&
    (match.itemsAtLeast === undefined || (items !== null && items >= match.itemsAtLeast)) &&
    (match.itemsAtMost === undefined || (items !== null && items <= match.itemsAtMost))
  )
}
