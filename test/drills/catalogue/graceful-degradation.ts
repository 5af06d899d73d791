// GD-4, GD-5 and GD-S: partial failure, flags toggled rapidly, refusals while the database is away,
// and all of it together.
import { SWITCHES } from '#shared/gates/seed-toggles.ts'
import { OFF_WITHIN_MS } from '../checkers/switches.ts'
import { recordedFailures } from '../checkers/failures.ts'
import { allOf, criterion, met, moreThan, named, noted } from '../criterion.ts'
import type { Drill } from '../drill.ts'
import { badLine } from '../faults/lines.ts'
import { everySees, gatesOff, providerRemoved } from '../faults/gates.ts'
import { LISTING, vendorFault } from '../faults/vendors.ts'
import type { OwnRequest } from '../ledgers/ledgers.ts'
import { between, pick } from '../random.ts'
import { askForSync, errorLines, slowPages } from './asking.ts'

const COUNTED = moreThan(0, undefined, '>')

const partialFailure: Drill = {
  id: 'GD-4',
  title: 'Partial system failure: database available, external calendar API unavailable',
  report: 'graceful-degradation',
  criteria: {
    'GD-4.a': criterion`Sync fails gracefully`,
    'GD-4.b': criterion`Error logged`,
    'GD-4.c': criterion`Backoff activated: \`error_count\` ${COUNTED}, \`last_error\` contains error details, \`backoff_until\` set`,
    'GD-4.d': criterion`No partial state`,
    'GD-4.e': criterion`System remains stable`,
    'GD-4.f': criterion`User sees appropriate error`,
  },
  faults: ['A3', 'A9'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 12 : 40,
    microsoft: profile === 'ci' ? 4 : 12,
    eventsPerCalendar: 30,
    latencyMs: 20,
  }),
  invariants: ['I14', 'I15', 'I17', 'I23'],
  wallMs: 300_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const outageMs = d.profile === 'ci' ? 12_000 : 90_000
    await slowPages(d, 8, 20)
    const load = d.load(20, outageMs + 8_000)
    await d.lasting(2_000)
    const [broken, ...healthy] = d.system.accounts
    // One connection is cut off whole. Each other way fails two calls of any connection: the
    // breaker must not open before the last.
    const outage = await vendorFault(
      d,
      {
        fault: 'A3',
        action: '503, reset, truncated, HTML',
        target: 'all, and one connection whole',
        minHits: 6,
      },
      { match: { path: LISTING, accountId: broken!.accountId }, respond: { status: 503 } },
      { match: { path: LISTING }, respond: { status: 500 }, times: 2, skip: 1 },
      { match: { path: LISTING }, reset: 'after', times: 2, skip: 1 },
      { match: { path: LISTING }, truncate: true, times: 2, skip: 1 },
      { match: { path: LISTING }, html: true, times: 2, skip: 1 },
      { match: { path: LISTING, hasPageToken: true }, respond: { status: 502 }, times: 2 },
    )
    const asked = await askForSync(d, broken!.providerId, 'sync API during the failure')
    let row:
      | { error_count: number; last_error: { message?: string } | null; backoff_until: Date | null }
      | undefined
    await d.until(
      'the broken connection shows error_count, last_error and backoff_until',
      async () => {
        const rows = await d.system.ask<NonNullable<typeof row>>(
          'select id, error_count, last_error, backoff_until from external_calendar_connections where provider_id = $1',
          [broken!.providerId],
        )
        row = rows[0]
        return row !== undefined && row.error_count > 0 && row.backoff_until !== null
      },
      20_000,
    )
    const seen = row
    await d.lasting(outageMs)
    await outage.heal()
    await load
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const deaths = ledgers.processes.filter(({ event }) => event === 'ended').length
      const kinds = new Set(
        ledgers.calls.filter(({ faultId }) => faultId !== undefined).map(({ faultId }) => faultId),
      )
      const others = ledgers.calls.filter(
        ({ status, accountId }) => status === 200 && healthy.some((one) => one.accountId === accountId),
      ).length
      return {
        criteria: {
          'GD-4.a': met(
            deaths === 0 && asked.status === 202,
            `${deaths} processes ended; a sync request was answered ${asked.status}`,
          ),
          'GD-4.b': holds('I23'),
          'GD-4.c': allOf(
            COUNTED.judge(seen?.error_count ?? 0, `error_count ${seen?.error_count}`),
            met(
              seen?.backoff_until !== null && Boolean(seen?.last_error?.message),
              `last_error "${seen?.last_error?.message}", backoff_until ${seen?.backoff_until?.toISOString()}`,
            ),
            holds('I14'),
          ),
          'GD-4.d': holds('I6', 'I7'),
          'GD-4.e': noted(holds('I20', 'I21'), `rest ${Math.round(recovered)} ms after the heal`),
          'GD-4.f': met(
            /[A-Z].*\./.test(seen?.last_error?.message ?? '') &&
              !/\bat \w+|Error:|undefined/.test(seen?.last_error?.message ?? ''),
            `"${seen?.last_error?.message}"`,
          ),
        },
        witnesses: [
          { name: 'ways in which the vendor broke', need: 4, got: kinds.size },
          { name: 'good calls for other connections', need: 20, got: others },
        ],
        numbers: { recoveryMs: Math.round(recovered) },
      }
    }
  },
}

const toggling: Drill = {
  id: 'GD-5',
  title: 'Feature flags toggled rapidly',
  report: 'graceful-degradation',
  criteria: {
    'GD-5.a': criterion`No errors during transitions`,
    'GD-5.b': criterion`State consistent after each transition`,
    'GD-5.c': criterion`Operations respect current flag state`,
    'GD-5.d': criterion`No race conditions`,
  },
  faults: ['F4'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 12 : 40,
    microsoft: profile === 'ci' ? 4 : 12,
    eventsPerCalendar: 20,
    latencyMs: 40,
  }),
  invariants: ['I10', 'I11', 'I13', 'I15', 'I17'],
  wallMs: 900_000,
  recoverWithinMs: 90_000,
  async run(d) {
    const flips = d.profile === 'ci' ? 200 : 1_000
    await slowPages(d, 10, 40)
    const load = d.load(20, flips * 120)
    const states = new Map<string, boolean>()
    await d.strike(
      { fault: 'F4', action: `${flips} flips, up to 20 Hz`, target: 'all four switches' },
      async () => {
        for (let flip = 0; flip < flips && !d.signal.aborted; flip += 1) {
          const gate = pick(d.random, SWITCHES)
          const on = !(states.get(gate) ?? true)
          states.set(gate, on)
          await d.system.gates.set(gate, on)
          // Bursts at full speed, then rests in which every process sees what is set.
          await d.lasting(flip % 40 === 39 ? 2_500 : between(d.random, 0, 100))
        }
      },
    )
    for (const gate of SWITCHES) await d.system.gates.set(gate, true)
    await d.until('every process sees the final state', () => everySees(d, [...SWITCHES], 1), 30_000)
    await load
    const recovered = await d.converged(90_000)
    return ({ ledgers, holds }) => {
      const lines = errorLines(ledgers)
      const failures = recordedFailures(ledgers.audit)
      const deaths = ledgers.processes.filter(({ event }) => event === 'ended').length
      return {
        criteria: {
          'GD-5.a': met(
            lines.length === 0 && deaths === 0 && failures.length === 0,
            `${flips} flips: ${lines.length} error lines, ${failures.length} recorded failures, ${deaths} processes ended`,
          ),
          'GD-5.b': holds('I6', 'I7', 'I1'),
          'GD-5.c': holds('I11', 'I13'),
          'GD-5.d': holds('I9', 'I10', 'I8', 'I3'),
        },
        witnesses: [
          { name: 'flips', need: flips, got: ledgers.gates.filter(({ on }) => on !== null).length },
          {
            name: 'changes meanwhile',
            need: 200,
            got: ledgers.changes.filter(({ at }) => at > ledgers.marks.steadyAt).length,
          },
        ],
        numbers: { flips, recoveryMs: Math.round(recovered) },
      }
    }
  },
}

const heldRefusals: Drill = {
  id: 'HELD',
  title: 'Webhooks refused while the database is away: a refusal is a durable row',
  report: 'graceful-degradation',
  criteria: {
    'HELD.1': criterion`A signed notification that cannot be kept is answered ${named(503)}, never ${named(403)}`,
    'HELD.2': criterion`Whatever was answered ${named(403)} is rung after the gate has opened, although the vendor never repeats it`,
  },
  faults: ['F1', 'N1', 'W2'],
  profiles: ['smoke', 'ci', 'full'],
  system: (profile) => ({ connections: profile === 'smoke' ? 6 : 12, eventsPerCalendar: 15, latencyMs: 20 }),
  invariants: ['I13', 'I15', 'I17'],
  wallMs: 200_000,
  recoverWithinMs: 60_000,
  async run(d) {
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 10 })
    const load = d.load(15, 16_000)
    await d.lasting(1_000)
    const off = await gatesOff(d, 'F1', ['CALENDAR_WEBHOOK_ENABLED'])
    await d.lasting(OFF_WITHIN_MS)
    const away = await badLine(
      d,
      { fault: 'N1', action: 'refused', target: 'postgres', line: d.system.stack.lines.postgres },
      { down: true },
    )
    await d.lasting(5_000)
    await away.heal()
    await d.lasting(4_000)
    await off.heal()
    await load
    await d.delivered(60_000)
    const recovered = await d.converged(60_000)
    return ({ ledgers, holds }) => {
      // An answer that came after the window may tell of what is possible again.
      const between = (from: number, to: number) =>
        ledgers.webhooks.filter(
          ({ at, status, latencyMs }) => at > from && at + latencyMs < to && status !== undefined,
        )
      const [from, to] = [(away.entry.activeAt ?? 0) + 300, away.entry.endedAt ?? 0]
      const unkept = between(from, to)
      const refused = between((off.entry.activeAt ?? 0) + OFF_WITHIN_MS, off.entry.endedAt ?? 0).filter(
        ({ status }) => status === 403,
      )
      return {
        criteria: {
          'HELD.1': met(
            unkept.every(({ status }) => status === 503),
            `${unkept.length} notifications while nothing could be kept: ${[...new Set(unkept.map(({ status }) => status))].join()}`,
          ),
          'HELD.2': noted(
            holds('I1', 'I13'),
            `${refused.length} answered 403; rest ${Math.round(recovered)} ms after the switch`,
          ),
        },
        witnesses: [
          { name: 'notifications that could not be kept', need: 5, got: unkept.length },
          { name: 'notifications answered 403', need: 5, got: refused.length },
        ],
      }
    }
  },
}

const everythingDegraded: Drill = {
  id: 'GD-S',
  title: 'All scenarios at once: flags, allowlist and vendor fail together',
  report: 'graceful-degradation',
  criteria: {
    'GD-S.1': criterion`No data corruption in any scenario`,
    'GD-S.2': criterion`No user-facing errors (appropriate messages)`,
  },
  faults: ['F1', 'F2', 'A1'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 12 : 40,
    microsoft: profile === 'ci' ? 4 : 12,
    eventsPerCalendar: 20,
    latencyMs: 40,
  }),
  invariants: ['I10', 'I11', 'I12', 'I13', 'I14', 'I15', 'I16', 'I17', 'I23'],
  wallMs: 300_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const load = d.load(25, 26_000)
    await d.lasting(2_000)
    const outage = await vendorFault(
      d,
      { fault: 'A1', action: 'answers 503', target: 'a third of the calls' },
      { match: { path: LISTING }, respond: { status: 503 }, times: 30 },
    )
    const removed = await providerRemoved(d, 'F2', pick(d.random, d.system.accounts).providerId)
    const answers: OwnRequest[] = []
    for (let round = 0; round < 3; round += 1) {
      const off = await gatesOff(d, 'F1', [pick(d.random, SWITCHES)])
      for (const { providerId } of d.system.accounts.slice(0, 4))
        answers.push(await askForSync(d, providerId, 'sync API'))
      await d.lasting(OFF_WITHIN_MS)
      await off.heal()
    }
    await removed.heal()
    await outage.heal()
    await load
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const bad = answers.filter(({ status }) => ![202, 403].includes(status))
      const stacks = answers.filter(({ body }) => /node_modules|\bat \w+ \(/.test(body))
      return {
        criteria: {
          'GD-S.1': holds('I1', 'I2', 'I3', 'I4', 'I5', 'I6', 'I7', 'I8'),
          'GD-S.2': allOf(
            holds('I17'),
            met(
              bad.length === 0 && stacks.length === 0,
              `${answers.length} answers to people: ${[...new Set(answers.map(({ status }) => status))].join(', ')}`,
            ),
          ),
        },
        witnesses: [
          {
            name: 'changes meanwhile',
            need: 300,
            got: ledgers.changes.filter(({ at }) => at > ledgers.marks.steadyAt).length,
          },
          { name: 'failures recorded', need: 5, got: recordedFailures(ledgers.audit).length },
        ],
        numbers: { recoveryMs: Math.round(recovered) },
      }
    }
  },
}

export const GRACEFUL_DEGRADATION: readonly Drill[] = [
  partialFailure,
  toggling,
  heldRefusals,
  everythingDegraded,
]
