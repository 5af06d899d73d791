// Faults of the database server and of its clock.
import { allOf, below, criterion, noted, within } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { partAway } from '../faults/lines.ts'
import {
  fillConnections,
  holdLock,
  postgresIsUp,
  readOnly,
  shiftDatabaseClock,
  terminateSessions,
} from '../faults/postgres.ts'
import { mostWithin } from '../ledgers/calls.ts'
import { between } from '../random.ts'
import { livedThrough, steadyLoad, USUAL } from './background.ts'

const RESUMES_WITHIN = within(20_000)

const database: Drill = {
  id: 'POSTGRES',
  title: 'Postgres restarted, killed, frozen, full, locked, read-only, its sessions ended',
  report: 'infrastructure',
  criteria: {
    'POSTGRES.1': criterion`Nothing lost, doubled or torn`,
    'POSTGRES.2': criterion`Processes live through all of it`,
    'POSTGRES.3': criterion`Work resumes by itself ${RESUMES_WITHIN} after each`,
  },
  faults: ['D1', 'D2', 'D3', 'D4', 'D5', 'D6', 'D7', 'D8', 'D11', 'D14', 'P9'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 12 : 60, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 1_200_000,
  recoverWithinMs: 120_000,
  limits: 'Full and slow disks (D12, D13) need a small file system and strace; fsync is off in the drills.',
  async run(d) {
    const restarts = d.profile === 'ci' ? 6 : 40
    const lastsMs = d.profile === 'ci' ? 3_000 : 5_000
    const { postgres } = d.system.stack
    const isUp = () => postgresIsUp(d)
    const calm = steadyLoad(d, 25)
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 12 })
    const resumed: number[] = []
    const noteResume = async (what: string) => {
      const before = await audited(d)
      resumed.push(
        await d.until(
          `work resumes after ${what}`,
          async () => (await audited(d)) > before,
          RESUMES_WITHIN.limit,
        ),
      )
    }
    for (let n = 0; n < restarts && !d.signal.aborted; n += 1) {
      const away = await partAway(d, {
        fault: n === 0 ? 'D1' : 'D2',
        how: n % 3 === 2 ? 'kill' : 'stop',
        part: postgres,
        isUp,
      })
      await d.lasting(between(d.random, 0, 2_000))
      await away.heal()
      await noteResume('a restart')
      await d.lasting(between(d.random, 500, 3_000))
    }
    for (let n = 0; n < 4; n += 1) {
      await terminateSessions(d, 'D3', { inTransaction: n % 2 === 0, max: 8 })
      await d.lasting(700)
    }
    await d.strike({ fault: 'D4', action: 'kill -9 one backend', target: 'postgres' }, () =>
      killOneBackend(d),
    )
    await d.until('the server is back from its recovery', isUp, 30_000)
    await noteResume('the death of a backend')
    const frozen = await partAway(d, { fault: 'D5', how: 'pause', part: postgres, isUp })
    await d.lasting(lastsMs * 1.6)
    await frozen.heal()
    await noteResume('a freeze')
    const locked = await holdLock(d, {
      fault: 'D8',
      target: 'connection rows',
      statement: 'select id from external_calendar_connections for update',
    })
    await d.lasting(lastsMs * 0.8)
    await locked.heal()
    const exclusive = await holdLock(d, {
      fault: 'D14',
      target: 'external_calendar_events',
      statement: 'lock table external_calendar_events in access exclusive mode',
    })
    await d.lasting(lastsMs)
    await exclusive.heal()
    await noteResume('locks')
    const full = await fillConnections(d, 'D7')
    await d.lasting(lastsMs)
    await full.heal()
    await noteResume('a full server')
    const standby = await readOnly(d, 'D11')
    await d.lasting(lastsMs)
    await standby.heal()
    await noteResume('a read-only server')
    await calm()
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => ({
      criteria: {
        'POSTGRES.1': holds('I1', 'I3', 'I4', 'I6', 'I7', 'I8'),
        'POSTGRES.2': livedThrough(d),
        'POSTGRES.3': RESUMES_WITHIN.judge(
          Math.max(...resumed),
          `slowest resume ${Math.round(Math.max(...resumed))} ms, rest ${Math.round(recovered)} ms`,
        ),
      },
      witnesses: [
        {
          name: 'restarts',
          need: restarts,
          got: ledgers.nemesis.filter(({ fault }) => fault === 'D1' || fault === 'D2').length,
        },
        {
          name: 'changes meanwhile',
          need: 500,
          got: ledgers.changes.filter(({ at }) => at > ledgers.marks.steadyAt).length,
        },
      ],
      numbers: {
        restarts,
        slowestResumeMs: Math.round(Math.max(...resumed)),
        recoveryMs: Math.round(recovered),
      },
    })
  },
}

async function audited({ system }: DrillRun): Promise<number> {
  const rows = await system.ask<{ n: string }>(
    "select coalesce(max(seq), 0)::text as n from drill_audit.entries where role = 'calstream_sync'",
  )
  return Number(rows[0]?.n ?? 0)
}

async function killOneBackend({ system }: DrillRun): Promise<void> {
  const rows = await system.ask<{ pid: number }>(
    "select pid from pg_stat_activity where datname = current_database() and usename = 'calstream_sync' limit 1",
  )
  const pid = rows[0]?.pid
  if (pid !== undefined) process.kill(pid, 'SIGKILL')
}

/** Several times what the load costs; all connections at once would be more. */
const NO_STORM = below(200, undefined, 'fewer than')

const clock: Drill = {
  id: 'CLOCK',
  title:
    'The clock of the database jumps: an hour ahead, and lost notifications are found by the next reconcile',
  report: 'infrastructure',
  criteria: {
    'CLOCK.1': criterion`A jump makes no negative waits, no early retries and no storm: ${NO_STORM} calls in any second`,
    'CLOCK.2': criterion`Changes whose notifications were lost for good are found by the reconcile`,
  },
  faults: ['C1', 'A12', 'W1'],
  profiles: ['ci', 'full'],
  system: () => ({ connections: 10, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: ['I10', 'I15', 'I16', 'I17'],
  wallMs: 300_000,
  recoverWithinMs: 120_000,
  async run(d) {
    await d.system.vendor.admin('POST', '/admin/notifications', { drop: 1 })
    const lost = await d.load(20, 5_000)
    await d.lasting(1_000)
    const stale = await d.system.ask<{ n: number }>(
      'select count(*)::int as n from external_calendar_connections where sync_needed',
    )
    await d.system.vendor.admin('POST', '/admin/notifications', { drop: 0 })
    await d.strike({ fault: 'C1', action: 'database clock +20 min', target: 'postgres' }, () =>
      shiftDatabaseClock(d, '20 minutes'),
    )
    const found = await d.converged(60_000)
    await d.strike({ fault: 'C1', action: 'database clock +1 h 20 min', target: 'postgres' }, () =>
      shiftDatabaseClock(d, '80 minutes'),
    )
    await d.load(20, 4_000)
    await d.strike({ fault: 'C1', action: 'database clock back', target: 'postgres' }, () =>
      shiftDatabaseClock(d, '0'),
    )
    await d.load(20, 4_000)
    const recovered = await d.converged(60_000)
    return ({ ledgers, holds }) => {
      const peak = mostWithin(
        ledgers.calls.map(({ start }) => start),
        1_000,
      )
      return {
        criteria: {
          'CLOCK.1': allOf(
            livedThrough(d),
            noted(
              NO_STORM.judge(peak, `at most ${peak} calls in a second`),
              `rest ${Math.round(recovered)} ms`,
            ),
          ),
          'CLOCK.2': noted(
            holds('I1'),
            `${lost} changes without a notification (${stale[0]?.n} connections knew), found ${Math.round(found)} ms after their reconcile was due`,
          ),
        },
        witnesses: [
          {
            name: 'notifications lost',
            need: 50,
            got: ledgers.webhooks.filter(({ error }) => error === 'dropped').length,
          },
        ],
        numbers: { peakCallsPerSecond: peak },
      }
    }
  },
}

export const DATABASE: readonly Drill[] = [database, clock]
