-- Up Migration
-- compatible-with: 000013
-- A place of a calendar ages, and a way of listing that leads nowhere is left.

alter table external_calendars
  add column reading text not null default 'usual'
    constraint calendars_reading_known check (reading in ('usual', 'other-pages', 'small-pages', 'plain')),
  add column usual_from timestamptz,
  add column place_failures integer not null default 0,
  add column place_failing_since timestamptz,
  add column fresh_starts integer not null default 0,
  add column fresh_after timestamptz;
comment on column external_calendars.reading is
  'how it is listed: in usual, other or small pages, or plainly, without a cursor, where asking for changes leads nowhere';
comment on column external_calendars.usual_from is 'from then on a full read tries the usual way again';
comment on column external_calendars.place_failures is
  'failures in a row at one page token or cursor; a few, and the calendar is read from the start, if that works';
comment on column external_calendars.fresh_starts is
  'reads from the start in a row that a dead place asked for; forgotten when changes could be read';
comment on column external_calendars.fresh_after is 'before it no other read from the start takes the place of a dead one';
