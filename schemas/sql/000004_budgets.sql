-- Up Migration
-- compatible-with: 000004
-- Calls to vendors: what was taken of each quota, and until when a vendor wants silence. Shared by
-- every process that calls. Unlogged: it holds minutes of state that is rebuilt by itself, so a
-- call costs no flush of the log; a crash of the server empties it, and the backoff of each
-- connection, which is logged, still holds.
create unlogged table call_budgets (
  key text primary key,
  taken_until timestamptz not null default calstream_now(),
  rest_until timestamptz
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 200);
comment on table call_budgets is 'one row per vendor, per vendor login and per mailbox that was called in the last day';
comment on column call_budgets.taken_until is 'when the calls taken so far are earned again (GCRA): the bucket is empty at now, full at now + room';
comment on column call_budgets.rest_until is 'Retry-After of the vendor: nobody calls before';

-- Takes calls out of budgets in the order of the keys, which is the order of their locks: mailbox
-- before vendor, never the other way. A rest of any key takes nothing. Of a chunk as much is
-- granted as fits; 0 says how long until one call fits.
create function take_calls(keys text[], wanted integer[], step_us bigint[], room_us bigint[])
  returns table (budget text, granted integer, wait_us bigint, resting boolean)
  language plpgsql volatile as $$
declare
  used_us bigint;
begin
  return query
    select b.key, 0, (extract(epoch from b.rest_until - calstream_now()) * 1000000)::bigint, true
      from call_budgets b
     where b.key = any(keys) and b.rest_until > calstream_now()
       -- No rest is longer than a day: one that is was written before the clock went back.
       and b.rest_until < calstream_now() + interval '25 hours';
  if found then return; end if;
  for i in 1 .. cardinality(keys) loop
    continue when wanted[i] = 0;
    insert into call_budgets (key) values (keys[i]) on conflict (key) do nothing;
    select (extract(epoch from b.taken_until - calstream_now()) * 1000000)::bigint into used_us
      from call_budgets b where b.key = keys[i] for no key update;
    -- Further ahead than any room: the clock went back,
    -- and what was taken then says nothing about now.
    if used_us < 0 or used_us > 60000000 then used_us := 0; end if;
    budget := keys[i];
    resting := false;
    granted := greatest(0, least(wanted[i], (room_us[i] - used_us) / step_us[i]));
    wait_us := case when granted = 0 then used_us + step_us[i] - room_us[i] else 0 end;
    if granted > 0 then
      update call_budgets b
         set taken_until = calstream_now() + (used_us + granted * step_us[i]) * interval '1 microsecond'
       where b.key = keys[i];
    end if;
    return next;
  end loop;
end $$;

grant select, insert, update on call_budgets to calstream_ingress, calstream_sync;
grant select, insert, update, delete on call_budgets to calstream_scheduler;
