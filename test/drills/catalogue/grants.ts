// GRANT: access tokens are rejected, a grant is revoked, credentials are altered. Each stays bound
// to its owner.
import { recordedFailures } from '../checkers/failures.ts'
import { allOf, atMost, criterion, met, noted, setUp } from '../criterion.ts'
import type { Drill } from '../drill.ts'
import { LISTING, vendorFault } from '../faults/vendors.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'

const REFRESHES = atMost(1)
const LATE_MS = 5_000
const LATE_CALLS = atMost(2)

export const grants: Drill = {
  id: 'GRANT',
  title: 'Access tokens rejected, a grant revoked, credentials altered and swapped',
  report: 'vendors',
  criteria: {
    'GRANT.1': criterion`A rejected access token costs ${REFRESHES} refresh; nobody notices`,
    'GRANT.2': criterion`A revoked grant parks its connection (\`needs_reauth\`) without a storm, with ${LATE_CALLS} calls later than ${setUp(LATE_MS, 'ms')} after it; others go on`,
    'GRANT.3': criterion`Altered or swapped credentials are refused and never used`,
  },
  faults: ['A4', 'A5'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 12 : 60, eventsPerCalendar: 10, latencyMs: 20 }),
  invariants: ['I10', 'I14', 'I15', 'I19', 'I23'],
  wallMs: 300_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const [revoked, tampered, left, right, ...others] = d.system.accounts
    const load = d.load(25, 16_000)
    await d.lasting(1_000)
    const rejected = await vendorFault(
      d,
      { fault: 'A4', action: '401 once each', target: 'others' },
      ...others.map(({ accountId }) => ({
        match: { path: LISTING, accountId },
        respond: { status: 401, reason: 'authError' },
        times: 1,
      })),
    )
    await d.strike({ fault: 'A5', action: 'revoked', target: revoked!.connectionId }, () =>
      d.system.vendor.admin('POST', `/admin/accounts/${revoked!.accountId}/revoke`),
    )
    await d.until(
      'the revoked connection is parked',
      async () => (await statusOf(revoked!.connectionId)) === 'needs_reauth',
      30_000,
    )
    async function statusOf(id: string): Promise<string | undefined> {
      const rows = await d.system.ask<{ status: string }>(
        'select status from external_calendar_connections where id = $1',
        [id],
      )
      return rows[0]?.status
    }
    const victims = [tampered!, left!, right!]
    const before = await d.system.ask<Record<string, unknown>>(
      'select * from connection_credentials where connection_id = any($1::uuid[])',
      [victims.map(({ connectionId }) => connectionId)],
    )
    const tamperings = await Promise.all(
      victims.map((account, index) =>
        d.inject({
          fault: 'A5',
          action: 'tamper-credentials',
          target: account.connectionId,
          inject: async () => {
            // One bit of the first; the other two get each other's.
            const own = before.find((row) => row['connection_id'] === account.connectionId)
            const other = before.find(
              (row) => row['connection_id'] === victims[index === 1 ? 2 : 1]?.connectionId,
            )
            const source = index === 0 ? own : other
            const spoilt = (text: unknown) => (index === 0 && typeof text === 'string' ? flipped(text) : text)
            await d.system.ask(
              'update connection_credentials set refresh_token = $2, access_token = $3, version = version + 1 where connection_id = $1',
              [account.connectionId, spoilt(source?.['refresh_token']), spoilt(source?.['access_token'])],
            )
          },
          isActive: async () => {
            const rows = await d.system.ask<{ code: string | null }>(
              "select last_error ->> 'code' as code from external_calendar_connections where id = $1",
              [account.connectionId],
            )
            return rows[0]?.code?.includes('credential') ?? false
          },
          heal: async () => {
            const own = before.find((row) => row['connection_id'] === account.connectionId)
            await d.system.ask(
              `update connection_credentials set refresh_token = $2, access_token = $3, version = version + 1 where connection_id = $1`,
              [account.connectionId, own?.['refresh_token'], own?.['access_token']],
            )
            // What connecting again does: the connection is active and may be rung.
            await d.system.ask(
              `update external_calendar_connections set status = 'active', sync_needed = true, error_count = 0, last_error = null,
                      backoff_until = calstream_now() - interval '1 minute', rung_at = null, sync_epoch = sync_epoch + 1 where id = $1`,
              [account.connectionId],
            )
          },
          isHealed: () => true,
        }),
      ),
    )
    await d.lasting(3_000)
    for (const one of tamperings) await one.heal()
    await rejected.heal()
    await load
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const ended = ledgers.nemesis.find(({ action }) => action === 'revoked')?.activeAt ?? 0
      const storm = ledgers.calls.filter(
        ({ accountId, start }) => accountId === revoked!.accountId && start > ended + LATE_MS,
      ).length
      const unauthorised = ledgers.calls.filter(({ status }) => status === 401).length
      const refreshes = mostRefreshes(ledgers, others, rejected.entry.startedAt)
      const othersFailed = recordedFailures(ledgers.audit).filter(({ connectionId }) =>
        others.some((one) => one.connectionId === connectionId),
      ).length
      return {
        criteria: {
          'GRANT.1': allOf(
            met(othersFailed === 0, `${unauthorised} answers of 401, ${othersFailed} failures recorded`),
            REFRESHES.judge(refreshes, `at most ${refreshes} refreshes of a connection`),
          ),
          'GRANT.2': allOf(
            LATE_CALLS.judge(storm, `${storm} calls for it later than ${LATE_MS} ms after`),
            holds('I1'),
          ),
          'GRANT.3': noted(holds('I19'), `rest ${Math.round(recovered)} ms`),
        },
        witnesses: [
          { name: 'answers of 401', need: 4, got: unauthorised },
          { name: 'credentials tampered with', need: 3, got: tamperings.length },
        ],
      }
    }
  },
}

/**
 * The highest count of access token replacements of one connection since then. Each one gives its
 * credentials a new version.
 */
function mostRefreshes(
  { audit }: Ledgers,
  accounts: readonly { readonly connectionId: string }[],
  since: number,
): number {
  const own = new Set<string | null>(accounts.map(({ connectionId }) => connectionId))
  const renewed = audit.filter(
    ({ table, op, at, connectionId, old, new: row }) =>
      table === 'connection_credentials' &&
      op === 'UPDATE' &&
      at > since &&
      own.has(connectionId) &&
      row?.['version'] !== old?.['version'],
  )
  const perConnection = Map.groupBy(renewed, ({ connectionId }) => connectionId)
  return Math.max(0, ...[...perConnection.values()].map((rows) => rows.length))
}

/** Another character in the middle of the ciphertext. */
function flipped(text: string): string {
  const at = Math.floor(text.length * 0.7)
  const replacement = text[at] === 'A' ? 'B' : 'A'
  return `${text.slice(0, at)}${replacement}${text.slice(at + 1)}`
}
