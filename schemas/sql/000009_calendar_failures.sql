-- Up Migration
-- compatible-with: 000009
-- A calendar fails alone: its failures, its backoff and what it owes stand in its own
-- row. The columns of the connection with the same names tell of the account, or of
-- all its calendars at once.
alter table external_calendars
  add column read_needed boolean not null default false,
  add column failures integer not null default 0,
  add column error_count integer not null default 0,
  add column last_error jsonb,
  add column failing_since timestamptz,
  add column backoff_until timestamptz,
  add column rung_at timestamptz;
comment on column external_calendars.read_needed is 'this calendar owes a read; the sweep rings it until a unit has read it to its end';
comment on column external_calendars.failures is 'reads that failed in a row, also those that do not count; more than 0: the calendar is ill';
comment on column external_calendars.error_count is 'counted failures in a row; the 12th writes a dead letter';
comment on column external_calendars.backoff_until is 'it is not read before this, while its siblings are';
comment on column external_calendars.rung_at is 'when the sweep last rang this calendar';
create index calendars_owed on external_calendars (connection_id) where selected and read_needed;
