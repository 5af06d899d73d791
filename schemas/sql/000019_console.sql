-- Up Migration
-- compatible-with: 000016
-- The console reads, and no more of it than it shows: no credential, no cursor, no title or place
-- of an event, no message that waits. It asks for repairs, which the scheduler does.

do $$
begin
  create role calstream_console login;
exception when duplicate_object or unique_violation then null;
end $$;
do $$
begin
  execute format('grant connect on database %I to calstream_console', current_database());
end $$;
grant usage on schema public to calstream_console;

-- Accounts in the order in which people look for them.
create index connections_by_account
  on external_calendar_connections (lower(coalesce(account_label, vendor_account_id, '')) collate "C", id);

grant select on external_calendar_connections, channels, channel_notices, webhook_dedupe_keys, held_requests,
  dead_letters, relay_shards, relay_members, job_leases, call_budgets, calstream_migrations to calstream_console;
grant select (id, connection_id, vendor_calendar_id, name, time_zone, access_role, selected, push_supported, generation,
  last_full_sync, sweep_below, resync_after, resync_streak, removal_reason, created_at, updated_at, last_read_at,
  channel_attempts, channel_retry_at, poll_at, missing_since, read_needed, failures, error_count, last_error, failing_since,
  backoff_until, rung_at, is_primary, judged_by, reread_at, unrung_finds, reading, usual_from, place_failures,
  place_failing_since, fresh_starts, fresh_after) on external_calendars to calstream_console;
grant select, insert, update on repairs to calstream_console;
-- It says that it lives, as every process does.
create policy own_of_console on service_instances to calstream_console
  using (service = 'console') with check (service = 'console');
grant select, insert, update, delete on service_instances to calstream_console;
grant select (event_id, connection_id, calendar_id, sequence, created_at, updated_at) on external_calendar_events
  to calstream_console;
grant select (connection_id, grant_ends_at, access_expires_at) on connection_credentials to calstream_console;
grant select (id, shard, topic, key, headers, created_at) on outbox to calstream_console;

alter role calstream_console set statement_timeout = '4s';
alter role calstream_console set lock_timeout = '1s';
alter role calstream_console set idle_in_transaction_session_timeout = '10s';
