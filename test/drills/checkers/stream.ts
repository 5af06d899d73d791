// I4: every message of the outbox is on its topic, at least once, with the committed bytes. Counts
// how often one came twice.
import type { AuditRow } from '../ledgers/audit.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'
import { createHash } from 'node:crypto'
import type { Checker, Findings } from './check.ts'

export const everyMessageOut: Checker = {
  id: 'I4',
  title: 'Every outbox row is on the topic, one id has one content',
  check(ledgers): Findings {
    const committed = lettersOf(ledgers.audit)
    const failures: string[] = []
    const seen = new Map<string, string>()
    let checked = 0
    for (const [topic, records] of ledgers.topics) {
      if (!isRelayed(topic)) continue
      for (const { headers, value, offset, partition } of records) {
        const id = headers.get('ce_id')
        if (id === undefined) continue
        checked += 1
        const digest = value === null ? 'null' : createHash('sha256').update(value).digest('hex')
        const place = `${topic}-${partition} at ${offset}`
        const key = `${topic} ${id}`
        const before = seen.get(key)
        if (before !== undefined && before !== digest) failures.push(`${id} has two contents (${place})`)
        seen.set(key, digest)
        const letter = committed.get(key)
        // What other services produce without the outbox has ids of its own.
        if (letter === undefined) {
          if (isOutboxOnly(topic)) failures.push(`${id} was never committed to the outbox (${place})`)
        } else if (letter !== digest) failures.push(`${id} is not what was committed (${place})`)
      }
    }
    for (const key of committed.keys())
      if (!seen.has(key)) failures.push(`${key} was committed and never published`)
    return { checked, failures }
  },
}

/**
 * Records of the changed topic that came again with the same id: allowed after a kill, else zero.
 */
export function repeatedMessages({ topics }: Pick<Ledgers, 'topics'>): number {
  let repeats = 0
  for (const [topic, records] of topics) {
    if (!isOutboxOnly(topic)) continue
    const ids = records.map(({ headers }) => headers.get('ce_id'))
    repeats += ids.length - new Set(ids).size
  }
  return repeats
}

function lettersOf(audit: readonly AuditRow[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  for (const { table, op, new: letter } of audit) {
    if (table !== 'outbox' || op !== 'INSERT' || typeof letter?.['ce_id'] !== 'string') continue
    // Dead letters carry the original record's id, which several may share.
    if (!isRelayed(String(letter['topic']))) continue
    found.set(
      `${String(letter['topic'])} ${letter['ce_id']}`,
      typeof letter['value_hash'] === 'string' ? letter['value_hash'] : 'null',
    )
  }
  return found
}

/** Topics into which nothing but the relay writes. */
function isOutboxOnly(topic: string): boolean {
  return topic.startsWith('calendar.event.') || topic.startsWith('calendar.connection.')
}

function isRelayed(topic: string): boolean {
  return !topic.startsWith('calendar.sync.dead-letter')
}
