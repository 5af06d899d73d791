-- Up Migration
-- compatible-with: 000011
-- What an event says of the person: busy is the vendor's busy, and a question may judge otherwise.

alter table external_calendar_events
  add column response text constraint events_response_known
    check (response in ('none', 'organizer', 'accepted', 'tentative', 'declined', 'needs_action')),
  add column kind text constraint events_kind_known
    check (kind in ('default', 'out_of_office', 'focus_time', 'working_location', 'birthday', 'from_gmail', 'task', 'unknown')),
  add column show_as text constraint events_show_as_known
    check (show_as in ('free', 'tentative', 'busy', 'out_of_office', 'working_elsewhere', 'unknown')),
  add column visibility text constraint events_visibility_known
    check (visibility in ('default', 'public', 'private', 'confidential'));
comment on column external_calendar_events.response is
  'what the person answered; null, like kind, show_as and visibility: not read since these are kept';
comment on column external_calendar_events.busy is
  'as the vendor itself answers: declined, free and working elsewhere are not';

-- Whose calendar it is decides whether it is synced unless a person chose.
alter table external_calendars
  add column is_primary boolean not null default false,
  -- By which rules its rows were read. Those of before read all of it again, each at its own time.
  add column judged_by text,
  add column reread_at timestamptz;
comment on column external_calendars.judged_by is
  'hash version and settings of its last full read; null: not read to the end yet';
comment on column external_calendars.reread_at is
  'when it is read fully because it was judged by older rules; spread, so that not all are read at once';
update external_calendars set judged_by = '1' where last_full_sync is not null;
