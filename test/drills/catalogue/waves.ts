// WAVE: a vendor answers 401 to good tokens, to a tenant and then to everybody, and another refuses
// our whole project; then a person really takes a grant back. Only that person may have to consent
// again.
import { allOf, criterion, met, setUp, within } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { vendorFault } from '../faults/vendors.ts'
import type { ConnectedAccount } from '../environment/accounts.ts'
import { reconcileNow } from './asking.ts'
import { MINUTE_MS, MOVED, passTime } from './hours.ts'

/**
 * One tenant is refused so long before the others: longer than what parks a connection refused
 * alone.
 */
const TENANT_MS = 35 * MINUTE_MS
const WAVE_MS = 10 * MINUTE_MS
const CONNECTIONS = 200
const MICROSOFT = 100
/** Refused alone each of a team would be parked after this, with so many fresh tokens (ADR 17). */
const ALONE_MS = 30 * MINUTE_MS
const ALONE_TOKENS = 3
/** As many as are a wave. */
const TEAM = 3
const TEAM_STEP_MS = 5 * MINUTE_MS
/** While the breaker for refusals keeps one of them back, it is not refused. */
const TEAM_STEPS_MAX = 30
/** Less than the quarter of an hour within which refusals are one wave (store/refusals.ts). */
const TOGETHER_MINUTES_MAX = 12
/** Its longest pause is 15 s. */
const READ_WITHIN_MS = 60_000
/** More than a tenth of a vendor's connections, so that it is no team that left. */
const TENANT = 30
const LATENCY_MS = 200
/** Connecting 200 accounts at the latency of the wave would take a minute. */
const LATENCY_BEFORE_MS = 10
const WELL_WITHIN = within(60_000)
const PARKED_WITHIN = within(60_000)
/** Meanwhile every connection is due every half a minute. */
const STEP_MS = 2 * MINUTE_MS
const TENANT_STEP_MS = 5 * MINUTE_MS
const CHANGES_PER_SECOND = 10
const LOAD_MS = 10_000
/** A breaker opens after six refusals in a row. A connection that it keeps back is not asked. */
const REFUSALS_MIN = 6
const AFFECTED_MIN = CONNECTIONS * 0.9
/** Everything but the sign-in. */
const API_OF_GOOGLE = '^/calendar/'
const API_OF_MICROSOFT = '^/v1.0/'

const wave: Drill = {
  id: 'WAVE',
  title: `${ALONE_MS / MINUTE_MS} min of 401 for a team of ${TEAM}, ${TENANT_MS / MINUTE_MS} min for a tenant, then ${WAVE_MS / MINUTE_MS} min of 401 at Microsoft and of a refused project at Google over ${CONNECTIONS} connections; then a grant that is really revoked`,
  report: 'vendors',
  criteria: {
    'WAVE.1': criterion`Nobody is parked by the wave, of ${setUp(CONNECTIONS)} connections`,
    'WAVE.2': criterion`All are well ${WELL_WITHIN} of its end, at ${setUp(LATENCY_MS, 'ms')} a call`,
    'WAVE.3': criterion`A revoked grant waits for the person ${PARKED_WITHIN}`,
  },
  faults: ['A18', 'A19', 'A5'],
  profiles: ['ci', 'full'],
  system: () => ({
    connections: CONNECTIONS,
    microsoft: MICROSOFT,
    eventsPerCalendar: 5,
    latencyMs: LATENCY_BEFORE_MS,
    movesClock: true,
  }),
  invariants: [],
  without: { I9: MOVED.I9 },
  wallMs: 600_000,
  recoverWithinMs: 120_000,
  limits: "Hours pass in seconds while the wave lasts; from its end on the clock is the machine's.",
  async run(d) {
    const { vendor } = d.system
    await vendor.admin('POST', '/admin/latency', { ms: LATENCY_MS })
    const began = Date.now()
    const team = await refusedTeam(d)
    const parked = await waveOf(d)
    await team.fault.heal()
    const ended = Date.now()
    const wellMs = await d.converged(2 * WELL_WITHIN.limit)
    parked.push(...(await parkedNow(d)))
    const revoked = d.system.accounts.find(({ vendor: name }) => name === 'google')!
    await d.strike({ fault: 'A5', action: 'revoked', target: revoked.connectionId }, async () => {
      await vendor.admin('POST', `/admin/accounts/${revoked.accountId}/revoke`)
      await reconcileNow(d, [revoked])
    })
    const parkedMs = await d.until(
      'the revoked connection waits for the person',
      async () => (await parkedNow(d)).includes(revoked.connectionId),
      2 * PARKED_WITHIN.limit,
    )
    const parkedLast = await parkedNow(d)
    return ({ ledgers }) => {
      const answered = (status: number) => ledgers.calls.filter((call) => call.status === status).length
      const states = ledgers.audit.filter(({ table }) => table === 'external_calendar_connections')
      const affected = new Set(
        states
          .filter(
            ({ at, new: row }) => at > began && at < ended && row !== null && row['last_error'] !== null,
          )
          .map(({ connectionId }) => connectionId),
      )
      const ever = states.filter(
        ({ new: row, connectionId }) =>
          row?.['status'] === 'needs_reauth' && connectionId !== revoked.connectionId,
      ).length
      return {
        criteria: {
          'WAVE.1': met(
            parked.length + ever === 0,
            `${parked.length} parked at its end or a minute later, ${ever} rows of the audit`,
          ),
          'WAVE.2': WELL_WITHIN.judge(wellMs, `well ${(wellMs / 1000).toFixed(1)} s after its end`),
          'WAVE.3': allOf(
            PARKED_WITHIN.judge(parkedMs, `parked after ${(parkedMs / 1000).toFixed(1)} s`),
            met(parkedLast.length === 1, `${parkedLast.length} connections wait for a person`),
          ),
        },
        witnesses: [
          { name: 'connections of the team that would be parked alone', need: TEAM, got: team.doomed },
          { name: 'answers of 401', need: REFUSALS_MIN, got: answered(401) },
          { name: 'answers of 403', need: REFUSALS_MIN, got: answered(403) },
          { name: 'connections that were refused or kept back', need: AFFECTED_MIN, got: affected.size },
        ],
        numbers: { wellMs: Math.round(wellMs), parkedMs: Math.round(parkedMs), affected: affected.size },
      }
    }
  },
}

/** From its begin to its end, changes included. @returns who is parked when it ends. */
async function waveOf(d: DrillRun): Promise<string[]> {
  const load = d.load(CHANGES_PER_SECOND, LOAD_MS)
  await reconcileNow(d)
  const tenant = await refusedTenant(d)
  await passTime(d, TENANT_MS, TENANT_STEP_MS)
  await reconcileNow(d)
  const everybody = await Promise.all([unauthorizedWave(d), refusedProject(d)])
  // Some were read a moment before it began.
  await reconcileNow(d)
  await passTime(d, WAVE_MS, STEP_MS)
  await load
  for (const fault of [tenant, ...everybody]) await fault.heal()
  return [...(await parkedNow(d))]
}

/**
 * A few accounts are refused, each time while others are let in, until each of them would be parked
 * if it were alone, or one is parked.
 */
async function refusedTeam(d: DrillRun) {
  const microsoft = d.system.accounts.filter(({ vendor }) => vendor === 'microsoft')
  const team = microsoft.slice(-TEAM)
  const well = microsoft[TENANT]!
  const fault = await vendorFault(
    d,
    { fault: 'A18', action: '401 to good tokens', target: `a team of ${TEAM}` },
    ...refused(team),
  )
  await reconcileNow(d, team)
  await refusedTogether(d, team, well)
  let doomed = 0
  for (let step = 0; step < TEAM_STEPS_MAX && doomed < TEAM; step += 1) {
    await passTime(d, TEAM_STEP_MS, TEAM_STEP_MS)
    await readOnce(d, well)
    if ((await parkedNow(d)).length > 0) break
    doomed = await wouldBeParked(d, team)
  }
  return { fault, doomed }
}

/**
 * The team is refused for the first time within minutes, as one that left is. Left to the steps of
 * time, a slow machine tore them more than a quarter of an hour apart: three strangers then.
 */
async function refusedTogether(
  d: DrillRun,
  team: readonly ConnectedAccount[],
  well: ConnectedAccount,
): Promise<void> {
  for (let minute = 0; minute < TOGETHER_MINUTES_MAX; minute += 1) {
    await d.until('the team is asked', async () => (await teamNow(d, team)).asked === TEAM, READ_WITHIN_MS)
    if ((await teamNow(d, team)).refused === TEAM) return
    await readOnce(d, well)
    await passTime(d, MINUTE_MS, MINUTE_MS)
    await reconcileNow(d, team)
  }
}

/** How many were refused since they were last read, and how many were or are kept back. */
async function teamNow(d: DrillRun, team: readonly ConnectedAccount[]) {
  const [row] = await d.system.ask<{ refused: number; asked: number }>(
    `select count(*) filter (where refused_since is not null)::int as refused,
            count(*) filter (where refused_since is not null or backoff_until is not null)::int as asked
       from external_calendar_connections where id = any($1)`,
    [team.map(({ connectionId }) => connectionId)],
  )
  return row ?? { refused: 0, asked: 0 }
}

/** One answer closes the breaker, which would keep the next refusals back. */
async function readOnce(d: DrillRun, one: ConnectedAccount): Promise<void> {
  const readAt = async () => {
    const [row] = await d.system.ask<{ at: number | null }>(
      'select extract(epoch from last_synced_at)::float8 as at from external_calendar_connections where id = $1',
      [one.connectionId],
    )
    return row?.at ?? 0
  }
  const before = await readAt()
  await reconcileNow(d, [one])
  await d.until('an account that is well is read', async () => (await readAt()) > before, READ_WITHIN_MS)
}

async function wouldBeParked(d: DrillRun, accounts: readonly ConnectedAccount[]): Promise<number> {
  const [row] = await d.system.ask<{ n: number }>(
    `select count(*)::int as n from external_calendar_connections
      where id = any($1) and status = 'active' and refused_tokens >= $2
        and refused_at - refused_since >= $3 * interval '1 millisecond'`,
    [accounts.map(({ connectionId }) => connectionId), ALONE_TOKENS, ALONE_MS],
  )
  return row?.n ?? 0
}

function refused(accounts: readonly ConnectedAccount[]) {
  return accounts.map(({ accountId }) => ({
    match: { vendor: 'microsoft' as const, path: API_OF_MICROSOFT, accountId },
    respond: { status: 401 },
  }))
}

function refusedTenant(d: DrillRun) {
  const accounts = d.system.accounts.filter(({ vendor }) => vendor === 'microsoft').slice(0, TENANT)
  return vendorFault(
    d,
    { fault: 'A18', action: '401 to good tokens', target: `${TENANT} accounts of a tenant` },
    ...refused(accounts),
  )
}

function unauthorizedWave(d: DrillRun) {
  return vendorFault(
    d,
    { fault: 'A18', action: '401 to good tokens', target: 'all of Microsoft' },
    { match: { vendor: 'microsoft', path: API_OF_MICROSOFT }, respond: { status: 401 } },
  )
}

function refusedProject(d: DrillRun) {
  return vendorFault(
    d,
    { fault: 'A19', action: '403 accessNotConfigured', target: 'all of Google' },
    {
      match: { vendor: 'google', path: API_OF_GOOGLE },
      respond: { status: 403, reason: 'accessNotConfigured' },
    },
  )
}

async function parkedNow(d: DrillRun): Promise<readonly string[]> {
  const rows = await d.system.ask<{ id: string }>(
    "select id from external_calendar_connections where status = 'needs_reauth'",
  )
  return rows.map(({ id }) => id)
}

export const WAVES: readonly Drill[] = [wave]
