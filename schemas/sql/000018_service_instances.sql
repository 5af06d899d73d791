-- Up Migration
-- compatible-with: 000016
-- Each process says here, once a second, that it lives and what it has in hand, so that a person
-- who reaches Postgres knows which service is gone. Unlogged: a beat costs no flush of the log; a
-- crash of the server empties the table, and the next beat of each process fills it again.

-- Retry has no other table, and needs a login to say that it lives.
do $$
begin
  begin
    create role calstream_retry login;
  exception when duplicate_object or unique_violation then null;
  end;
  execute format('grant connect on database %I to calstream_retry', current_database());
end $$;
grant usage on schema public to calstream_retry;
grant select on calstream_migrations to calstream_retry;
alter role calstream_retry set statement_timeout = '4s';
alter role calstream_retry set lock_timeout = '1s';
alter role calstream_retry set idle_in_transaction_session_timeout = '10s';

create unlogged table service_instances (
  instance uuid primary key,
  service text not null,
  version text not null,
  host text not null,
  pid integer not null,
  started_at timestamptz not null,
  seen_at timestamptz not null,
  ready boolean not null,
  problems jsonb not null default '{}',
  facts jsonb not null default '{}'
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 200);
comment on table service_instances is 'one row per process of a service; a clean stop deletes its row, so a row that is not renewed is of a process that froze, was killed or cannot reach Postgres';
comment on column service_instances.seen_at is 'clock_timestamp() of the last beat: processes measure real seconds';
comment on column service_instances.problems is 'why it is not ready: dependency to one sentence';
comment on column service_instances.facts is 'what it has in hand: partitions, shards, records that block, breakers, jobs, last progress';

-- A role writes rows of its own service alone. Who may read the table reads all of it.
alter table service_instances enable row level security;
create policy read_by_all on service_instances for select using (true);
create policy own_of_ingress on service_instances to calstream_ingress using (service = 'ingress') with check (service = 'ingress');
create policy own_of_sync on service_instances to calstream_sync using (service = 'sync') with check (service = 'sync');
create policy own_of_retry on service_instances to calstream_retry using (service = 'retry') with check (service = 'retry');
create policy own_of_relay on service_instances to calstream_relay using (service = 'relay') with check (service = 'relay');
create policy own_of_scheduler on service_instances to calstream_scheduler using (service = 'scheduler') with check (service = 'scheduler');
create policy forgotten_by_scheduler on service_instances for delete to calstream_scheduler using (true);
grant select, insert, update, delete on service_instances
  to calstream_ingress, calstream_sync, calstream_retry, calstream_relay, calstream_scheduler;
