// Of `calstream status`: how many connections are kept back by which cause, those of long ago
// first. Pure.
import { entryOf } from '#shared/domain/causes.ts'
import { isoOf } from '#shared/domain/instant.ts'
import type { CauseCount } from '#shared/store/cause-counts.ts'
import type { Finding } from './status-report.ts'
import { count } from './words.ts'

interface CountedCause {
  readonly cause: string
  readonly vendor: string
  readonly connections: number
  readonly effect: string
  /** Who can do something about it. */
  readonly actor: string
  /** Of the connection that has it longest. */
  readonly oldest_since: string | null
}

export function causeDocuments(counts: readonly CauseCount[]): readonly CountedCause[] {
  return counts.map(({ cause, vendor, connections, oldestSince }) => {
    const { effect, actor } = entryOf(cause)
    return { cause, vendor, connections, effect, actor, oldest_since: isoOf(oldestSince) }
  })
}

/** Empty where no connection has a cause. */
export function causeLines(counts: readonly CauseCount[]): readonly string[] {
  if (counts.length === 0) return []
  const lines = causeDocuments(counts).map(({ cause, vendor, connections, actor, oldest_since: since }) => {
    const age = since === null ? '' : `  since ${since}`
    return `  ${cause.padEnd(24)} ${String(connections).padStart(7)}  ${vendor.padEnd(9)}  who acts: ${actor}${age}`
  })
  return ['', 'Causes, the oldest first (docs/why.md; calstream connections list --cause <cause>):', ...lines]
}

/**
 * What keeps calendars back and is no state of their connection, so that no count of states tells
 * of it. Plain listings have a finding of their own.
 */
export function causeFindings(counts: readonly CauseCount[]): readonly Finding[] {
  const totals = new Map<CauseCount['cause'], number>()
  for (const { cause, connections } of counts) {
    const { effect, state } = entryOf(cause)
    if (effect === 'warns' || state !== null || cause === 'plain_listing') continue
    totals.set(cause, (totals.get(cause) ?? 0) + connections)
  }
  return [...totals].map(([cause, connections]) => ({
    what: cause,
    found: count(connections, 'connection'),
    do: `calstream connections list --cause ${cause}`,
  }))
}
