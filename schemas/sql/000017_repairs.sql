-- Up Migration
-- compatible-with: 000016
-- What an operator does to many connections at once, and a pause that lasts.

-- A pause outlives a park, a probe and a reconnect. While it lasts, a connection that would be
-- active is disabled.
alter table external_calendar_connections
  add column paused_at timestamptz,
  add column paused_by text;
comment on column external_calendar_connections.paused_at is
  'since when an operator keeps it from being synced; null: not paused';
comment on column external_calendar_connections.paused_by is 'who asked for the pause';
create index connections_paused on external_calendar_connections (paused_at) where paused_at is not null;

-- Disabled by hand, before there was a command for it.
update external_calendar_connections set paused_at = updated_at where status = 'disabled';

-- A repair is a row that the scheduler works off, batch by batch. What is ended stays as the audit.
create table repairs (
  id uuid primary key default gen_random_uuid(),
  kind text not null constraint repairs_kind_known check (
    kind in ('sync_now', 'full_read', 'pause', 'resume', 'probe', 'replay_dead_letters')),
  filter jsonb not null,
  asked_by text not null,
  asked_at timestamptz not null default calstream_now(),
  rate_per_s double precision not null constraint repairs_rate_positive check (rate_per_s > 0),
  state text not null default 'running' constraint repairs_state_known check (
    state in ('running', 'done', 'aborted', 'failed')),
  reached text,
  total integer not null,
  done integer not null default 0,
  failed integer not null default 0,
  last_error text,
  waits_for text,
  paced_at timestamptz not null default '-infinity',
  worked_at timestamptz,
  ended_at timestamptz,
  ended_by text
);
comment on column repairs.reached is 'the last of what was worked off, in the order of the ids; moves with its effects';
comment on column repairs.total is 'how many matched when it was asked for';
comment on column repairs.last_error is 'why the last that failed did';
comment on column repairs.waits_for is 'what keeps it from going on; null: nothing does';
comment on column repairs.paced_at is 'when the work so far is earned by the rate: the next is due then';
comment on column repairs.worked_at is 'when a scheduler last looked at it';
create index repairs_asked on repairs (asked_at desc, id);

grant select, insert, update, delete on repairs to calstream_scheduler;
