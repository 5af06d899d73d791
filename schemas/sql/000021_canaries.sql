-- Up Migration
-- compatible-with: 000016
-- Calendars that the scheduler changes once a minute, to see whether a change comes back through
-- vendor, notification, sync and relay. A row is put here by `calstream canary add`.

create table canaries (
  connection_id uuid primary key references external_calendar_connections (id) on delete cascade,
  calendar_id uuid not null references external_calendars (id) on delete cascade,
  vendor_event_id text,
  beat bigint not null default 0,
  begun_at timestamptz,
  taken_at timestamptz,
  rung_at timestamptz,
  stored_at timestamptz,
  arrived_at timestamptz,
  last_arrived_beat_at timestamptz,
  silent_since timestamptz,
  refused_since timestamptz,
  refusal text,
  created_at timestamptz not null default calstream_now()
);
comment on column canaries.beat is 'number of the last change; the title of the event names it';
comment on column canaries.last_arrived_beat_at is 'when the last beat that arrived was begun';
comment on column canaries.silent_since is 'since when beats arrive although the vendor did not ring; null: it rings';
comment on column canaries.refused_since is 'since when the vendor does not take changes; refusal says why';

grant select, insert, update, delete on canaries to calstream_scheduler;
