-- Gives a database to the part that is not ours and that uses it (Unleash, the registry): a login
-- that owns this database and all that is in it, and that has no door to another one. Run in that
-- database as the superuser, before each start of the part: it mends an older installation, and
-- changes nothing in a new one. The session says for whom, in own.role and own.password: the
-- server's log never sees them in a statement.
do $$
declare
  part name := current_setting('own.role');
  step text;
begin
  if not exists (select from pg_roles where rolname = part) then
    execute format('create role %I', part);
  end if;
  execute format('alter role %I login nosuperuser nocreatedb nocreaterole nobypassrls password %L',
                 part, current_setting('own.password'));

  for step in
    with own as (select nspname, oid from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'),
         -- What belongs to an extension stays the superuser's;
         -- a column's sequence follows its table.
         tied as (select classid, objid from pg_depend
                   where deptype = 'e' or (deptype in ('a', 'i') and classid = 'pg_class'::regclass)),
         found as (
           select 'pg_class'::regclass::oid as kind, c.oid, c.relowner as owner, own.oid as home,
                  format('alter table %s owner to %I', c.oid::regclass, part) as step
             from pg_class c join own on own.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
           union all
           select 'pg_proc'::regclass, p.oid, p.proowner, own.oid,
                  format('alter routine %s owner to %I', p.oid::regprocedure, part)
             from pg_proc p join own on own.oid = p.pronamespace where p.prokind <> 'a'
           union all
           select 'pg_type'::regclass, t.oid, t.typowner, own.oid,
                  format('alter type %s owner to %I', t.oid::regtype, part)
             from pg_type t join own on own.oid = t.typnamespace where t.typtype in ('e', 'd', 'r')
           union all
           select 'pg_namespace'::regclass, own.oid, n.nspowner, own.oid,
                  format('alter schema %I owner to %I', own.nspname, part)
             from own join pg_namespace n on n.oid = own.oid where own.nspname <> 'public')
    select found.step from found
     where owner <> (select oid from pg_roles where rolname = part)
       and not exists (select from tied where tied.classid = found.kind and tied.objid = found.oid)
  loop
    execute step;
  end loop;
  execute format('alter database %I owner to %I', current_database(), part);

  -- What everybody may by default: look in everywhere, and fill the disk with temporary tables.
  for step in
    select format('revoke all on database %I from public', datname) from pg_database
     where datname in (current_database(), 'postgres', 'template1')
       and (has_database_privilege('public', oid, 'connect') or has_database_privilege('public', oid, 'temporary'))
  loop
    execute step;
  end loop;
end $$;
