// The causes that a calendar's own row tells. Pure.
import { causeOf, type Cause } from './cause.ts'
import { STALE_AFTER_MS, type CalendarFacts } from './connection-facts.ts'
import type { CalendarId, Micros } from './ids.ts'
import { nameInWords, whyIll } from './ill-words.ts'
import { isoOf } from './instant.ts'

export interface CalendarWhyFacts extends CalendarFacts {
  readonly id: CalendarId
  /** As the vendor writes it. */
  readonly name: string | null
}

/** Of one calendar. `now`: database clock. Not in order. */
export function causesOfCalendar(calendar: CalendarWhyFacts, now: Micros): readonly Cause[] {
  if (!calendar.selected) return [leftOut(calendar)]
  return [...readingCauses(calendar, now), ...pushCauses(calendar, now)]
}

function leftOut({ removalReason, name }: CalendarWhyFacts): Cause {
  const gone = `${nameInWords(name)} was deleted, or is no longer shared with the account.`
  return removalReason === null
    ? causeOf('calendar_left_out', {
        text: `${nameInWords(name)} was taken out of sync.`,
        action: 'The app takes it into sync again.',
      })
    : causeOf('calendar_left_out', {
        text: gone,
        action: 'Connecting the account again brings it back if it is there again.',
      })
}

function readingCauses(calendar: CalendarWhyFacts, now: Micros): readonly Cause[] {
  const { ill, name, missingSince, isDeleteHeld = false, plain = null, coolDownUntil, readNeeded } = calendar
  const found: Cause[] = []
  const called = nameInWords(name)
  const until = coolDownUntil !== null && coolDownUntil > now ? coolDownUntil : null
  if (ill !== null) {
    const isAhead = ill.nextTryAt !== null && ill.nextTryAt > now
    found.push(
      causeOf('calendar_ill', {
        text: `${called}: ${whyIll(ill, now)}`,
        since: ill.since,
        until: isAhead ? ill.nextTryAt : null,
      }),
    )
  }
  if (missingSince !== null) {
    const text = `The vendor did not list ${called} at ${isoOf(missingSince)}.`
    found.push(causeOf('calendar_not_listed', { text, since: missingSince }))
  }
  if (isDeleteHeld) {
    const text = `A full read of ${called} lacked so many events that it is not believed yet. They are kept.`
    found.push(causeOf('held_mass_delete', { text, since: calendar.lastFullReadAt, until }))
  }
  if (plain !== null) {
    const usual =
      plain.usualFrom === null ? '' : ` Asking for changes is tried again from ${isoOf(plain.usualFrom)} on.`
    const text = `Asking the vendor for changes of ${called} led nowhere, so it is listed as a whole.`
    found.push(causeOf('plain_listing', { text, until, next: `It is listed at least once an hour.${usual}` }))
  } else if (until !== null && !isDeleteHeld && ill === null && readNeeded) {
    const text = `${called} has to be read from the start, which begins at ${isoOf(until)}.`
    found.push(causeOf('cooling_down', { text, until }))
  }
  return found.length > 0 ? found : owedCauses(calendar, called, now)
}

function owedCauses(
  { lastReadAt, readNeeded }: CalendarWhyFacts,
  called: string,
  now: Micros,
): readonly Cause[] {
  if (lastReadAt === null)
    return [causeOf('first_read', { text: `${called} is being read for the first time.` })]
  if (lastReadAt < now - STALE_AFTER_MS * 1000)
    return [causeOf('late', { text: `${called} was last read at ${isoOf(lastReadAt)}.`, since: lastReadAt })]
  if (!readNeeded) return []
  return [causeOf('catching_up', { text: `${called} has more to read than was read.`, since: lastReadAt })]
}

function pushCauses({ push = null, name }: CalendarWhyFacts, now: Micros): readonly Cause[] {
  if (push === null) return []
  const called = nameInWords(name)
  switch (push.kind) {
    case 'failing': {
      const until = push.retryAt !== null && push.retryAt > now ? push.retryAt : null
      const times = push.attempts === 1 ? 'once' : `${push.attempts} times in a row`
      const text = `The vendor did not open or renew the channel of ${called}, ${times}, so it is polled.`
      return [causeOf('channel_failing', { text, until })]
    }
    case 'silent': {
      const text = `The channel of ${called} told nothing of changes that ${push.finds} reads in a row found, so it is polled.`
      return [causeOf('channel_silent', { text })]
    }
    case 'none':
      return [causeOf('no_push', { text: `The vendor notifies of no changes of ${called}.` })]
    default:
      return push satisfies never
  }
}
