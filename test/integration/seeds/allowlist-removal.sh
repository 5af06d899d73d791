curl -X POST "https://staging.bookiji.com/api/calendar/sync" \
  -H "Authorization: Bearer <token>" \
  -d '{"provider_id": "<provider-id>"}'
