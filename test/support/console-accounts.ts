// Accounts for the console, put there by SQL: thousands, in every state.

/** The provider of all accounts here. */
export const PROVIDER = '0198d3a0-0000-7000-8000-0000000000c0'

/**
 * Puts accounts there: most are in sync, some in each other state, with a calendar and a channel
 * each. In the order of their addresses: `person-00001@example.com` and so on.
 */
export async function addAccounts(
  run: (sql: string, values?: readonly unknown[]) => Promise<unknown>,
  number: number,
): Promise<void> {
  await run(
    `insert into external_calendar_connections
       (provider_id, vendor, vendor_account_id, account_label, status, last_synced_at, error_count, last_error, backoff_until, version)
     select $1::uuid, case when n % 2 = 0 then 'google' else 'microsoft' end, 'account-' || n,
       'person-' || lpad(n::text, 5, '0') || '@example.com',
       case when n % 97 = 0 then 'needs_reauth' when n % 211 = 0 then 'disabled' else 'active' end,
       now() - (n % 600) * interval '1 second',
       case when n % 53 = 0 then 3 else 0 end,
       case when n % 53 = 0 or n % 97 = 0 then jsonb_build_object('code', case when n % 97 = 0 then 'vendor/grant-revoked' else 'vendor/unavailable' end,
         'message', 'The vendor does not answer.', 'at', now(), 'traceId', '4bf92f3577b34da6a3ce929d0e0e4736') end,
       case when n % 53 = 0 then now() + interval '4 minutes' end, n
       from generate_series(1, $2::int) n`,
    [PROVIDER, number],
  )
  await run(
    `insert into external_calendars (connection_id, vendor_calendar_id, name, is_primary, last_read_at, last_full_sync)
     select id, 'calendar', 'Work', true, last_synced_at, connected_at from external_calendar_connections`,
  )
  await run(
    `insert into channels (id, connection_id, calendar_id, vendor, status, opened_at, expires_at)
     select 'channel-' || k.id, k.connection_id, k.id, c.vendor, 'open', now() - interval '1 day', now() + interval '3 days'
       from external_calendars k join external_calendar_connections c on c.id = k.connection_id where c.status = 'active'`,
  )
  await run(`analyze external_calendar_connections, external_calendars, channels`)
}
