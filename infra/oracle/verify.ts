// Whether two sides hold the same events, and whether a stream tells one consistent story; pure.
// The oracle of the demo and of the integration tests: it knows nothing of adapters, plans or
// stores, only what a finished sync must look like.
import { createHash } from 'node:crypto'
import type { EventChanged } from '#schemas/messages.gen.ts'

/**
 * What both sides say of one event. Times: whole µs since 1970, or the date of an all-day event.
 */
export interface EventImage {
  readonly title: string | null
  readonly status: string
  readonly busy: boolean
  readonly allDay: boolean
  readonly start: number | string
  readonly end: number | string
  readonly timeZone: string | null
  readonly seriesId: string | null
  readonly originalStart: number | string | null
  readonly location: string | null
  readonly organizer: string | null
  readonly updatedAt: number | null
  readonly etag: string | null
}

/** Events by eventKey. */
export type Holdings = ReadonlyMap<string, EventImage>

export interface Difference {
  readonly place: string
  readonly kind: 'missing' | 'extra' | 'field' | 'lost' | 'reordered' | 'altered' | 'unreadable'
  readonly key: string
  readonly story: string
}

/**
 * The name of an event that all sides can compute:
 * our ids of connection and calendar, the vendor's of the event.
 */
export function eventKey(connectionId: string, calendarId: string, vendorEventId: string): string {
  return `${connectionId}/${calendarId}/${vendorEventId}`
}

/**
 * What differs. `mayDiffer` names expected or actual events that may be on one side only:
 * occurrences at the edge of the window, which one side saw a moment earlier than the other.
 */
export function compareHoldings(
  place: string,
  expected: Holdings,
  actual: Holdings,
  mayDiffer: (image: EventImage, key: string) => boolean = () => false,
): Difference[] {
  const found: Difference[] = []
  for (const [key, image] of expected) {
    const held = actual.get(key)
    if (held) found.push(...compareImages(place, key, image, held))
    else if (!mayDiffer(image, key))
      found.push({ place, kind: 'missing', key, story: `should be there: ${describe(image)}` })
  }
  for (const [key, image] of actual) {
    if (!expected.has(key) && !mayDiffer(image, key)) {
      found.push({ place, kind: 'extra', key, story: `should not be there: ${describe(image)}` })
    }
  }
  return found
}

function compareImages(place: string, key: string, expected: EventImage, actual: EventImage): Difference[] {
  const fields = Object.keys(expected) as (keyof EventImage)[]
  return fields
    .filter((field) => expected[field] !== actual[field])
    .map((field) => ({
      place,
      kind: 'field',
      key,
      story: `${field} should be ${JSON.stringify(expected[field])} but is ${JSON.stringify(actual[field])}`,
    }))
}

function describe(image: EventImage): string {
  return `${JSON.stringify(image.title)} ${String(image.start)} … ${String(image.end)} (etag ${image.etag ?? 'none'})`
}

/** One record as a reader of the topic got it. */
export interface StreamRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly key: string
  readonly value: Buffer | null
  readonly headers: ReadonlyMap<string, string>
  /** ms since 1970 by the reader's clock. */
  readonly receivedAtMs: number
  /** null for a tombstone. */
  readonly message: EventChanged | null
  /** Why the value could not be decoded, else null. */
  readonly problem: string | null
}

export interface Fold {
  readonly holdings: Map<string, EventImage>
  readonly differences: Difference[]
  /** Records that came again with the same bytes: allowed after a crash, zero without one. */
  readonly repeats: number
  /** The first sequence read of each connection: above 1, the topic no longer keeps the start. */
  readonly firstSequences: ReadonlyMap<string, number>
}

/**
 * Folds the changed topic as a consumer does: per connection in the order of arrival, dropping
 * sequences already passed. Objects to a gap (lost), to a sequence that comes first after a later
 * one (reordered), to one sequence with two contents (altered), and to a value that does not decode
 * (unreadable). Records: each partition in its order.
 */
export function foldChanges(records: Iterable<StreamRecord>): Fold {
  const fold = {
    holdings: new Map<string, EventImage>(),
    differences: [] as Difference[],
    repeats: 0,
    firstSequences: new Map<string, number>(),
  }
  const passed = new Map<string, { last: number; digests: Map<number, string> }>()
  for (const record of records) {
    const object = (kind: Difference['kind'], story: string) =>
      fold.differences.push({
        place: record.topic,
        kind,
        key: record.key,
        story: `${story} ${where(record)}`,
      })
    const { message } = record
    const sequence = Number(record.headers.get('ce_sequence') ?? Number.NaN)
    if (message === null || record.problem !== null || !Number.isSafeInteger(sequence)) {
      object('unreadable', record.problem ?? 'no value or no ce_sequence')
      continue
    }
    if (message.sequence !== sequence)
      object('altered', `ce_sequence ${sequence}, in the message ${message.sequence}`)
    if (message.connectionId !== record.key)
      object('altered', `the message is of connection ${message.connectionId}`)
    const seen = passed.get(record.key) ?? { last: -1, digests: new Map<number, string>() }
    passed.set(record.key, seen)
    const digest = digestOf(record)
    const before = seen.digests.get(sequence)
    seen.digests.set(sequence, before ?? digest)
    if (before !== undefined) {
      if (before === digest) fold.repeats += 1
      else object('altered', `sequence ${sequence} came again with another content`)
      continue
    }
    if (sequence < seen.last) object('reordered', `sequence ${sequence} came after ${seen.last}`)
    // The first one read may follow records that the topic no longer keeps.
    else if (seen.last !== -1 && sequence !== seen.last + 1)
      object('lost', `sequence ${sequence} came after ${seen.last}`)
    if (seen.last === -1) fold.firstSequences.set(record.key, sequence)
    seen.last = Math.max(seen.last, sequence)
    apply(fold.holdings, message)
  }
  return fold
}

/** Folds the compacted topic: the last value of each key, tombstones removing it. */
export function foldState(records: Iterable<StreamRecord>): Fold {
  const fold = {
    holdings: new Map<string, EventImage>(),
    differences: [] as Difference[],
    repeats: 0,
    firstSequences: new Map<string, number>(),
  }
  const keys = new Map<string, string>()
  for (const record of records) {
    if (record.problem !== null) {
      const { topic: place, key, problem } = record
      fold.differences.push({ place, kind: 'unreadable', key, story: `${problem} ${where(record)}` })
    } else if (record.message !== null) {
      // Compaction takes away what has a tombstone, nothing else.
      if (record.message.event === null)
        fold.differences.push({
          place: record.topic,
          kind: 'altered',
          key: record.key,
          story: `a removal has to be a tombstone ${where(record)}`,
        })
      keys.set(record.key, keyOf(record.message))
      apply(fold.holdings, record.message)
    } else {
      const known = keys.get(record.key)
      if (known !== undefined) fold.holdings.delete(known)
    }
  }
  return fold
}

function apply(holdings: Map<string, EventImage>, message: EventChanged): void {
  if (message.change === 'upserted' && message.event !== null) {
    holdings.set(keyOf(message), imageOf(message.event))
  } else holdings.delete(keyOf(message))
}

function keyOf({ connectionId, calendarId, vendorEventId }: EventChanged): string {
  return eventKey(connectionId, calendarId, vendorEventId)
}

/**
 * Answers, kinds and show-as are left out: the play vendors' truth has none, the oracle of busy
 * judges them.
 */
function imageOf(event: NonNullable<EventChanged['event']>): EventImage {
  const { title, status, busy, allDay, start, end, originalStart } = event
  const { timeZone, seriesId, location, organizer, updatedAt, etag } = event
  return {
    title,
    status,
    busy,
    allDay,
    start: start.date ?? start.at ?? 'none',
    end: end.date ?? end.at ?? 'none',
    timeZone,
    seriesId,
    originalStart: originalStart === null ? null : (originalStart.date ?? originalStart.at),
    location,
    organizer,
    updatedAt,
    etag,
  }
}

/** A repeated batch has the same bytes and the same ce_id. */
function digestOf(record: StreamRecord): string {
  const hash = createHash('sha256').update(record.headers.get('ce_id') ?? 'none')
  return hash.update(record.value ?? '').digest('base64')
}

function where({ topic, partition, offset }: StreamRecord): string {
  return `(${topic}-${partition} at ${offset})`
}

/** One change as the vendor's ledger has it. `version` grows with every change, over all events. */
export interface LedgerChange {
  readonly atMs: number
  readonly version: number
  /** Events that it changed and that live on: several for a change of a series. */
  readonly changed: readonly string[]
  /** Events that it ended. */
  readonly removed: readonly string[]
}

/** One observation on the stream: the version of an event that a record carries, or its removal. */
export interface Observation {
  readonly key: string
  readonly receivedAtMs: number
  /** null for a removal. */
  readonly version: number | null
}

export interface Freshness {
  readonly samplesMs: readonly number[]
  /**
   * Changes of which an event is not covered by any record:
   * lost, if the vendor still has that event.
   */
  readonly uncovered: readonly { readonly change: LedgerChange; readonly key: string }[]
}

/**
 * How long each change took to reach the reader, whole: until the last of its events was covered.
 * An event is covered by its first record that was received after the change and carries this
 * version or a later one, because a pull sees the latest and versions in between may be skipped; a
 * removal covers what went before it, a later version covers a removal. An event that came and went
 * between two pulls leaves no record, and there is nothing to wait for: `exists` says whether the
 * vendor still has it. Observations: those of one event in the order of their receipt.
 */
export function measureFreshness(
  changes: readonly LedgerChange[],
  observations: readonly Observation[],
  exists: (key: string) => boolean,
): Freshness {
  const byKey = Map.groupBy(observations, ({ key }) => key)
  const samplesMs: number[] = []
  const uncovered: Freshness['uncovered'][number][] = []
  for (const change of changes) {
    const touched = [
      ...change.changed.map((key) => ({ key, oldest: change.version })),
      // The version that ended the event is never on the stream as an event.
      ...change.removed.map((key) => ({ key, oldest: change.version + 1 })),
    ]
    const times: number[] = []
    for (const { key, oldest } of touched) {
      const seen = byKey.get(key) ?? []
      const first = seen.find(
        ({ receivedAtMs, version }) => receivedAtMs >= change.atMs && (version === null || version >= oldest),
      )
      if (first) times.push(first.receivedAtMs)
      else if (exists(key) || (seen.at(-1)?.version ?? null) !== null) uncovered.push({ change, key })
    }
    if (times.length > 0) samplesMs.push(Math.max(...times) - change.atMs)
  }
  return { samplesMs, uncovered }
}

/**
 * The value below which the given share of the samples lies (nearest rank); null without samples.
 */
export function percentile(samples: readonly number[], share: number): number | null {
  if (samples.length === 0) return null
  const sorted = samples.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null
}
