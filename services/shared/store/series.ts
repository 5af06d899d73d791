// Which series are stored, for a page that touches some.
import type { CalendarId, Micros } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

interface Witness {
  readonly vendorEventId: string
  /** Its start; midnight of a date. */
  readonly at: Micros
}

/**
 * Of each of these series one occurrence that is stored and is not among `except`, the last one: so
 * a series without an entry has nothing that could be left behind. Throws Failure `store/*`.
 */
export async function witnessesOf(
  db: Queryable,
  calendar: CalendarId,
  asked: { readonly seriesIds: readonly string[]; readonly except: readonly string[] },
): Promise<ReadonlyMap<string, Witness>> {
  if (asked.seriesIds.length === 0) return new Map()
  const { rows } = await db.query<Witness & { seriesId: string }>(
    `select distinct on (series_id) series_id as "seriesId", vendor_event_id as "vendorEventId",
         to_micros(coalesce(start_at, start_date::timestamptz)) as at
       from external_calendar_events
      where calendar_id = $1 and series_id = any($2::text[]) and not vendor_event_id = any($3::text[])
      order by series_id, coalesce(start_at, start_date::timestamptz) desc, vendor_event_id`,
    [calendar, asked.seriesIds, asked.except],
  )
  return new Map(rows.map(({ seriesId, ...witness }) => [seriesId, witness]))
}
