// What reads found for which no channel rang, counted per calendar.
import type { CalendarId } from '#shared/domain/ids.ts'
import type { Queryable } from './database.ts'

/** One more find in a row of each of these calendars. */
export async function countUnrungFinds(db: Queryable, calendars: readonly CalendarId[]): Promise<void> {
  await db.query(
    'update external_calendars set unrung_finds = least(unrung_finds + 1, 1000) where id = any($1::uuid[])',
    [calendars],
  )
}

/** Their channels rang: the row of finds is over. */
export async function forgetUnrungFinds(db: Queryable, calendars: readonly CalendarId[]): Promise<void> {
  await db.query('update external_calendars set unrung_finds = 0 where id = any($1::uuid[])', [calendars])
}
