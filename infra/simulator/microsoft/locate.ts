// Which event an id of Graph's stands for. There are two forms, and both work at any time: the
// immutable one names the event wherever it lies, the mutable one names its folder too, so that a
// move ends it. learn.microsoft.com/graph/outlook-immutable-id
import type { Calendar } from '../world/calendar.ts'
import { findEvent, type Target } from '../world/edit.ts'
import type { Account } from '../world/entries.ts'
import { readId } from './event-shape.ts'

export interface Located {
  readonly calendar: Calendar
  readonly target: Target
}

/**
 * The living event of an id, in the given calendar or, where the path names none, in any of the
 * mailbox. null when there is none, 'malformed' for what cannot be an id.
 */
export function locate(account: Account, within: Calendar | null, id: string): Located | null | 'malformed' {
  const read = readId(id)
  if (read === null) return 'malformed'
  const calendars = within === null ? [...account.calendars.values()] : [within]
  for (const calendar of calendars) {
    if (calendar.gone || (read.folder !== null && read.folder !== calendar.id)) continue
    const target = findEvent(calendar, read.id)
    if (target && !(target.kind === 'document' && target.doc.deleted)) return { calendar, target }
  }
  return null
}
