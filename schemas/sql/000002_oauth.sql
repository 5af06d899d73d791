-- Up Migration
-- compatible-with: 000002
-- Connecting accounts by OAuth, disconnecting them, and how fresh each calendar is.

-- One row per link that an app asked for, over its whole life: link followed, consent given,
-- connection made. Each step is one conditional UPDATE, so of two processes that race on a link or
-- a state exactly one wins. Rows expire; creating a link sweeps.
create table oauth_flows (
  id uuid primary key,
  provider_id uuid not null,
  vendor text not null constraint oauth_flows_vendor_known check (vendor in ('google', 'microsoft')),
  reconnects uuid references external_calendar_connections (id) on delete cascade,
  return_to text,
  created_at timestamptz not null default calstream_now(),
  expires_at timestamptz not null,
  browser_hash bytea,
  code_verifier text,
  link_used_at timestamptz,
  state_used_at timestamptz,
  connection_id uuid references external_calendar_connections (id) on delete cascade,
  constraint oauth_flows_in_order check (
    (link_used_at is null) = (browser_hash is null) and (state_used_at is null or link_used_at is not null))
);
comment on column oauth_flows.expires_at is 'of the link until it is followed, then of the consent';
comment on column oauth_flows.reconnects is 'the connection that the person was asked to connect again, if any';
comment on column oauth_flows.browser_hash is 'SHA-256 of the cookie of the browser that followed the link; no other may finish';
comment on column oauth_flows.code_verifier is 'PKCE verifier, sealed for this row; erased when the state is used';
comment on column oauth_flows.connection_id is 'what came of it';
create index oauth_flows_expiry on oauth_flows (expires_at);

alter table external_calendar_connections
  add column account_label text,
  add column connected_at timestamptz not null default calstream_now(),
  add column disconnected_at timestamptz;
comment on column external_calendar_connections.account_label is 'address or name of the account, for people';
comment on column external_calendar_connections.connected_at is 'when the person last connected the account';
comment on column external_calendar_connections.disconnected_at is 'set while disconnected; credentials are erased at the latest 10 minutes after it';
create index connections_by_provider on external_calendar_connections (provider_id, id);
create index connections_disconnected on external_calendar_connections (disconnected_at) where disconnected_at is not null;

alter table external_calendars add column last_read_at timestamptz;
comment on column external_calendars.last_read_at is 'database clock: what the vendor had then, we hold';

-- Busy times are asked by their span; dates have their own.
create index events_busy_dates on external_calendar_events (connection_id, start_date) where all_day;

grant select, insert, update, delete on oauth_flows to calstream_ingress;
