// REOPEN: every door refuses for a while. What came meanwhile is rung and caught up once the doors
// are open again. Vendors do not repeat a 403: what is not kept here is lost until the next
// reconcile.
import { TOPICS } from '#schemas/topics.ts'
import { OFF_WITHIN_MS } from '../checkers/switches.ts'
import { isListing } from '../checkers/history.ts'
import { allOf, criterion, met, named, setUp, within } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import type { ConnectedAccount } from '../environment/accounts.ts'
import { gatesOff } from '../faults/gates.ts'
import { inParallel } from '../faults/senders.ts'
import type { Ledgers, OwnRequest } from '../ledgers/ledgers.ts'
import { askForSync, reconcileNow } from './asking.ts'

/** From the last switch back on until every held connection has been rung. */
const RUNG_WITHIN = within(20_000)
/** … and until every connection equals its vendor. */
const CAUGHT_UP_WITHIN = within(60_000)
const LATENCY_MS = 200
const AT_A_TIME = 16

const reopening: Drill = {
  id: 'REOPEN',
  title:
    'Every door closed, then open again: what was refused, held or put off meanwhile is rung and caught up',
  report: 'graceful-degradation',
  criteria: {
    'REOPEN.1': criterion`Notifications and sync requests are refused with ${named(403)}, each with its text`,
    'REOPEN.2': criterion`Every held connection is rung ${RUNG_WITHIN} of re-opening, and so is what the scheduler put off`,
    'REOPEN.3': criterion`All of them are caught up ${CAUGHT_UP_WITHIN} of re-opening at ${setUp(LATENCY_MS, 'ms')} per call of the vendor`,
    'REOPEN.4': criterion`Nothing was done, lost or recorded as a failure meanwhile`,
  },
  faults: ['F1'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 40 : 200,
    microsoft: profile === 'ci' ? 10 : 50,
    eventsPerCalendar: 10,
    latencyMs: 20,
  }),
  invariants: ['I10', 'I11', 'I13', 'I15', 'I17'],
  wallMs: 300_000,
  recoverWithinMs: 90_000,
  async run(d) {
    const { vendor } = d.system
    await vendor.admin('POST', '/admin/latency', { ms: LATENCY_MS })
    // The control: with open doors the same notifications are accepted.
    await d.load(10, 2_000)
    const part = (index: number) => d.system.accounts.filter((_, place) => place % 3 === index)
    const groups = { notified: part(0), asking: part(1), due: part(2) }
    // Units that the switch meets in flight: a full read in many pages for some of each group.
    await vendor.admin('POST', '/admin/paging', { pageSizeMax: 2 })
    const busy = d.system.accounts.filter((_, index) => index % 5 === 0)
    for (const { accountId } of busy) await vendor.admin('POST', '/admin/cursors/expire', { accountId })
    await Promise.all(busy.map(({ providerId }) => askForSync(d, providerId, 'ring while on')))
    const off = await gatesOff(d, 'F1', ['CALENDAR_SYNC_ENABLED', 'CALENDAR_WEBHOOK_ENABLED'])
    await d.lasting(OFF_WITHIN_MS)
    await vendor.admin('POST', '/admin/paging', { pageSizeMax: 2_500 })
    const answers = await changeAll(d, groups)
    await off.heal()
    const reopenedAt = d.system.gates.timeline.at(-1)?.doneAt ?? Date.now()
    await d.converged(CAUGHT_UP_WITHIN.limit + 30_000)
    const caughtUpMs = Date.now() - reopenedAt
    return ({ ledgers, holds }) => {
      const [from, to] = [(off.entry.activeAt ?? 0) + OFF_WITHIN_MS, off.entry.endedAt ?? 0]
      const refused = ledgers.webhooks.filter(
        ({ at, status }) => at > from && at < to && status !== undefined,
      )
      const accepted = ledgers.webhooks.filter(({ at, status }) => at < from && status === 202).length
      const held = heldBy(ledgers, reopenedAt)
      const rings = ringsAfter(ledgers, groups, reopenedAt)
      const wrong = answers.filter(
        ({ status, body }) => status !== 403 || !body.includes('Calendar sync not enabled'),
      )
      const calls = ledgers.calls.filter(isListing).filter(({ start }) => start > from && start < to).length
      const failures = ledgers.logs.filter(({ fields }) => fields?.['msg'] === 'unit failed').length
      return {
        criteria: {
          'REOPEN.1': met(
            wrong.length === 0 && refused.every(({ status }) => status === 403),
            `${refused.length} notifications answered ${[...new Set(refused.map(({ status }) => status))].join()}; ${answers.length} sync requests, ${wrong.length} without the text "Calendar sync not enabled"`,
          ),
          'REOPEN.2': allOf(
            RUNG_WITHIN.judge(
              rings.lastMs,
              `${rings.rung} connections rung, the last ${Math.round(rings.lastMs)} ms after re-opening`,
            ),
            met(rings.missing.length === 0, `${rings.missing.length} never`),
          ),
          'REOPEN.3': allOf(
            CAUGHT_UP_WITHIN.judge(caughtUpMs, `equal to the vendor ${caughtUpMs} ms after re-opening`),
            holds('I1', 'I13'),
          ),
          'REOPEN.4': allOf(
            met(calls === 0 && failures === 0, `${calls} listings while off, ${failures} failures logged`),
            holds('I11'),
          ),
        },
        witnesses: [
          { name: 'notifications accepted before', need: 10, got: accepted },
          {
            name: 'connections held by a refused notification',
            need: Math.ceil(groups.notified.length * 0.9),
            got: held.webhook,
          },
          { name: 'connections held by a refused sync request', need: groups.asking.length, got: held.api },
          { name: 'connections whose unit was stopped by the switch', need: 3, got: held.unit },
          { name: 'connections whose reconcile was put off', need: groups.due.length, got: rings.reconciled },
          { name: 'changes while off', need: d.system.accounts.length, got: changedIn(ledgers, from, to) },
        ],
        numbers: { rungWithinMs: Math.round(rings.lastMs), caughtUpMs, heldConnections: held.all },
      }
    }
  },
}

interface Groups {
  /** The vendor notifies of their changes, and is refused. */
  readonly notified: readonly ConnectedAccount[]
  /** No notification; their apps ask, and are refused. */
  readonly asking: readonly ConnectedAccount[]
  /** Neither: only the scheduler would have looked, and does not. */
  readonly due: readonly ConnectedAccount[]
}

/** Every account changes while the doors are closed. @returns what the apps were answered. */
async function changeAll(d: DrillRun, groups: Groups): Promise<readonly OwnRequest[]> {
  const { vendor } = d.system
  const change = (accounts: readonly ConnectedAccount[]) =>
    inParallel(AT_A_TIME, accounts.length, (index) => d.load(2, 1_000, [accounts[index]!.accountId]))
  await change(groups.notified)
  // Graph repeats a refused delivery, so deliveries do not end here. The drill waits for the rows.
  const notified = groups.notified.map(({ connectionId }) => connectionId)
  await d.until(
    'most of the notifications were refused',
    async () => (await heldOf(d, notified)) >= notified.length * 0.9,
    20_000,
  )
  await vendor.admin('POST', '/admin/notifications', { drop: 1 })
  await change([...groups.asking, ...groups.due])
  await reconcileNow(d, groups.due)
  const answers = await inParallel(AT_A_TIME, groups.asking.length, (index) =>
    askForSync(d, groups.asking[index]!.providerId, 'sync API while off'),
  )
  await d.lasting(3_000)
  await vendor.admin('POST', '/admin/notifications', { drop: 0 })
  return answers
}

async function heldOf({ system }: DrillRun, connectionIds: readonly string[]): Promise<number> {
  const [row] = await system.ask<{ n: number }>(
    'select count(*)::int as n from held_requests where connection_id = any($1::uuid[])',
    [connectionIds],
  )
  return row?.n ?? 0
}

/** How many connections were held, by what refused them. */
function heldBy({ audit }: Ledgers, before: number) {
  const rows = audit.filter(
    ({ table, op, at }) => table === 'held_requests' && op !== 'DELETE' && at < before,
  )
  const count = (role: string, gate?: string) =>
    new Set(
      rows
        .filter((row) => row.role === role && (gate === undefined || row.new?.['gate'] === gate))
        .map(({ connectionId }) => connectionId),
    ).size
  return {
    webhook: count('calstream_ingress', 'CALENDAR_WEBHOOK_ENABLED'),
    api: count('calstream_ingress', 'CALENDAR_SYNC_ENABLED'),
    unit: count('calstream_sync'),
    all: new Set(rows.map(({ connectionId }) => connectionId)).size,
  }
}

/**
 * When the waiting work was rung. A held row goes only once its ring is durable. A reconcile is
 * read from the doorbell topic.
 */
function ringsAfter(ledgers: Ledgers, { due }: Groups, reopenedAt: number) {
  const rows = ledgers.audit.filter(({ table }) => table === 'held_requests')
  const owed = new Set(
    rows.filter(({ op, at }) => op !== 'DELETE' && at < reopenedAt).map((row) => row.connectionId),
  )
  const first = new Map<string | null, number>()
  for (const { op, at, connectionId } of rows)
    if (op === 'DELETE' && at > reopenedAt && !first.has(connectionId)) first.set(connectionId, at)
  const reconciles = new Set<string>()
  const requested = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft]
  for (const { key, headers, message } of requested.flatMap((topic) => ledgers.topics.get(topic) ?? [])) {
    const at = Date.parse(headers.get('ce_time') ?? '')
    const { reason } = (message ?? {}) as { reason?: string }
    if (reason !== 'reconcile' || !(at > reopenedAt) || reconciles.has(key)) continue
    if (!due.some(({ connectionId }) => connectionId === key)) continue
    reconciles.add(key)
    first.set(key, Math.max(at, first.get(key) ?? 0))
  }
  const missing = [...owed, ...due.map(({ connectionId }) => connectionId)].filter((id) => !first.has(id))
  const lastMs = Math.max(0, ...[...first.values()].map((at) => at - reopenedAt))
  return { missing, lastMs, rung: first.size, reconciled: reconciles.size }
}

function changedIn({ changes }: Ledgers, from: number, to: number): number {
  return new Set(changes.filter(({ at }) => at > from && at < to).map((change) => change.accountId)).size
}

export const REOPENING: readonly Drill[] = [reopening]
