// OUT-1 … OUT-3: the seed's outages (vendor, database, our endpoint), each with its recovery test.
import { allOf, criterion, exactly, met, noted } from '../criterion.ts'
import type { Drill } from '../drill.ts'
import { recordedFailures, sumOf } from '../checkers/failures.ts'
import { acknowledgements, ringsByKey } from '../checkers/ingress.ts'
import { operatorToken } from '../environment/tokens.ts'
import { badLine } from '../faults/lines.ts'
import { isAlive } from '../faults/processes.ts'
import { LISTING, vendorFault } from '../faults/vendors.ts'
import type { OwnRequest } from '../ledgers/ledgers.ts'

interface SeedRow {
  readonly id: string
  readonly error_count: number
  readonly last_error: { readonly code?: string; readonly message?: string } | null
  readonly backoff_until: Date | null
  readonly sync_needed: boolean
}

/** Failures that count before the seed's query is asked: the breaker opens after ten in a row. */
const COUNTED_MIN = 3
const OUTAGE_CODES: ReadonlySet<string> = new Set(['vendor/unavailable', 'vendor/circuit-open'])

const RESET = exactly(0)

const vendorOutage: Drill = {
  id: 'OUT-1',
  title: 'External calendar API outage: the vendor answers 503',
  report: 'outages',
  criteria: {
    'OUT-1.a': criterion`Sync fails gracefully: nothing crashes, no error leaves the service`,
    'OUT-1.b': criterion`\`backoff_until\` set to a future time`,
    'OUT-1.c': criterion`Error logged with structured format, \`last_error\` holds its details`,
    'OUT-1.d': criterion`\`calendar_sync_failures_total\` increments, once per failure`,
    'OUT-1.e': criterion`No data corruption (no partial state)`,
    'OUT-1.f': criterion`Retry scheduled after the backoff, \`sync_needed\` still true`,
    'OUT-1.r1': criterion`Recovery: sync succeeds after the backoff`,
    'OUT-1.r2': criterion`Recovery: \`backoff_until\` cleared`,
    'OUT-1.r3': criterion`Recovery: \`error_count\` reset to ${RESET}`,
  },
  faults: ['A1', 'A16'],
  profiles: ['smoke', 'ci', 'full', 'secure'],
  system: (profile) => ({
    connections: { smoke: 6, ci: 40, full: 200 }[profile],
    microsoft: { smoke: 0, ci: 12, full: 60 }[profile],
    eventsPerCalendar: 10,
    latencyMs: 20,
  }),
  invariants: ['I10', 'I14', 'I15', 'I16', 'I17', 'I23'],
  wallMs: 300_000,
  recoverWithinMs: 90_000,
  limits: 'The outage lasts seconds, not hours, so the cap of one hour is not reached.',
  async run(d) {
    const outageMs = { smoke: 9_000, ci: 16_000, full: 120_000 }[d.profile]
    const rate = { smoke: 5, ci: 30, full: 50 }[d.profile]
    // It ends before the heal: a ring that comes afterwards would hide that the retries do nothing.
    const load = d.load(rate, outageMs)
    await d.lasting(2_000)
    const outage = await vendorFault(
      d,
      { fault: 'A1', action: 'answers 503', target: 'all connections' },
      { match: { path: LISTING }, respond: { status: 503 } },
    )
    let rows: readonly SeedRow[] = []
    await d.until(
      'most connections have met the outage and back off',
      async () => {
        // A connection refused by the open breaker backs off and counts no attempt. The seed's own
        // `error_count > 0` would miss it.
        rows = await d.system.ask<SeedRow>(
          'select id, error_count, last_error, backoff_until, sync_needed from external_calendar_connections where last_error is not null',
        )
        const counted = rows.filter((row) => row.error_count > 0).length
        return rows.length >= d.system.accounts.length * 0.6 && counted >= COUNTED_MIN
      },
      40_000,
    )
    const seen = rows
    await d.lasting(outageMs)
    const changes = await load
    await outage.heal()
    const recovered = await d.converged(90_000)
    return ({ ledgers, holds }) => {
      const failures = recordedFailures(ledgers.audit)
      const late = failures.filter(({ at, new: row }) => !(Date.parse(String(row?.['backoff_until'])) > at))
      const steps = new Map<string, number>()
      for (const { connectionId } of failures)
        steps.set(String(connectionId), (steps.get(String(connectionId)) ?? 0) + 1)
      const threeSteps = [...steps.values()].filter((n) => n >= 3).length
      const met503 = ledgers.calls.filter(({ status }) => status === 503).length
      const deaths = ledgers.processes.filter(({ event }) => event === 'ended').length
      const atEnd = ledgers.connections
      const during = ledgers.changes.filter(
        ({ at }) => at > (outage.entry.activeAt ?? 0) && at < (outage.entry.endedAt ?? 0),
      ).length
      const counted = sumOf(ledgers, 'calendar_sync_failures_total')
      return {
        criteria: {
          'OUT-1.a': met(deaths === 0, `${met503} calls were answered 503, ${deaths} processes ended`),
          'OUT-1.b': allOf(
            met(
              seen.every((row) => row.backoff_until !== null) && late.length === 0,
              `${seen.length} failing connections have backoff_until, ${seen.filter((row) => row.error_count > 0).length} of them are rows of the seed's query; ${late.length} of ${failures.length} were set to the past`,
            ),
            holds('I14'),
          ),
          'OUT-1.c': allOf(
            met(
              seen.every((row) => OUTAGE_CODES.has(row.last_error?.code ?? '')),
              `last_error.code ${[...new Set(seen.map((row) => row.last_error?.code))].join(', ')}`,
            ),
            holds('I23'),
          ),
          'OUT-1.d': met(
            counted === failures.length && counted > 0,
            `${counted} counted, ${failures.length} recorded by Postgres`,
          ),
          'OUT-1.e': holds('I6', 'I7'),
          'OUT-1.f': allOf(
            met(
              seen.every((row) => row.sync_needed),
              `sync_needed on ${seen.filter((row) => row.sync_needed).length} of ${seen.length}`,
            ),
            holds('I14'),
          ),
          'OUT-1.r1': allOf(
            met(
              ledgers.marks.convergedAt !== null,
              `equal to the vendor ${Math.round(recovered)} ms after the heal`,
            ),
            holds('I1'),
          ),
          'OUT-1.r2': met(
            atEnd.every(({ backoffUntil }) => backoffUntil === null),
            `${atEnd.length} connections without backoff`,
          ),
          'OUT-1.r3': RESET.judge(
            Math.max(0, ...atEnd.map(({ errorCount }) => errorCount)),
            `${atEnd.length} connections, the highest error_count ${Math.max(0, ...atEnd.map(({ errorCount }) => errorCount))}`,
          ),
        },
        witnesses: [
          { name: 'calls answered 503', need: 6, got: met503 },
          { name: 'changes during the outage', need: d.profile === 'smoke' ? 20 : 200, got: during },
          ...(d.profile === 'smoke'
            ? []
            : [{ name: 'connections that backed off three times or more', need: 5, got: threeSteps }]),
        ],
        numbers: { changes, failures: failures.length, recoveryMs: Math.round(recovered) },
      }
    }
  },
}

const databaseOutage: Drill = {
  id: 'OUT-2',
  title: 'Database connection failure',
  report: 'outages',
  criteria: {
    'OUT-2.a': criterion`Operation fails with database error`,
    'OUT-2.b': criterion`Error logged (no silent failure)`,
    'OUT-2.c': criterion`No partial state written`,
    'OUT-2.d': criterion`Transaction rolled back`,
    'OUT-2.e': criterion`Metrics reflect failure`,
    'OUT-2.f': criterion`User-facing error message`,
    'OUT-2.r': criterion`Recovery: the retried operation succeeds, data is consistent`,
  },
  faults: ['D1', 'D15', 'N1'],
  profiles: ['smoke', 'ci', 'full', 'secure'],
  system: (profile) => ({
    connections: { smoke: 6, ci: 12, full: 60 }[profile],
    microsoft: { smoke: 0, ci: 4, full: 20 }[profile],
    eventsPerCalendar: 20,
    latencyMs: 20,
  }),
  invariants: ['I10', 'I15', 'I16', 'I17', 'I23'],
  wallMs: 300_000,
  recoverWithinMs: 60_000,
  limits: 'The connection is cut and refused by a proxy; a full disk and slow disks are not played here.',
  async run(d) {
    const awayMs = { smoke: 6_000, ci: 15_000, full: 60_000 }[d.profile]
    const load = d.load(20, awayMs + 8_000)
    await d.lasting(2_000)
    const { postgres } = d.system.stack.lines
    const token = await operatorToken(d.system)
    const ask = (what: string): Promise<OwnRequest> =>
      d.request({
        what,
        method: 'POST',
        path: '/api/calendar/sync',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify({ provider_id: d.system.accounts[0]?.providerId }),
      })
    // In the middle of a commit first: whether it was carried out is unknown to the client.
    await d.strike({ fault: 'D15', action: 'cut after COMMIT', target: 'postgres' }, async () => {
      const before = postgres.cuts()
      postgres.cutAfter(Buffer.from('COMMIT'))
      await d.until('a session is cut after its COMMIT', () => postgres.cuts() > before, 20_000)
    })
    await d.strike({ fault: 'D15', action: 'cut before COMMIT', target: 'postgres' }, async () => {
      const before = postgres.cuts()
      postgres.cutBefore(Buffer.from('COMMIT'))
      await d.until('a session is cut before its COMMIT', () => postgres.cuts() > before, 20_000)
    })
    const away = await badLine(
      d,
      { fault: 'N1', action: 'refused', target: 'postgres', line: postgres },
      { down: true },
    )
    await d.lasting(1_000)
    const failed = await ask('sync API while the database is away')
    const alive = await Promise.all(d.system.services.map((service) => isAlive(service)))
    await d.lasting(awayMs)
    await away.heal()
    const back = Date.now()
    const again = await d.until(
      'the sync API works again',
      async () => (await ask('sync API afterwards')).status === 202,
      20_000,
    )
    await load
    const recovered = await d.converged(60_000)
    return ({ ledgers, holds }) => {
      const [from, to] = [away.entry.activeAt ?? 0, away.entry.endedAt ?? 0]
      const lines = ledgers.logs.filter(
        ({ raw, fields }) => fields?.['level'] !== 'info' && /store\/|Postgres/.test(raw),
      )
      const counted = sumOf(ledgers, 'calendar_sync_postgres_failures_total')
      const during = ledgers.audit.filter(
        ({ at, role }) => at > from + 500 && at < to && role.startsWith('calstream_'),
      ).length
      const first = ledgers.audit.find(
        ({ at, role, table }) => at > back && role === 'calstream_sync' && table === 'external_calendars',
      )
      return {
        criteria: {
          'OUT-2.a': met(
            failed.status === 503,
            `a sync request was answered ${failed.status}, ${during} rows were written meanwhile`,
          ),
          'OUT-2.b': met(
            lines.length > 0,
            `${lines.length} lines name the store; e.g. ${String(lines[0]?.fields?.['msg'])}`,
          ),
          'OUT-2.c': holds('I6', 'I7'),
          'OUT-2.d': holds('I3', 'I6'),
          'OUT-2.e': met(counted > 0, `calendar_sync_postgres_failures_total is ${counted}`),
          'OUT-2.f': met(
            failed.retryAfter !== null &&
              /later/i.test(failed.body) &&
              !/postgres|sql|ECONN|\bat \w+ \(/i.test(failed.body),
            `503, Retry-After ${failed.retryAfter}, ${failed.body.slice(0, 160)}`,
          ),
          'OUT-2.r': allOf(
            holds('I1'),
            noted(
              met(alive.every(Boolean), `${alive.filter(Boolean).length} of ${alive.length} processes lived`),
              `the request worked ${Math.round(again)} ms after the heal, first page ${Math.round((first?.at ?? Infinity) - back)} ms, rest ${Math.round(recovered)} ms`,
            ),
          ),
        },
        witnesses: [
          { name: 'sessions cut around their COMMIT', need: 2, got: postgres.cuts() },
          {
            name: 'changes while the database was away',
            need: 30,
            got: ledgers.changes.filter(({ at }) => at > from && at < to).length,
          },
        ],
        numbers: { recoveryMs: Math.round(recovered), firstCommitMs: Math.round((first?.at ?? back) - back) },
      }
    }
  },
}

const endpointOutage: Drill = {
  id: 'OUT-3',
  title: 'Webhook endpoint unavailable: 503, then connection refused',
  report: 'outages',
  criteria: {
    'OUT-3.a': criterion`External provider receives error response`,
    'OUT-3.b': criterion`External provider retries webhook (per provider retry policy)`,
    'OUT-3.c': criterion`No duplicate processing when endpoint recovers: processed once`,
    'OUT-3.d': criterion`Idempotency prevents duplicate syncs: a single sync triggered`,
    'OUT-3.r': criterion`Recovery: endpoint restored, provider retries, processed once`,
  },
  faults: ['W1', 'W2', 'K1'],
  profiles: ['smoke', 'ci', 'full', 'secure'],
  system: (profile) => ({
    connections: { smoke: 6, ci: 12, full: 60 }[profile],
    eventsPerCalendar: 20,
    latencyMs: 20,
  }),
  invariants: ['I10', 'I15', 'I16', 'I17'],
  wallMs: 300_000,
  recoverWithinMs: 90_000,
  limits:
    'Google does not promise to repeat after a refused connection; the second part plays a vendor that does. Lost ones: drill W1.',
  async run(d) {
    const awayMs = { smoke: 4_000, ci: 12_000, full: 60_000 }[d.profile]
    await d.system.vendor.admin('POST', '/admin/notifications', {
      retryOnConnectionError: true,
      retryAttemptsMax: 12,
    })
    // What a channel sends when it is opened may come before the ingress is there, and before the
    // vendor repeats.
    const began = Date.now()
    const load = d.load(10, awayMs * 2 + 8_000)
    await d.lasting(2_000)
    const mute = await badLine(
      d,
      {
        fault: 'K1',
        action: 'refused, so that the ingress answers 503',
        target: 'kafka',
        line: d.system.stack.lines.kafka,
      },
      { down: true },
    )
    await d.lasting(awayMs)
    await mute.heal()
    await d.lasting(2_000)
    const refused = await badLine(
      d,
      { fault: 'W1', action: 'connection refused', target: 'ingress', line: d.system.lines.ingress },
      { down: true },
    )
    await d.lasting(awayMs)
    await refused.heal()
    await load
    await d.delivered(75_000)
    const recovered = await d.converged(90_000)
    return ({ ledgers, holds }) => {
      const tries = Map.groupBy(
        ledgers.webhooks.filter(({ attempt, at }) => attempt > 0 && at >= began),
        ({ channelId, messageNumber }) => `g:${channelId}:${messageNumber}`,
      )
      const troubled = [...tries].filter(([, all]) =>
        all.some(({ status, error }) => status === 503 || error !== undefined),
      )
      const healed = troubled.filter(([, all]) => all.some(({ status }) => status === 202 || status === 200))
      const unavailable = ledgers.webhooks.filter(({ status }) => status === 503).length
      const unreachable = ledgers.webhooks.filter(
        ({ error, attempt }) => error !== undefined && attempt > 0,
      ).length
      const rung = ringsByKey(ledgers)
      const twice = [...rung].filter(([, times]) => times > 1).length
      const keys = ledgers.audit.filter(
        ({ table, op }) => table === 'webhook_dedupe_keys' && op === 'INSERT',
      ).length
      return {
        criteria: {
          'OUT-3.a': met(
            unavailable > 0 && unreachable > 0,
            `${unavailable} attempts answered 503, ${unreachable} refused`,
          ),
          'OUT-3.b': met(
            healed.length === troubled.length,
            `${troubled.length} notifications met an error, ${healed.length} of them were repeated and accepted`,
          ),
          'OUT-3.c': noted(
            holds('I16'),
            `${twice} notifications were rung twice, ${keys} keys recorded once each`,
          ),
          'OUT-3.d': holds('I3', 'I10'),
          'OUT-3.r': noted(
            holds('I1', 'I15'),
            `rest ${Math.round(recovered)} ms after the last change, ${new Set(acknowledgements(ledgers).map(({ key }) => key)).size} acknowledged`,
          ),
        },
        witnesses: [
          {
            name: 'notifications that met an error',
            need: d.profile === 'smoke' ? 5 : 50,
            got: troubled.length,
          },
          { name: 'attempts answered 503', need: 3, got: unavailable },
        ],
        numbers: { recoveryMs: Math.round(recovered) },
      }
    }
  },
}

export const OUTAGES: readonly Drill[] = [vendorOutage, databaseOutage, endpointOutage]
