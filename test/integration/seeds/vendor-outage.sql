SELECT 
  id,
  provider_id,
  error_count,
  last_error,
  backoff_until,
  sync_needed
FROM external_calendar_connections
WHERE provider_id = '<provider-id>';
