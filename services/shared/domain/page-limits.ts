// How much one answer of a vendor may hold. What is larger is asked for in smaller pages, and fails its calendar when even those
// are too large: no answer of a vendor may take the memory or the turn of the event loop from the others.

/** Of one answer, decoded. 2 500 events of Google with the fields that we read have 1.5 MB, 200 whole ones of Graph 1 to 3 MB. */
export const ANSWER_BYTES_MAX = 16 * 1024 * 1024
/** Events, removals or calendars of one answer; vendors promise at most 2 500. */
export const PAGE_ITEMS_MAX = 10_000
/** Values of the JSON of one answer: 10 000 events have 350 000. What stays below is parsed in 0.1 s. */
export const ANSWER_VALUES_MAX = 500_000
/** How often a page is asked for again with a tenth of its items. */
export const PAGE_SHRINKS_MAX = 2
/** How much of a shrinking each stored page takes back: the next asks for a quarter more, ten for ten times as many. */
const PAGE_GROWTH = 0.1

/** How far pages are shrunk after one more was too large; null when they are at their smallest. */
export function shrunkFurther(shrunk: number): number | null {
  return shrunk < PAGE_SHRINKS_MAX ? Math.min(PAGE_SHRINKS_MAX, shrunk + 1) : null
}

/** How far they still are after one of them was stored: few places of a calendar are dense, and they pass. */
export function grownAgain(shrunk: number): number {
  return Math.max(0, Math.round((shrunk - PAGE_GROWTH) * 10) / 10)
}

/** How many items to ask for when pages are shrunk that far: a tenth for each 1. */
export function shrunkSize(usual: number, shrunk: number): number {
  return Math.max(1, Math.floor(usual / 10 ** shrunk))
}
