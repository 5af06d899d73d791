-- Up Migration
-- compatible-with: 000012
-- What the list of calendars and the channels tell, kept so that nothing follows from one look.

alter table external_calendars
  add column if not exists is_primary boolean not null default false,
  add column unrung_finds integer not null default 0;
comment on column external_calendars.is_primary is
  'the account''s own calendar, as the vendor last listed it: under a new id it is the same calendar';
comment on column external_calendars.unrung_finds is
  'reads in a row that found changes of which its channel told nothing; a ring ends the row';

-- Google names the primary calendar by the address of the account.
update external_calendars calendar set is_primary = true
  from external_calendar_connections connection
 where connection.id = calendar.connection_id and connection.vendor = 'google'
   and connection.vendor_account_id = calendar.vendor_calendar_id;
