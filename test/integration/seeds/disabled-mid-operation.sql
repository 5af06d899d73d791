-- Check for partial state
SELECT 
  id,
  provider_id,
  sync_needed,
  last_synced_at,
  error_count
FROM external_calendar_connections
WHERE provider_id = '<provider-id>';
