// Whether a run gets anywhere: told by the content of its pages, never by their number or their
// tokens. Pure. A vendor may hand out next pages without end, with the same items under ever new
// tokens; a large calendar may take thousands of pages. What a run was told is kept as short
// hashes: the newest in memory, a few of them in the checkpoint.
import { hash } from 'node:crypto'
import type { Reading } from '#shared/domain/reading.ts'

/** A thing that a page names, and which state of it; null: the vendor gives none. */
export interface Told {
  readonly id: string
  readonly version: string | null
}

/** What a run has been told so far. */
export interface Progress {
  /** Hashes of ids to hashes of versions, the newest last. */
  readonly seen: Map<string, string>
  /** Things told, repeated ones too; a page counts as one at least. */
  readonly told: number
  /** How long nothing new has come, in points; see `weighPage`. */
  readonly idle: number
}

/** What the checkpoint keeps of it. */
export interface KeptProgress {
  readonly seen: readonly (readonly [id: string, version: string])[]
  readonly told: number
  readonly idle: number
}

/**
 * 48 bits: of 20 000 things two share a hash once in a million runs,
 * and then one of them seems known.
 */
const HASH_CHARS = 8
/** A cycle of so many things is seen as one; about 2 MB. */
export const SEEN_MAX = 20_000
/** A slow vendor fills less than this in the minute of a unit; 10 kB of a row. */
export const KEPT_MAX = 400
/** A run ends at this much. */
export const IDLE_MAX = 200
/**
 * Nothing but what was told before, in the same state: the second such page in a row ends a run.
 */
const REPEATED = 100
/**
 * Empty pages are normal: Google documents them, and Graph is seen to send many in a row
 * before the last page (github.com/microsoftgraph/msgraph-sdk-java/issues/493, 2020-09). The
 * fortieth in a row ends a run.
 */
const EMPTY = 5
/** After a plain listing nothing else is left to try, so the hundredth ends one. */
const EMPTY_PLAIN = 2
/**
 * Known things in another state: a calendar may change while it is read, but not fifty pages long.
 */
const CHANGED = 4
/**
 * Of a calendar that got nowhere the last time, each such page weighs at least this: three calls
 * are enough to see it again, and what an ill calendar may cost in an hour is ten.
 */
const AGAIN = 67
/**
 * The largest calendar that we know of has 300 000 events;
 * a listing of the window that names more never ends.
 */
export const TOLD_MAX = 600_000

export const NO_PROGRESS_YET: Progress = { seen: new Map(), told: 0, idle: 0 }

/** How a run lists, and whether the last one of its calendar got nowhere. */
export interface Listing {
  readonly reading?: Reading
  readonly isAgain?: boolean
}

/**
 * The progress of a run after one more page.
 * It takes the memory of `before` over, which is not to be used any more.
 */
export function weighPage(
  before: Progress,
  page: readonly Told[],
  { reading = 'usual', isAgain = false }: Listing = {},
): Progress {
  const seen = before.seen.size === 0 ? new Map<string, string>() : before.seen
  let isNew = false
  let isChanged = false
  for (const { id, version } of page) {
    const key = hashOf(id)
    const state = version === null ? '' : hashOf(version)
    const known = seen.get(key)
    if (known === undefined) isNew = true
    else if (known !== state) isChanged = true
    seen.delete(key)
    seen.set(key, state)
  }
  forgetOldest(seen)
  const told = before.told + Math.max(1, page.length)
  if (isNew) return { seen, told, idle: 0 }
  const empty = reading === 'plain' ? EMPTY_PLAIN : EMPTY
  const weight = page.length === 0 ? empty : isChanged ? CHANGED : REPEATED
  return { seen, told, idle: before.idle + (isAgain ? Math.max(weight, AGAIN) : weight) }
}

/** Whether a run that is told to continue leads nowhere. */
export function leadsNowhere({ idle, told }: Progress): boolean {
  return idle >= IDLE_MAX || told >= TOLD_MAX
}

/** What to keep of it in the checkpoint. */
export function keptProgress({ seen, told, idle }: Progress): KeptProgress {
  return { seen: [...seen].slice(-KEPT_MAX), told, idle }
}

/** The progress that a checkpoint kept; one of before has none. */
export function progressOf(kept: KeptProgress | undefined): Progress {
  return kept === undefined ? NO_PROGRESS_YET : { ...kept, seen: new Map(kept.seen) }
}

function forgetOldest(seen: Map<string, string>): void {
  for (const oldest of seen.keys()) {
    if (seen.size <= SEEN_MAX) return
    seen.delete(oldest)
  }
}

function hashOf(text: string): string {
  return hash('sha256', text, 'base64url').slice(0, HASH_CHARS)
}
