-- Up Migration
-- compatible-with: 000014
-- The scheduler gives no grant back while its person consents again:
-- a revocation at Google ends the new grant too.
grant select (provider_id, vendor, link_used_at, connection_id) on oauth_flows to calstream_scheduler;
