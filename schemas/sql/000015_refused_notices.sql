-- Up Migration
-- compatible-with: 000015
-- A channel under whose id everything is refused tells nothing, so its calendar is polled.

alter table channel_notices drop constraint channel_notices_kind_known;
alter table channel_notices add constraint channel_notices_kind_known
  check (kind in ('seen', 'removed', 'reauthorize', 'refused'));
comment on column channel_notices.kind is
  'seen: it rings (is it ours?); removed: the vendor ended it; reauthorize: the vendor will end it unless it is renewed; refused: what comes under its id has no good token';
