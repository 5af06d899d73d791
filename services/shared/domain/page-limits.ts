// How much one answer of a vendor may hold. What is larger is asked for in smaller pages, and fails
// its calendar when even those are too large: no answer of a vendor may take the memory or the
// event loop from the others.

/**
 * Of one answer, decoded. 2 500 events of the play Google, with the fields that we read, have
 * 1.0 MB, and 1.5 MB with every field set; 200 whole ones of the play Graph 0.3 MB without bodies,
 * so 80 kB are left for each body.
 */
export const ANSWER_BYTES_MAX = 16 * 1024 * 1024
/** Events, removals or calendars of one answer; vendors promise at most 2 500. */
export const PAGE_ITEMS_MAX = 10_000
/**
 * Values of the JSON of one answer. An event has 16 at the play Google (22 with every field set)
 * and 59 at the play Graph. 10 000 events of Google are parsed in 25 ms of CPU; the worst that we
 * found below this bound, an object of 499 000 names, takes 0.5 s.
 */
export const ANSWER_VALUES_MAX = 500_000
/** How often a page is asked for again with a tenth of its items. */
export const PAGE_SHRINKS_MAX = 2
/**
 * How much of a shrinking each stored page takes back:
 * the next asks for a quarter more, ten for ten times as many.
 */
const PAGE_GROWTH = 0.1

/** How far pages are shrunk after one more was too large; null when they are at their smallest. */
export function shrunkFurther(shrunk: number): number | null {
  return shrunk < PAGE_SHRINKS_MAX ? Math.min(PAGE_SHRINKS_MAX, shrunk + 1) : null
}

/**
 * How far they still are after one of them was stored:
 * few places of a calendar are dense, and they pass.
 */
export function grownAgain(shrunk: number): number {
  return Math.max(0, Math.round((shrunk - PAGE_GROWTH) * 10) / 10)
}

/** How many items to ask for when pages are shrunk that far: a tenth for each 1. */
export function shrunkSize(usual: number, shrunk: number): number {
  return Math.max(1, Math.floor(usual / 10 ** shrunk))
}
