-- Up Migration
-- compatible-with: 000008
-- Erased means erased: what told who the account was goes with its credentials.

alter table external_calendar_connections
  alter column vendor_account_id drop not null,
  add constraint connections_account_known check (vendor_account_id is not null or status = 'disconnected');
comment on column external_calendar_connections.vendor_account_id is
  'at Google the address; null once a disconnected account is erased, so it is a new connection when it comes back';
comment on column external_calendar_connections.disconnected_at is
  'set while disconnected; credentials, account, label and calendars are erased at the latest 10 minutes after it';
create index connections_to_erase on external_calendar_connections (disconnected_at)
  where status = 'disconnected' and vendor_account_id is not null;

grant delete on external_calendars to calstream_scheduler;
