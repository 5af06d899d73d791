-- Up Migration
-- compatible-with: 000006
-- Less behind each wall: what a role does not need, it may not do.

-- The ingress faces the network and holds the keys. It replaces credentials and never reads one:
-- its upsert needs the version that is there, and nothing that is sealed.
revoke select on connection_credentials from calstream_ingress;
grant select (connection_id, version) on connection_credentials to calstream_ingress;

-- Who disconnects an account takes back what waits for a gate, too.
grant delete on held_requests to calstream_ingress;

-- Nobody ran as this role: migrations run as the owner of the tables.
do $$
begin
  execute format('revoke all on database %I from calstream_migrate', current_database());
  alter role calstream_migrate nologin password null;
exception when insufficient_privilege then
  -- Made by somebody else on this server, who takes its login away.
  null;
end $$;
revoke all on schema public from calstream_migrate;

-- Large objects have no owner's table and no limit. Their functions are the superuser's, so
-- only a superuser can close them; where the owner of the tables is none (a managed
-- server), they stay open.
do $$
declare maker regprocedure;
begin
  if (select rolsuper from pg_roles where rolname = current_user) then
    foreach maker in array array['lo_creat(integer)', 'lo_create(oid)', 'lo_from_bytea(oid,bytea)']::regprocedure[] loop
      execute format('revoke execute on function %s from public', maker);
    end loop;
  end if;
end $$;

-- Names inside a function are found by its own path, not by the caller's. Bodies of SQL are bound
-- here, once, and can still be inlined, which a path of their own would forbid.
create or replace function calstream_now() returns timestamptz
  language sql volatile parallel safe
  return clock_timestamp() + coalesce(nullif(current_setting('calstream.clock_shift', true), '')::interval, interval '0');

create or replace function to_micros(at timestamptz) returns bigint
  language sql immutable strict parallel safe
  return (extract(epoch from at) * 1000000)::bigint;

create or replace function from_micros(micros bigint) returns timestamptz
  language sql immutable strict parallel safe
  return timestamptz 'epoch' + micros * interval '1 microsecond';

alter function take_calls(text[], integer[], bigint[], bigint[]) set search_path = public, pg_temp;
