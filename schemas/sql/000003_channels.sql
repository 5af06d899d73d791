-- Up Migration
-- compatible-with: 000003
-- What the scheduler has to remember about channels, calendar lists and disconnected accounts.

-- What vendors said about channels, or what notifications gave away, from the ingress to the
-- scheduler: the ingress does not look channels up. A row is deleted at the noticed_at that was
-- read, so a notice that came again in between survives.
create table channel_notices (
  vendor text not null constraint channel_notices_vendor_known check (vendor in ('google', 'microsoft')),
  channel_id text not null,
  kind text not null constraint channel_notices_kind_known check (kind in ('seen', 'removed', 'reauthorize')),
  connection_id uuid not null references external_calendar_connections (id) on delete cascade,
  resource_id text,
  noticed_at timestamptz not null default calstream_now(),
  attempts integer not null default 0,
  retry_at timestamptz,
  primary key (channel_id, kind)
);
comment on column channel_notices.kind is 'seen: it rings (is it ours?); removed: the vendor ended it; reauthorize: the vendor will end it unless it is renewed';
comment on column channel_notices.resource_id is 'what Google wants to hear to stop a channel';
create index channel_notices_age on channel_notices (noticed_at);
create index channel_notices_by_connection on channel_notices (connection_id);

alter table channels
  add column renew_asked_at timestamptz,
  add column attempts integer not null default 0,
  add column retry_at timestamptz;
comment on column channels.renew_asked_at is 'the vendor asked to have it renewed now (Graph: reauthorizationRequired)';
comment on column channels.attempts is 'stops that failed in a row';
comment on column channels.retry_at is 'not stopped before this';
create index channels_by_connection on channels (connection_id);
-- Two schedulers that look at the same calendar: the second finds it taken.
create unique index channels_opening_once on channels (calendar_id) where status = 'opening';

alter table external_calendars
  add column channel_attempts integer not null default 0,
  add column channel_retry_at timestamptz,
  add column poll_at timestamptz not null default calstream_now(),
  add column missing_since timestamptz;
comment on column external_calendars.channel_attempts is 'channels that could not be opened or renewed in a row';
comment on column external_calendars.channel_retry_at is 'no channel is opened or renewed before this; a calendar without push is asked again once a day';
comment on column external_calendars.poll_at is 'when it is rung next while it has no channel';
comment on column external_calendars.missing_since is 'the vendor did not list it; when a second look agrees, its events are removed';

-- Those that exist already spread over the first hour.
alter table external_calendar_connections
  add column calendars_listed_at timestamptz,
  add column list_calendars_at timestamptz not null default calstream_now() + random() * interval '1 hour',
  add column erase_attempts integer not null default 0,
  add column erase_retry_at timestamptz;
comment on column external_calendar_connections.calendars_listed_at is 'when the list of calendars was last compared';
comment on column external_calendar_connections.list_calendars_at is 'when the list of calendars is compared next';
comment on column external_calendar_connections.erase_retry_at is 'after a disconnect: the vendor is not asked to revoke before this';
create index connections_list_calendars on external_calendar_connections (list_calendars_at) where status = 'active';

grant select, insert, update on channel_notices to calstream_ingress;
grant select, update, delete on channel_notices to calstream_scheduler;
grant insert on external_calendars to calstream_scheduler;
grant delete on connection_credentials to calstream_scheduler;
