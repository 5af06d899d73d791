// A calendar under another id. Its former id may answer on,
// as an address of Google does that was changed.
import type { Account, Entry } from './entries.ts'

/** Applies a journalled rename; one of a calendar that is not there does nothing. */
export function applyRename(
  account: Account | undefined,
  { c, id, alias }: Extract<Entry, { k: 'calendar-id' }>,
): void {
  const calendar = account?.calendars.get(c)
  if (!account || !calendar) return
  // In the order of before: pages of the list go by it.
  const all = [...account.calendars.values()]
  calendar.id = id
  account.calendars.clear()
  for (const one of all) account.calendars.set(one.id, one)
  if (alias) account.aliases = { ...account.aliases, [c]: id }
}
