-- Up Migration
-- compatible-with: 000016
-- The API says why an account is not up to date: also that its changes wait to be published. It
-- sees how old they are, and no message.
grant select (id, shard, created_at) on outbox to calstream_ingress;
