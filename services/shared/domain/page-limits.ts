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

/** How many items to ask for when that many pages in a row were too large. */
export function shrunkSize(usual: number, shrunk: number): number {
  return Math.max(1, Math.floor(usual / 10 ** shrunk))
}
