SELECT 
  id,
  error_count,
  last_error,
  backoff_until
FROM external_calendar_connections
WHERE provider_id = '<provider-id>';
