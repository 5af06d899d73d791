// Where a run of Graph's changes stands, as the text that is kept between two pages. A page of a
// delta says of a series only that something about it changed, and of a removed event only its id;
// what is left to look at travels here, so that one call of the port stays a handful of calls to
// Graph and a run can be picked up by another process.
import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { Micros } from '#shared/domain/ids.ts'
import type { Page } from '../vendor.ts'

/**
 * Enough for all series of a mailbox in one run;
 * beyond it the oldest are read a second time, which is only slower.
 */
const SEEN_MAX = 4000

const placeSchema = z.object({
  /** The next page of the delta; null while details of the last one are left. */
  link: z.string().nullable(),
  details: z
    .object({
      /** The page that named them: a link, or null for the first page of a run. */
      page: z.string().nullable(),
      readAt: z.number().int(),
      series: z.array(
        z.object({
          id: z.string(),
          createdAt: z.number().int().nullable(),
          changedAt: z.number().int().nullable(),
          keys: z.array(z.string()),
        }),
      ),
      removed: z.array(z.string()),
      onward: z.object({ kind: z.enum(['more', 'end']), link: z.string() }),
    })
    .nullable(),
  /** Keys of versions of series that were read in this run. */
  seen: z.array(z.string()),
})

/** See the fields of the schema. */
export type Place = z.output<typeof placeSchema>
export type Details = NonNullable<Place['details']>
export type PendingSeries = Details['series'][number]

/** The place as a page token. */
function writePlace(place: Place): string {
  return JSON.stringify({ ...place, seen: place.seen.slice(-SEEN_MAX) })
}

/** The place in a page token; null for one that was never written here. */
export function readPlace(pageToken: string): Place | null {
  try {
    return placeSchema.safeParse(JSON.parse(pageToken)).data ?? null
  } catch {
    return null
  }
}

/** Where a run continues: with details that are left, or where the last page of the delta led. */
export function nextFromPlace(place: Place, onward: Details['onward']): Page['next'] {
  if (place.details !== null) return { kind: 'more', pageToken: writePlace(place) }
  if (onward.kind === 'end') return { kind: 'end', cursor: onward.link }
  return { kind: 'more', pageToken: writePlace({ ...place, link: onward.link }) }
}

/** Names one version of a series in 8 characters; null when the vendor gave no version. */
export function versionKey(seriesId: string, etag: string | null): string | null {
  if (etag === null) return null
  return createHash('sha256').update(`${seriesId}\n${etag}`).digest('base64url').slice(0, 8)
}

/** What a page says of a series more than once, as one. */
export function mergePending(
  known: PendingSeries | undefined,
  row: Pick<PendingSeries, 'createdAt' | 'changedAt'> & {
    readonly seriesId: string
    readonly key: string | null
  },
): PendingSeries {
  return {
    id: row.seriesId,
    createdAt: row.createdAt ?? known?.createdAt ?? null,
    changedAt: later(known?.changedAt ?? null, row.changedAt),
    keys: [...new Set([...(known?.keys ?? []), ...(row.key === null ? [] : [row.key])])],
  }
}

function later(a: Micros | null, b: Micros | null): Micros | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b)
}
