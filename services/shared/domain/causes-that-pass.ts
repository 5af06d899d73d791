// The causes that no person of ours can mend, which pass, and then those that only warn; in the
// order of their rank. Pure.
import { CONNECT_AGAIN, NOTHING, of, TRIED_AGAIN, type CauseEntry } from './cause-entry.ts'

export const CAUSES_THAT_PASS = {
  vendor_left_alone: of(
    ['vendor', 'stops', 'retrying', 'heals'],
    [
      'The vendor failed or refused many calls in a row, so it is left alone for a moment.',
      TRIED_AGAIN,
      'Look at the status page of the vendor if it lasts.',
    ],
  ),
  throttled: of(
    ['vendor', 'delays', 'retrying', 'heals'],
    ['The vendor asked us to slow down.', TRIED_AGAIN, ''],
  ),
  backing_off: of(
    ['vendor', 'stops', 'retrying', 'heals'],
    ['The last sync failed, and the next one waits for a moment.', TRIED_AGAIN, ''],
  ),
  calendar_ill: of(
    ['vendor', 'delays', 'partly_in_sync', 'heals'],
    [
      'A calendar cannot be read, while others of the account may be.',
      'It is tried again automatically, at least once an hour.',
      '',
    ],
  ),
  held_mass_delete: of(
    ['vendor', 'delays', null, 'heals'],
    [
      'A full read lacked so many events that it is not believed yet.',
      'The calendar is read whole once more; when that agrees, they are removed.',
      '',
    ],
  ),
  plain_listing: of(
    ['vendor', 'delays', null, 'heals'],
    [
      'Asking the vendor for changes of a calendar led nowhere, so it is listed as a whole.',
      'It is listed at least once an hour, and the usual way is tried again.',
      '',
    ],
  ),
  cooling_down: of(
    ['vendor', 'delays', null, 'heals'],
    [
      'A calendar has to be read from the start, and was so just before.',
      'It is read when the cool-down is over.',
      '',
    ],
  ),
  first_read: of(
    ['nobody', 'delays', 'first_sync', 'heals'],
    ['The calendars are being read for the first time.', NOTHING, ''],
  ),
  held_request: of(
    ['nobody', 'delays', 'catching_up', 'heals'],
    ['A request met a closed gate, which is open now.', NOTHING, ''],
  ),
  catching_up: of(
    ['nobody', 'delays', 'catching_up', 'heals'],
    ['There is more to read than was read.', NOTHING, ''],
  ),
  calendar_left_out: of(
    ['app', 'stops', null, 'stays'],
    [
      'The calendar is not synced: it was taken out, or is gone at the vendor.',
      'Its events are removed.',
      'The app takes it into sync again, or the person connects the account again.',
    ],
  ),
  grant_ends_soon: of(
    ['owner', 'warns', null, 'stays'],
    [
      'The grant ends within a week, whatever is done.',
      'It waits for the person from then on.',
      CONNECT_AGAIN,
    ],
  ),
  no_calendar_selected: of(
    ['app', 'warns', null, 'stays'],
    [
      'No calendar of the account is synced.',
      'No event is known of it.',
      'The app takes a calendar into sync.',
    ],
  ),
  channel_failing: of(
    ['operator', 'warns', null, 'heals'],
    [
      'The vendor does not open or renew a channel, so its calendar is polled.',
      'A channel is tried again automatically; until then it is asked every two minutes.',
      'An operator checks that PUBLIC_URL can be reached from outside.',
    ],
  ),
  channel_silent: of(
    ['operator', 'warns', null, 'heals'],
    [
      'A channel is open and does not ring, so its calendar is polled.',
      'It is asked every two minutes, and the channel is replaced.',
      'An operator checks that PUBLIC_URL can be reached from outside.',
    ],
  ),
  no_push: of(
    ['nobody', 'warns', null, 'heals'],
    ['The vendor notifies of no changes of this calendar.', 'It is asked every two minutes.', ''],
  ),
} as const satisfies Readonly<Record<string, CauseEntry>>
