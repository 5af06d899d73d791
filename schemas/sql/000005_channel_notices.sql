-- Up Migration
-- compatible-with: 000005
-- A notice belongs to the connection whose token told it: who holds a token of one connection
-- cannot stand before the notice of another's channel.
alter table channel_notices drop constraint channel_notices_pkey;
alter table channel_notices add primary key (connection_id, channel_id, kind);
drop index channel_notices_by_connection;
-- Graph does not keep the case of ids.
create index channels_by_any_case on channels (lower(id));

alter table channels add column token_ends_at timestamptz;
comment on column channels.token_ends_at is 'when its token is believed no more; null: of the first form, which ends with V1_ENDS_AT';
