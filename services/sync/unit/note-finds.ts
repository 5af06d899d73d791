// Whether channels tell what they should: a read that no vendor rang for and that finds changes is
// a find of which the channel told nothing. Several in a row make the channel silent
// (store/channels.ts). Side by side with the unit: what is lost here is noticed by the next find.
import type { RequestReason } from '#schemas/messages.gen.ts'
import type { CalendarId } from '#shared/domain/ids.ts'
import type { CalendarRow } from '#shared/store/calendars.ts'
import { countUnrungFinds, forgetUnrungFinds } from '#shared/store/channel-finds.ts'
import type { Unit, UnitDeps } from './unit.ts'

/** A calendar as it was read: `changes` found in it since its cursor. */
export interface Find {
  readonly calendar: Pick<CalendarRow, 'calendarId' | 'cursor' | 'unrungFinds'>
  readonly changes: number
}

export type Finds = { readonly unrung: readonly CalendarId[]; readonly rung: readonly CalendarId[] }

/** What had asked for a read, as the metric of finds tells it. */
export type FoundBy = 'notification' | Exclude<RequestReason, 'webhook' | 'recheck' | 'unknown'>

/**
 * What a find of this calendar is owed to. Pure. A notification of it comes first, and a recheck is
 * the second look that follows one; among the others the oldest request, since it asked first.
 */
export function foundBy(
  requests: readonly { readonly reason: RequestReason; readonly calendarId: string | null }[],
  calendar: CalendarId,
): FoundBy {
  const asked = requests.filter(({ calendarId }) => calendarId === null || calendarId === calendar)
  const reasons = (asked.length > 0 ? asked : requests).map(({ reason }) => reason)
  if (reasons.some((reason) => reason === 'webhook' || reason === 'recheck')) return 'notification'
  const [first = 'unknown'] = reasons
  // A reason that a later version knows is none of ours.
  return first === 'unknown' || first === 'webhook' || first === 'recheck' ? 'notification' : first
}

/**
 * What a unit's reads say of channels. Pure. Only a unit of the reconcile counts: every other
 * request may stand for a notification. A first or full read finds what no channel has to tell.
 */
export function judgeFinds(
  requests: readonly { readonly reason: string; readonly calendarId: CalendarId | string | null }[],
  finds: readonly Find[],
  isDoorOpen: boolean,
): Finds {
  const notified = requests.filter(({ reason }) => reason === 'webhook')
  const isRung = ({ calendar }: Find) =>
    notified.some(({ calendarId }) => calendarId === null || calendarId === calendar.calendarId)
  const isCheck = requests.every(({ reason }) => reason === 'reconcile')
  const ids = (found: readonly Find[]) => found.map(({ calendar }) => calendar.calendarId)
  return {
    unrung:
      isCheck && isDoorOpen
        ? ids(finds.filter(({ calendar, changes }) => changes > 0 && calendar.cursor !== null))
        : [],
    rung: ids(finds.filter((find) => find.calendar.unrungFinds > 0 && isRung(find))),
  }
}

/** Remembers what the reads of a unit say of channels. Throws Failure `store/*`. */
export async function noteFinds(
  { db, gates }: Pick<UnitDeps, 'db' | 'gates'>,
  unit: Pick<Unit, 'requests'>,
  finds: readonly Find[],
): Promise<void> {
  const requests = unit.requests.map(({ message }) => message)
  const { unrung, rung } = judgeFinds(requests, finds, gates.webhook().state === 'on')
  if (unrung.length > 0) await countUnrungFinds(db, unrung)
  if (rung.length > 0) await forgetUnrungFinds(db, rung)
}
