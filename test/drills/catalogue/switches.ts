// GD-1 … GD-3: the seed's switches, each thrown while work is in flight.
import { spawnSync } from 'node:child_process'
import { SWITCHES } from '#shared/gates/seed-toggles.ts'
import { REPOSITORY } from '../../../infra/stack/services.ts'
import { OFF_WITHIN_MS, switchedOff } from '../checkers/switches.ts'
import { isListing } from '../checkers/history.ts'
import { recordedFailures } from '../checkers/failures.ts'
import { allOf, criterion, met, named, noted } from '../criterion.ts'
import type { Drill, DrillRun, Profile } from '../drill.ts'
import { operatorToken } from '../environment/tokens.ts'
import { gatesOff, providerRemoved } from '../faults/gates.ts'
import { LISTING } from '../faults/vendors.ts'
import type { OwnRequest } from '../ledgers/ledgers.ts'
import { between, pick } from '../random.ts'
import { askForSync, errorLines, JSON_BODY, slowPages } from './asking.ts'

const disabledMidOperation: Drill = {
  id: 'GD-1',
  title: 'Calendar sync disabled mid-operation',
  report: 'graceful-degradation',
  criteria: {
    'GD-1.a': criterion`In-flight operations complete (don't abort mid-transaction)`,
    'GD-1.b': criterion`New operations blocked (flag check at entry point)`,
    'GD-1.c': criterion`No partial state written`,
    'GD-1.d': criterion`Errors logged appropriately`,
    'GD-1.e': criterion`System returns to safe state`,
  },
  faults: ['F1'],
  profiles: ['smoke', 'ci', 'full', 'secure'],
  system: (profile) => ({
    connections: { smoke: 6, ci: 20, full: 60 }[profile],
    microsoft: { smoke: 0, ci: 5, full: 15 }[profile],
    eventsPerCalendar: 40,
    latencyMs: 20,
  }),
  invariants: ['I10', 'I11', 'I13', 'I15', 'I17'],
  wallMs: 600_000,
  recoverWithinMs: 90_000,
  async run(d) {
    const flips = { smoke: 2, ci: 6, full: 50 }[d.profile]
    // A full read takes 14 pages and more than two seconds: the switch meets it.
    await slowPages(d, 3, 150)
    // Each calendar once: one whose cursor expires twice within ten minutes rests on purpose.
    const turns = Array.from({ length: flips }, (_, flip) =>
      d.system.accounts.filter((_account, index) => index % flips === flip),
    )
    // The last turn's accounts have only the units that the last switch stops. No later change
    // rings them.
    const loaded = turns.slice(0, -1).flat()
    const load = d.load(
      25,
      flips * 5_000,
      loaded.map(({ accountId }) => accountId),
    )
    const refused: OwnRequest[] = []
    const account = d.system.accounts[0]!
    for (const turn of turns) {
      for (const { accountId } of turn)
        await d.system.vendor.admin('POST', '/admin/cursors/expire', { accountId })
      const held = await nextPageHeld(d, turn[0]!)
      await Promise.all(turn.map(({ providerId }) => askForSync(d, providerId, 'ring while on')))
      await held()
      await d.lasting(between(d.random, 0, 900))
      const off = await gatesOff(d, 'F1', ['CALENDAR_SYNC_ENABLED'])
      refused.push(await askForSync(d, account.providerId, 'sync API while off'))
      await d.lasting(OFF_WITHIN_MS + 1_000)
      await off.heal()
      await d.lasting(500)
    }
    await load
    await d.system.vendor.admin('POST', '/admin/latency', { ms: 20 })
    const recovered = await d.converged(90_000)
    return ({ ledgers, holds }) => {
      const closed = switchedOff(ledgers.gates)
      const listings = ledgers.calls.filter(isListing)
      const inFlight = closed.map(
        ({ from }) => listings.filter(({ start, end }) => start < from && end > from).length,
      )
      const lastCalls = closed.map(({ from, until }) =>
        Math.max(
          0,
          ...listings.filter(({ start }) => start > from && start < until).map(({ start }) => start - from),
        ),
      )
      const inTime = lastCalls.filter((ms) => ms <= OFF_WITHIN_MS).length
      const cutOff = listings.filter(
        ({ status, end }) => status === 0 && closed.some(({ from, until }) => end > from && end < until),
      ).length
      const held = ledgers.audit.filter(
        ({ table, op, role }) => table === 'held_requests' && op !== 'DELETE' && role === 'calstream_sync',
      ).length
      const latest = Math.max(0, ...lastCalls)
      const lines = errorLines(ledgers)
      return {
        criteria: {
          'GD-1.a': allOf(
            met(
              cutOff === 0,
              `${inFlight.reduce((a, b) => a + b, 0)} calls in flight at the switch, ${cutOff} cut off`,
            ),
            holds('I6'),
          ),
          'GD-1.b': allOf(
            met(
              refused.every(
                ({ status, body }) => status === 403 && body.includes('Calendar sync not enabled'),
              ),
              `${refused.length} sync requests answered ${[...new Set(refused.map(({ status }) => status))].join()}`,
            ),
            met(
              inTime === flips,
              `no new call later than ${OFF_WITHIN_MS / 1_000} s in ${inTime} of ${flips} flips, the latest ${Math.round(latest)} ms after the switch`,
            ),
            holds('I11'),
          ),
          'GD-1.c': holds('I6', 'I7'),
          'GD-1.d': met(
            lines.length === 0,
            `${lines.length} lines of level error${lines[0] ? `: ${lines[0]}` : ''}`,
          ),
          'GD-1.e': noted(holds('I1', 'I13'), `caught up ${Math.round(recovered)} ms after the last switch`),
        },
        witnesses: [
          {
            name: 'flips with pages in flight',
            need: Math.ceil(flips * 0.8),
            got: inFlight.filter((n) => n > 0).length,
          },
          { name: 'units that were held by the switch', need: flips, got: held },
        ],
        numbers: {
          flips,
          flipsInTime: inTime,
          lastCallAfterOffMs: Math.round(latest),
          recoveryMs: Math.round(recovered),
        },
      }
    }
  },
}

/** Longer than the longest wait until a switch is thrown and its server has answered. */
const HELD_MS = 3_000

/**
 * The vendor keeps the account's next page, in the middle of a unit, for 3 s. Units that begin
 * together fetch together: in a third of the time none of them has a call under way, and in more of
 * it on a busy machine.
 * @returns what resolves when the page is there.
 */
async function nextPageHeld(d: DrillRun, { accountId }: { readonly accountId: string }) {
  const { vendor } = d.system
  const match = { path: LISTING, accountId, hasPageToken: true }
  const id = await vendor.fault({ match, delayMs: HELD_MS, times: 1 })
  return () => d.until('a page is in flight', async () => (await vendor.hits(id)) > 0, 15_000)
}

/** Most of them Google's: what it answers to a notification is the answer to that one. */
function bothVendors(profile: Profile): ReturnType<Drill['system']> {
  const isShort = profile === 'ci'
  return {
    connections: isShort ? 16 : 60,
    microsoft: isShort ? 4 : 20,
    eventsPerCalendar: 20,
    latencyMs: 50,
  }
}

const allowlistRemoval: Drill = {
  id: 'GD-2',
  title: 'Allowlist removal while connected',
  report: 'graceful-degradation',
  criteria: {
    'GD-2.a': criterion`Existing connections remain in database (not deleted)`,
    'GD-2.b': criterion`New sync operations rejected (${named(403)})`,
    'GD-2.c': criterion`Webhooks for connection rejected (${named(403)})`,
    'GD-2.d': criterion`No errors thrown (graceful rejection)`,
    'GD-2.e': criterion`User sees appropriate message`,
  },
  faults: ['F2'],
  profiles: ['ci', 'full'],
  system: bothVendors,
  invariants: ['I10', 'I12', 'I13', 'I15', 'I17'],
  wallMs: 300_000,
  recoverWithinMs: 90_000,
  async run(d) {
    const offMs = d.profile === 'ci' ? 12_000 : 60_000
    const load = d.load(24, offMs + 12_000)
    await d.lasting(4_000)
    // Graph sends the notifications of several mailboxes in one body. Only Google's answer belongs
    // to one notification.
    const chosen = pick(
      d.random,
      d.system.accounts.filter(({ vendor }) => vendor === 'google'),
    )
    const removed = await providerRemoved(d, 'F2', chosen.providerId)
    await d.lasting(OFF_WITHIN_MS)
    const answer = await askForSync(d, chosen.providerId, 'sync API of the removed provider')
    const other = d.system.accounts.find(({ connectionId }) => connectionId !== chosen.connectionId)!
    const control = await askForSync(d, other.providerId, 'sync API of another provider')
    const snippet = await d.lasting(0).then(() => seedSnippet(d, chosen.providerId))
    await d.lasting(offMs)
    await removed.heal()
    await load
    const recovered = await d.converged(90_000)
    return ({ ledgers, holds }) => {
      const [from, until] = [removed.entry.activeAt ?? 0, removed.entry.endedAt ?? 0]
      const own = new Set(
        ledgers.audit
          .filter(({ table, connectionId }) => table === 'channels' && connectionId === chosen.connectionId)
          .map(({ new: row }) => String(row?.['id'])),
      )
      const webhooks = ledgers.webhooks.filter(
        ({ at, channelId, status }) =>
          at > from + OFF_WITHIN_MS && at < until && own.has(channelId) && status !== undefined,
      )
      const forbidden = webhooks.filter(({ status }) => status === 403).length
      const listings = ledgers.calls.filter(isListing)
      const others = (low: number, high: number) =>
        listings.filter(
          ({ start, accountId }) => accountId !== chosen.accountId && start > low && start < high,
        ).length
      const lines = errorLines(ledgers)
      return {
        criteria: {
          'GD-2.a': allOf(
            holds('I12'),
            met(
              ledgers.connections.length === d.system.accounts.length,
              `${ledgers.connections.length} connections before and after`,
            ),
          ),
          'GD-2.b': met(
            answer.status === 403 && control.status === 202,
            `removed provider ${answer.status}, another ${control.status}`,
          ),
          'GD-2.c': met(
            webhooks.length > 0 && forbidden === webhooks.length,
            `${forbidden} of ${webhooks.length} notifications of its channels answered 403`,
          ),
          'GD-2.d': met(
            lines.length === 0 && recordedFailures(ledgers.audit).length === 0,
            `${lines.length} error lines, ${recordedFailures(ledgers.audit).length} recorded failures`,
          ),
          'GD-2.e': met(
            answer.body.includes('Provider not allowed') &&
              snippet === 'Sync enabled: false\nProvider allowed: false',
            `body ${answer.body.slice(0, 120)}; the seed's snippet printed ${JSON.stringify(snippet)}`,
          ),
        },
        witnesses: [
          { name: 'calls for other connections meanwhile', need: 20, got: others(from, until) },
          { name: 'notifications refused', need: 1, got: forbidden },
        ],
        numbers: { recoveryMs: Math.round(recovered) },
      }
    }
  },
}

/** The seed's TypeScript, run unchanged against the live toggles. Only id and import are put in. */
function seedSnippet({ system }: DrillRun, providerId: string): string {
  const code = `import { isCalendarSyncEnabled, isProviderAllowed } from '#shared/gates/flags.ts'
const providerId = '${providerId}'
console.log('Sync enabled:', isCalendarSyncEnabled(providerId))
console.log('Provider allowed:', isProviderAllowed(providerId))
process.exit(0)`
  const { UNLEASH_URL = '', UNLEASH_TOKEN = '' } = system.env
  const run = spawnSync(process.execPath, ['--input-type=module-typescript', '--eval', code], {
    cwd: REPOSITORY,
    encoding: 'utf8',
    timeout: 20_000,
    env: { PATH: '/usr/bin', UNLEASH_URL, UNLEASH_TOKEN },
  })
  return run.stdout.trim() || run.stderr.trim().slice(0, 300)
}

const rollback: Drill = {
  id: 'GD-3',
  title: 'Rollback: all four flags off',
  report: 'graceful-degradation',
  criteria: {
    'GD-3.a': criterion`All calendar endpoints return ${named(403)}`,
    'GD-3.b': criterion`No sync jobs run`,
    'GD-3.c': criterion`No webhooks processed`,
    'GD-3.d': criterion`No OAuth flows initiated`,
    'GD-3.e': criterion`System stable`,
    'GD-3.f': criterion`No errors`,
  },
  faults: ['F3'],
  profiles: ['ci', 'full'],
  system: bothVendors,
  invariants: ['I11', 'I13', 'I17'],
  wallMs: 600_000,
  recoverWithinMs: 90_000,
  async run(d) {
    const watchMs = d.profile === 'ci' ? 20_000 : 300_000
    const load = d.load(12, watchMs + 8_000)
    await d.lasting(3_000)
    const off = await gatesOff(d, 'F3', [...SWITCHES])
    const answers: OwnRequest[] = []
    const until = Date.now() + watchMs
    while (Date.now() < until && !d.signal.aborted) {
      answers.push(...(await seedCurls(d)))
      await d.lasting(2_000)
    }
    const restartsSeen = d.system.processEvents.filter(({ event }) => event === 'ended').length
    await off.heal()
    await load
    const recovered = await d.converged(90_000)
    return ({ ledgers, holds }) => {
      const [from, to] = [(off.entry.activeAt ?? 0) + OFF_WITHIN_MS, off.entry.endedAt ?? 0]
      const during = ledgers.webhooks.filter(({ at, status }) => at > from && at < to && status !== undefined)
      const wrong = answers.filter(({ status }) => status !== 403)
      const statesAtVendor = ledgers.calls.filter(
        ({ path, start }) => /auth/.test(path) && start > from && start < to,
      )
      const lines = errorLines(ledgers)
      const rung = ledgers.topics.get('calendar.sync.requested.google.v1') ?? []
      return {
        criteria: {
          'GD-3.a': met(
            wrong.length === 0,
            `${answers.length} answers of the seed's three curls, ${wrong.length} other than 403${wrong[0] ? ` (${wrong[0].path} ${wrong[0].status})` : ''}`,
          ),
          'GD-3.b': holds('I11'),
          'GD-3.c': met(
            during.every(({ status }) => status === 403),
            `${during.length} notifications, all refused; ${rung.length} rings in the whole run`,
          ),
          'GD-3.d': met(statesAtVendor.length === 0, `${statesAtVendor.length} consent pages asked for`),
          'GD-3.e': allOf(
            met(restartsSeen === 0, `${restartsSeen} processes ended in ${watchMs / 1000} s`),
            holds('I1', 'I13', 'I20'),
          ),
          'GD-3.f': met(
            lines.length === 0,
            `${lines.length} lines of level error${lines[0] ? `: ${lines[0]}` : ''}`,
          ),
        },
        witnesses: [
          { name: 'answers while off', need: 15, got: answers.length },
          { name: 'notifications while off', need: 50, got: during.length },
        ],
        numbers: { watchedMs: watchMs, recoveryMs: Math.round(recovered) },
      }
    }
  },
}

/** The seed's three curl calls; the sync one with the token of an operator, as the seed says. */
async function seedCurls(d: DrillRun): Promise<readonly OwnRequest[]> {
  const token = await operatorToken(d.system)
  return [
    await d.request({
      what: 'sync endpoint',
      method: 'POST',
      path: '/api/calendar/sync',
      headers: { authorization: `Bearer ${token}`, ...JSON_BODY },
      body: JSON.stringify({ provider_id: d.system.accounts[0]?.providerId }),
    }),
    await d.request({
      what: 'webhook endpoint',
      method: 'POST',
      path: '/api/webhooks/calendar/google',
      headers: JSON_BODY,
      body: '{}',
    }),
    await d.request({ what: 'OAuth endpoint', method: 'GET', path: '/api/auth/google/calendar' }),
  ]
}

export const SWITCH_DRILLS: readonly Drill[] = [disabledMidOperation, allowlistRemoval, rollback]
