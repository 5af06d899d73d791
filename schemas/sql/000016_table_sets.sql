-- Up Migration
-- compatible-with: 000015
-- A version tells whether it works with the tables that it finds, also with newer ones: each file
-- names the oldest file whose version does, and `calstream migrate` records it.

alter table calstream_migrations add column compatible_with integer;
comment on column calstream_migrations.compatible_with is
  'versions that know the file of this number work with the tables; null: not recorded, so no older one does';

-- Readiness compares this list with the files that the process knows.
grant select on calstream_migrations to calstream_ingress, calstream_sync, calstream_relay, calstream_scheduler;
