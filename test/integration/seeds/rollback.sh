# Test sync endpoint
curl -X POST "https://staging.bookiji.com/api/calendar/sync" \
  -H "Authorization: Bearer <token>"
# Expected: 403

# Test webhook endpoint
curl -X POST "https://staging.bookiji.com/api/webhooks/calendar/google" \
  -H "Content-Type: application/json" \
  -d '{}'
# Expected: 403

# Test OAuth endpoint
curl -X GET "https://staging.bookiji.com/api/auth/google/calendar"
# Expected: 403 or redirect with error
