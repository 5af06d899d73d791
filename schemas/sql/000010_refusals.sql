-- Up Migration
-- compatible-with: 000010
-- Nothing irreversible follows from one answer of a vendor: what was refused, since when, and what
-- parked connections wait for.

alter table external_calendar_connections
  add column refused_since timestamptz,
  add column refused_at timestamptz,
  add column refused_tokens integer not null default 0,
  add column parked_at timestamptz,
  add column parked_code text,
  add column probe_at timestamptz,
  add column probes integer not null default 0;
comment on column external_calendar_connections.refused_since is
  'first refusal of everything of the account in undocumented words, with no read in between; null: none';
comment on column external_calendar_connections.refused_tokens is 'fresh access tokens that were refused since then';
comment on column external_calendar_connections.parked_code is 'failure code for which it became needs_reauth';
comment on column external_calendar_connections.probe_at is
  'while needs_reauth: when it is asked next whether the same grant is good again; null: the grant is gone for good';
create index connections_refused on external_calendar_connections (vendor, refused_since) where refused_since is not null;
create index connections_parked on external_calendar_connections (vendor, parked_at) where parked_at is not null;
create index connections_probe on external_calendar_connections (probe_at) where status = 'needs_reauth' and probe_at is not null;

-- Those that wait already are asked once:
-- this code stood for refusals of all kinds, and some of them have long passed.
update external_calendar_connections
   set parked_at = updated_at, parked_code = last_error ->> 'code',
       probe_at = case when last_error ->> 'code' = 'vendor/access-denied'
                       then calstream_now() + random() * interval '1 hour' end
 where status = 'needs_reauth';

alter table connection_credentials add column grant_ends_at timestamptz;
comment on column connection_credentials.grant_ends_at is
  'when the grant ends whatever is done, as the vendor told it; null: it did not tell';
grant select (grant_ends_at) on connection_credentials to calstream_ingress;
