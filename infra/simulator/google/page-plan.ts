// How many items a page gets. Google may return fewer than asked for, none at all, and a token
// after either; clients that count items instead of following tokens lose data. The same page of
// the same run comes out the same each time it is asked for.
import { createRandom } from '../random.ts'
import type { Knobs } from '../control/knobs.ts'

export interface PageQuestion {
  readonly runKey: string
  readonly page: number
  readonly remaining: number
  readonly maxResults: number
}

export interface PageSize {
  readonly items: number
  /** A token follows even though nothing is left: the last page is then an empty one. */
  readonly trailing: boolean
}

/**
 * Decides a page's size. Progress is certain:
 * of two pages in a row at most one is empty while items remain.
 */
export function planPage(seed: string, paging: Knobs['paging'], question: PageQuestion): PageSize {
  const { runKey, page, remaining } = question
  const max = Math.max(1, Math.min(question.maxResults, paging.pageSizeMax))
  if (remaining === 0) return { items: 0, trailing: false }
  const random = createRandom(`${seed}/${runKey}/${page}`)
  const single = page === 0 && remaining <= max
  const emptyDraw = random.next()
  const shortDraw = random.next()
  const trailingDraw = random.next()
  // "sometimes" leaves answers that fit into one page alone:
  // such oddities are seen on long listings.
  const empty = paging.emptyPages === true ? page % 2 === 0 : !single && page % 2 === 1 && emptyDraw < 0.15
  if (paging.emptyPages !== false && empty) return { items: 0, trailing: false }
  const short =
    paging.shortPages === true || (paging.shortPages === 'sometimes' && !single && shortDraw < 0.25)
  const items = short ? 1 + random.below(Math.max(1, Math.min(max, remaining) - 1)) : Math.min(max, remaining)
  const trailing = items === remaining && (paging.emptyPages === true ? trailingDraw < 0.5 : false)
  return { items, trailing }
}
