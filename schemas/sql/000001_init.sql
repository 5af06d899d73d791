-- Up Migration
-- compatible-with: 000001
-- Tables of calstream. Forward only: a change is a new file. Seconds of drift between processes do
-- not matter here: every time that decides something is read from calstream_now() on this server.

-- The database clock of the product. Tests and drills shift it (calstream.clock_shift),
-- so weeks run in minutes. Leases alone use the unshifted clock_timestamp(): their
-- holders measure real seconds.
create function calstream_now() returns timestamptz
  language sql volatile parallel safe
  as $$ select clock_timestamp() + coalesce(nullif(current_setting('calstream.clock_shift', true), '')::interval, interval '0') $$;

-- Whole microseconds since 1970, the form of every time in a message: exact both ways, which a
-- float of seconds is not.
create function to_micros(at timestamptz) returns bigint
  language sql immutable strict parallel safe
  as $$ select (extract(epoch from at) * 1000000)::bigint $$;

create function from_micros(micros bigint) returns timestamptz
  language sql immutable strict parallel safe
  as $$ select timestamptz 'epoch' + micros * interval '1 microsecond' $$;

create table external_calendar_connections (
  id uuid primary key default gen_random_uuid(),
  provider_id uuid not null,
  vendor text not null constraint connections_vendor_known check (vendor in ('google', 'microsoft')),
  vendor_account_id text not null,
  status text not null default 'active'
    constraint connections_status_known check (status in ('active', 'needs_reauth', 'disabled', 'disconnected')),
  sync_needed boolean not null default false,
  last_synced_at timestamptz,
  error_count integer not null default 0,
  last_error jsonb,
  failing_since timestamptz,
  backoff_until timestamptz,
  sync_epoch bigint not null default 0,
  version bigint not null default 0,
  unfinished integer not null default 0,
  listed_from timestamptz,
  rung_at timestamptz,
  reconcile_at timestamptz not null default calstream_now(),
  created_at timestamptz not null default calstream_now(),
  updated_at timestamptz not null default calstream_now(),
  constraint connections_account_once unique (provider_id, vendor, vendor_account_id)
);
comment on column external_calendar_connections.sync_epoch is 'fencing number of the current unit; every write of a unit is conditional on it';
comment on column external_calendar_connections.version is 'advances by one per event row; the header ce_sequence of its messages';
comment on column external_calendar_connections.unfinished is 'claims since the last page or outcome; the 8th records a defect instead of running';
comment on column external_calendar_connections.listed_from is 'database clock at the start of the last completed unit that read all calendars to the end';
comment on column external_calendar_connections.rung_at is 'when the sweep last rang this connection';
create index connections_due on external_calendar_connections (coalesce(backoff_until, updated_at)) where status = 'active' and sync_needed;
create index connections_reconcile on external_calendar_connections (reconcile_at) where status = 'active';

-- Sealed by AES-256-GCM with the connection id and the field name as additional data:
-- a swapped row does not open.
create table connection_credentials (
  connection_id uuid primary key references external_calendar_connections (id) on delete cascade,
  version bigint not null default 1,
  refresh_token text not null,
  access_token text,
  access_expires_at timestamptz,
  scope text,
  updated_at timestamptz not null default calstream_now()
);
comment on column connection_credentials.version is 'a rotated token is an UPDATE on the version that was read, never an insert';

create table external_calendars (
  id uuid primary key default gen_random_uuid(),
  connection_id uuid not null references external_calendar_connections (id) on delete cascade,
  vendor_calendar_id text not null,
  name text,
  time_zone text,
  access_role text,
  selected boolean not null default true,
  push_supported boolean not null default true,
  cursor text,
  checkpoint jsonb,
  generation bigint not null default 0,
  last_full_sync timestamptz,
  sweep_below bigint,
  resync_after timestamptz,
  resync_streak integer not null default 0,
  removal_reason text,
  created_at timestamptz not null default calstream_now(),
  updated_at timestamptz not null default calstream_now(),
  constraint calendars_once unique (connection_id, vendor_calendar_id)
);
comment on column external_calendars.cursor is 'Google sync token or Graph delta link; moves only in the transaction that holds the rows it covers';
comment on column external_calendars.checkpoint is 'cursor, page token, window and generation inside an unfinished run';
comment on column external_calendars.sweep_below is 'generation of a full read whose sweep looked like a mass delete; the next full read decides';

create table external_calendar_events (
  event_id uuid primary key,
  connection_id uuid not null references external_calendar_connections (id) on delete cascade,
  calendar_id uuid not null references external_calendars (id) on delete cascade,
  vendor_event_id text not null,
  title text,
  status text not null constraint events_status_known check (status in ('confirmed', 'tentative')),
  busy boolean not null,
  all_day boolean not null,
  start_at timestamptz,
  end_at timestamptz,
  start_date date,
  end_date date,
  time_zone text,
  series_id text,
  original_start_at timestamptz,
  original_start_date date,
  location text,
  organizer text,
  vendor_updated_at timestamptz,
  etag text,
  content_hash bytea not null,
  hash_version smallint not null,
  generation bigint not null,
  sequence bigint not null,
  created_at timestamptz not null default calstream_now(),
  updated_at timestamptz not null default calstream_now(),
  constraint events_once unique (calendar_id, vendor_event_id),
  constraint events_timed_or_all_day check (
    (all_day and start_date is not null and end_date is not null and start_at is null and end_at is null)
    or (not all_day and start_at is not null and end_at is not null and start_date is null and end_date is null))
);
create index events_series on external_calendar_events (calendar_id, series_id) where series_id is not null;
create index events_generation on external_calendar_events (calendar_id, generation);
create index events_busy on external_calendar_events (connection_id, start_at);

create table webhook_dedupe_keys (
  connection_id uuid not null references external_calendar_connections (id) on delete cascade,
  delivery_key text not null,
  seen_at timestamptz not null default calstream_now(),
  primary key (connection_id, delivery_key)
);
create index dedupe_keys_age on webhook_dedupe_keys (seen_at);

-- Work that met a closed gate. Deleted by the scheduler at the seq it rang,
-- so a refusal that came later survives.
create sequence held_request_seq;
create table held_requests (
  connection_id uuid primary key references external_calendar_connections (id) on delete cascade,
  gate text not null,
  since timestamptz not null default calstream_now(),
  seq bigint not null default nextval('held_request_seq')
);

create table channels (
  id text primary key,
  connection_id uuid not null references external_calendar_connections (id) on delete cascade,
  calendar_id uuid not null references external_calendars (id) on delete cascade,
  vendor text not null constraint channels_vendor_known check (vendor in ('google', 'microsoft')),
  status text not null default 'opening' constraint channels_status_known check (status in ('opening', 'open', 'stopping')),
  resource_id text,
  opened_at timestamptz,
  expires_at timestamptz,
  created_at timestamptz not null default calstream_now()
);
create index channels_by_calendar on channels (calendar_id);
create index channels_expiry on channels (expires_at);

create table outbox (
  id bigint generated always as identity primary key,
  shard smallint not null constraint outbox_shard_range check (shard between 0 and 15),
  topic text not null,
  key text not null,
  value bytea,
  headers jsonb not null,
  created_at timestamptz not null default calstream_now()
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
create index outbox_by_shard on outbox (shard, id);

create table relay_shards (
  shard smallint primary key,
  owner text,
  epoch bigint not null default 0,
  leased_until timestamptz not null default '-infinity'
);
insert into relay_shards (shard) select generate_series(0, 15);

-- The relays that are alive: what a fair share of the shards is computed from. One that holds
-- nothing yet is in no lease.
create table relay_members (
  owner text primary key,
  live_until timestamptz not null
);

create table job_leases (
  job text primary key,
  owner text,
  epoch bigint not null default 0,
  leased_until timestamptz not null default '-infinity',
  last_run_at timestamptz
);

-- An index for replay, filled by reading the dead-letter topic; the topic holds the original bytes.
create table dead_letters (
  partition integer not null,
  topic_offset bigint not null,
  connection_id uuid,
  vendor text,
  code text not null,
  attempts integer not null,
  first_failed_at timestamptz,
  last_failed_at timestamptz not null,
  origin_topic text not null,
  origin_partition integer,
  origin_offset bigint,
  replayed_at timestamptz,
  primary key (partition, topic_offset)
);
create index dead_letters_by_connection on dead_letters (connection_id);

-- Run-time roles: no role owns a table, none may run DDL. The owner is used by migrations only.
-- Roles belong to the whole server, so another database on it may have made them already.
do $$
declare role_name text;
begin
  foreach role_name in array array['calstream_ingress', 'calstream_sync', 'calstream_relay', 'calstream_scheduler', 'calstream_migrate'] loop
    begin
      execute format('create role %I login', role_name);
    exception when duplicate_object or unique_violation then null;
    end;
  end loop;
  execute format('revoke all on database %I from public', current_database());
  execute format('grant connect on database %I to calstream_ingress, calstream_sync, calstream_relay, calstream_scheduler, calstream_migrate', current_database());
end $$;
revoke all on schema public from public;
grant usage on schema public to calstream_ingress, calstream_sync, calstream_relay, calstream_scheduler, calstream_migrate;

-- ingress: connects accounts, refuses durably, answers status; also what
-- `calstream connections add` runs as.
grant select, insert, update on external_calendar_connections, connection_credentials, external_calendars, channels to calstream_ingress;
grant select, delete on external_calendar_events to calstream_ingress;
grant insert on outbox to calstream_ingress;
grant select, insert, update on held_requests to calstream_ingress;
grant usage on sequence held_request_seq to calstream_ingress;

-- sync: the unit and nothing else.
grant select, update on external_calendar_connections, connection_credentials, external_calendars to calstream_sync;
grant select, insert, update, delete on external_calendar_events to calstream_sync;
grant select, insert on webhook_dedupe_keys to calstream_sync;
grant insert on outbox to calstream_sync;
grant select, insert, update on held_requests to calstream_sync;
grant usage on sequence held_request_seq to calstream_sync;

-- relay: reads and deletes; it cannot change a message.
grant select, delete on outbox to calstream_relay;
grant select, update on relay_shards to calstream_relay;
grant select, insert, update, delete on relay_members to calstream_relay;

-- scheduler: rings, channels, retention, the dead-letter index.
grant select, update on external_calendar_connections, connection_credentials, external_calendars to calstream_scheduler;
grant select on external_calendar_events to calstream_scheduler;
grant select, insert, update, delete on channels, dead_letters, job_leases to calstream_scheduler;
grant select, delete on held_requests, webhook_dedupe_keys to calstream_scheduler;
grant select on relay_shards, outbox to calstream_scheduler;
grant insert on outbox to calstream_scheduler;

alter role calstream_ingress set statement_timeout = '4s';
alter role calstream_ingress set lock_timeout = '1s';
alter role calstream_ingress set idle_in_transaction_session_timeout = '10s';
alter role calstream_sync set statement_timeout = '4s';
alter role calstream_sync set lock_timeout = '1s';
alter role calstream_sync set idle_in_transaction_session_timeout = '10s';
alter role calstream_relay set statement_timeout = '4s';
alter role calstream_relay set lock_timeout = '1s';
alter role calstream_relay set idle_in_transaction_session_timeout = '10s';
alter role calstream_scheduler set statement_timeout = '4s';
alter role calstream_scheduler set lock_timeout = '1s';
alter role calstream_scheduler set idle_in_transaction_session_timeout = '10s';
