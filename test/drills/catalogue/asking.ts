// What drills of switches and failures look at: the sync API, slow pages, error lines of the log.
import type { DrillRun } from '../drill.ts'
import { providerToken } from '../environment/tokens.ts'
import type { Ledgers, OwnRequest } from '../ledgers/ledgers.ts'

export const JSON_BODY = { 'content-type': 'application/json' }

/** Lines that say ERROR or worse. */
export function errorLines({ logs }: Pick<Ledgers, 'logs'>): readonly string[] {
  return logs
    .filter(({ fields }) => fields?.['level'] === 'error' || fields?.['level'] === 'fatal')
    .map(({ instance, raw }) => `${instance}: ${raw.slice(0, 200)}`)
}

/** A person's app asks for a sync of its provider. */
export async function askForSync(d: DrillRun, providerId: string, what: string): Promise<OwnRequest> {
  const token = await providerToken(d.system, providerId)
  return d.request({
    what,
    method: 'POST',
    path: '/api/calendar/sync',
    headers: { ...JSON_BODY, authorization: `Bearer ${token}` },
    body: JSON.stringify({ provider_id: providerId }),
  })
}

/**
 * Makes the reconcile due at once. It finds what a vendor never rings again: Google drops what met
 * a dead endpoint.
 */
export async function reconcileNow(
  { system }: DrillRun,
  accounts: readonly { readonly connectionId: string }[] = system.accounts,
): Promise<void> {
  await system.ask(
    "update external_calendar_connections set reconcile_at = calstream_now() where status = 'active' and id = any($1)",
    [accounts.map(({ connectionId }) => connectionId)],
  )
}

/** Long units in small pages, so that a switch meets pages in flight. */
export async function slowPages(d: DrillRun, pageSizeMax: number, latencyMs: number): Promise<void> {
  await d.system.vendor.admin('POST', '/admin/paging', { pageSizeMax })
  await d.system.vendor.admin('POST', '/admin/latency', { ms: latencyMs })
}
