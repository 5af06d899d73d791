// How a calendar is listed, and what is tried next when one way leads nowhere. Pure. A plain
// listing asks for the window as it is and not for changes, so it gives no cursor: a calendar that
// can be read in no other way is listed again and again.

/**
 * `usual`: changes, in the pages that the vendor serves best. `other-pages`, `small-pages`: the
 * same in pages of another size. `plain`: the window as it is.
 */
export type Reading = 'usual' | 'other-pages' | 'small-pages' | 'plain'

/**
 * How long a calendar is read in other pages before the usual ones are tried again; it is fresh.
 */
export const USUAL_AGAIN_MS = 24 * 60 * 60 * 1000
/** A plain listing is behind as soon as it ends, so the usual way is tried again soon. */
const USUAL_AFTER_PLAIN_MIN_MS = 30 * 60 * 1000
/** It was time to try while the plain listing ran: what was dead before may answer again. */
const USUAL_AT_ONCE_MS = 60 * 1000
/**
 * Between two plain listings, for each page that one took: five calls an hour for a calendar that
 * cannot be read otherwise.
 */
export const PLAIN_COOL_DOWN_PER_PAGE_MS = 12 * 60 * 1000
/** A large calendar may cost more, so that it is never older than this. */
export const PLAIN_COOL_DOWN_MAX_MS = 60 * 60 * 1000

/**
 * The next way after a run that got nowhere. Other pages come first: Graph is reported to repeat
 * itself when a daily series does not fit into one of its pages
 * (github.com/microsoftgraph/msgraph-sdk-dotnet/issues/3070 and 3082, 2026-04). A calendar that
 * only a plain listing could read stays with it when a try of the usual way ends so again; so does
 * one that nothing could read, which begins each time with such a try.
 */
export function readingAfterNoProgress(tried: Reading, known: Reading): Reading {
  return known === 'plain' || tried === 'plain' || tried === 'other-pages' ? 'plain' : 'other-pages'
}

/** Stands where a cursor would after a plain listing; no vendor is ever sent it. */
export const PLAIN_END = 'plain'

const FROM_THE_START: readonly Reading[] = ['small-pages', 'plain', 'usual']

/**
 * The way of the `nth` (from 0) read from the start because a place was dead:
 * never the one that has just failed.
 */
export function readingFromStart(nth: number, failed: Reading): Reading {
  const at = nth % FROM_THE_START.length
  const reading = FROM_THE_START[at]!
  return reading === failed ? FROM_THE_START[(at + 1) % FROM_THE_START.length]! : reading
}

/**
 * How long after a try of the usual way that led nowhere the next one is made. It pays for its
 * pages as a plain listing does, so one of up to five pages is made again within the hour.
 * `pages`: those that it took; 1 for what made the first plain listing necessary.
 */
export function usualAfterPlainMs(pages: number): number {
  return Math.min(USUAL_AGAIN_MS, Math.max(USUAL_AFTER_PLAIN_MIN_MS, pages * PLAIN_COOL_DOWN_PER_PAGE_MS))
}

/**
 * The cool-down of a calendar after a plain listing, before it is read whole again. `pages`: its
 * own, and those of the try that it followed; `usualInMs`: until the usual way may be tried.
 */
export function coolDownAfterPlainMs(pages: number, usualInMs: number): number {
  return usualInMs > 0 ? plainCoolDownMs(pages) : USUAL_AT_ONCE_MS
}

/** The cool-down of a calendar after a plain listing of so many pages. */
export function plainCoolDownMs(pages: number): number {
  return Math.min(PLAIN_COOL_DOWN_MAX_MS, Math.max(1, pages) * PLAIN_COOL_DOWN_PER_PAGE_MS)
}
