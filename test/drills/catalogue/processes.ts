// Processes frozen, blocked, restarted in order; members that join and leave.
import { repeatedMessages } from '../checkers/stream.ts'
import { STOPS_WITHIN, stopsOf } from '../checkers/keeping.ts'
import type { recordedFailures } from '../checkers/failures.ts'
import { allOf, criterion, exactly, met, noted, type Finding } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { freeze, isReady } from '../faults/processes.ts'
import { between } from '../random.ts'

const zombies: Drill = {
  id: 'ZOMBIE',
  title: 'Frozen past its session, then woken: sync and relay',
  report: 'processes',
  criteria: {
    'ZOMBIE.1': criterion`A frozen owner writes nothing after its successor took over`,
    'ZOMBIE.2': criterion`A frozen relay publishes nothing behind its successor`,
    'ZOMBIE.3': criterion`It notices, rejoins, and the system comes to rest`,
  },
  faults: ['P5', 'P10', 'R6'],
  profiles: ['smoke', 'ci', 'full'],
  system: (profile) => ({
    connections: { smoke: 8, ci: 16, full: 60 }[profile],
    eventsPerCalendar: 40,
    latencyMs: 300,
    processes: { sync: 2, relay: 2 },
  }),
  invariants: ['I15', 'I16', 'I17'],
  wallMs: 900_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const rounds = { smoke: 1, ci: 1, full: 12 }[d.profile]
    await d.system.vendor.admin('POST', '/admin/paging', { pageSizeMax: 10 })
    let rate = 30
    const load = (async () => {
      while (rate > 0 && !d.signal.aborted) await d.load(rate, 3_000)
    })()
    for (let round = 0; round < rounds; round += 1) {
      const victim = d.system.of('sync')[round % 2]!
      await d.lasting(between(d.random, 1_000, 2_500))
      const frozen = await freeze(d, 'P5', victim)
      await d.lasting(14_000)
      await frozen.heal()
      if (d.profile !== 'full') continue
      await d.lasting(2_000)
      const relay = await freeze(d, 'P5', d.system.of('relay')[round % 2]!)
      await d.lasting(9_000)
      await relay.heal()
    }
    // A blocked event loop looks the same to Kafka, and comes back in the middle of a unit.
    const blocked = d.system.of('sync')[0]!
    if (d.profile !== 'smoke') {
      await d.strike(
        { fault: 'P10', action: 'event loop blocked 12 s', target: blocked.instance },
        async () => {
          blocked.killInto('sync.fetched:3:block')
          await d.lasting(18_000)
        },
      )
      // Everything at once, as when a host is suspended.
      const all = await Promise.all(d.system.services.map((service) => freeze(d, 'R6', service)))
      await d.lasting(12_000)
      for (const one of all) await one.heal()
    }
    rate = 60
    await publishLate(d, async () => {
      rate = 0
      await load
    })
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const takeovers = takeoversOf(ledgers.audit)
      return {
        criteria: {
          'ZOMBIE.1': holds('I9', 'I3', 'I8'),
          'ZOMBIE.2': holds('I4', 'I5', 'I8'),
          'ZOMBIE.3': noted(holds('I1'), `rest ${Math.round(recovered)} ms after the last one woke`),
        },
        witnesses: [
          { name: 'connections that went to another process', need: 3, got: takeovers },
          {
            name: 'freezes',
            need: rounds,
            got: ledgers.nemesis.filter(({ action }) => action === 'SIGSTOP').length,
          },
        ],
        numbers: { takeovers, recoveryMs: Math.round(recovered) },
      }
    }
  },
}

/**
 * A relay freezes between reading rows and publishing them. Meanwhile its successor publishes newer
 * rows of the same events. The load ends before it wakes, so nothing covers what it publishes then.
 */
async function publishLate(d: DrillRun, calm: () => Promise<void>): Promise<void> {
  const relay = d.system.of('relay')[0]!
  const action = 'event loop blocked 12 s between reading and publishing'
  await d.strike({ fault: 'P10', action, target: relay.instance }, async () => {
    const { starts } = relay
    relay.killInto('relay.rows-read:20:block')
    await d.until('the relay is back', () => relay.starts > starts && isReady(relay), 30_000)
    await d.until('the relay is blocked', async () => !(await isReady(relay)), 30_000)
    await d.lasting(5_000)
    await calm()
    await d.until('the relay goes on', () => isReady(relay), 30_000)
    await d.lasting(1_000)
  })
}

/** How often the owner of a connection changed from one process to another. */
export function takeoversOf(audit: Parameters<typeof recordedFailures>[0]): number {
  const owners = new Map<string, string>()
  let changes = 0
  for (const row of audit) {
    if (row.table !== 'external_calendar_connections' || row.role !== 'calstream_sync') continue
    if (row.new?.['sync_epoch'] === row.old?.['sync_epoch']) continue
    const id = String(row.connectionId)
    if (owners.has(id) && owners.get(id) !== row.process) changes += 1
    owners.set(id, row.process)
  }
  return changes
}

export const CODE = exactly(0)

const rollingRestart: Drill = {
  id: 'ROLLING',
  title: 'Rolling restart: SIGTERM to every process, one after the other, round after round',
  report: 'processes',
  criteria: {
    'ROLLING.1': criterion`Each ends with code ${CODE} ${STOPS_WITHIN}`,
    'ROLLING.2': criterion`Clean stops are exactly once: no repeat on any topic, no double apply`,
    'ROLLING.3': criterion`Notifications are accepted or repeated by their vendor; none is lost`,
  },
  faults: ['P6'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 12 : 60,
    eventsPerCalendar: 20,
    latencyMs: 60,
    processes: { sync: 2, relay: 2 },
  }),
  invariants: ['I10', 'I15', 'I16', 'I17', 'I24'],
  wallMs: 900_000,
  recoverWithinMs: 90_000,
  async run(d) {
    const rounds = d.profile === 'ci' ? 2 : 10
    // Connections are refused while the only ingress restarts. Drill W1 has a vendor that never
    // repeats.
    await d.system.vendor.admin('POST', '/admin/notifications', {
      retryOnConnectionError: true,
      retryAttemptsMax: 12,
    })
    let going = true
    const load = (async () => {
      while (going && !d.signal.aborted) await d.load(30, 3_000)
    })()
    let restarts = 0
    for (let round = 0; round < rounds && !d.signal.aborted; round += 1)
      for (const service of d.system.services) {
        await d.strike({ fault: 'P6', action: 'SIGTERM', target: service.instance }, async () => {
          await service.stop()
          await service.restart(AbortSignal.timeout(60_000))
        })
        restarts += 1
      }
    going = false
    await load
    const recovered = await d.converged(90_000)
    return ({ ledgers, holds }) => ({
      criteria: {
        'ROLLING.1': allOf(holds('I24'), ended(stopsOf(ledgers))),
        'ROLLING.2': allOf(
          holds('I3', 'I4'),
          met(repeatedMessages(ledgers) === 0, `${repeatedMessages(ledgers)} repeats`),
        ),
        'ROLLING.3': holds('I1', 'I15'),
      },
      witnesses: [
        { name: 'restarts', need: rounds * 7, got: restarts },
        {
          name: 'changes meanwhile',
          need: 300,
          got: ledgers.changes.filter(({ at }) => at > ledgers.marks.steadyAt).length,
        },
      ],
      numbers: { restarts, recoveryMs: Math.round(recovered) },
    })
  },
}

/** Of processes that were stopped: what they ended with, and how soon. */
export function ended(stops: ReturnType<typeof stopsOf>): Finding {
  const codes = stops.map(({ how }) => Number(/^code (\d+)$/.exec(how)?.[1]))
  const slowestMs = Math.max(0, ...stops.map(({ ms }) => ms))
  return allOf(
    STOPS_WITHIN.judge(slowestMs, `at most ${slowestMs} ms`),
    CODE.judge(
      Math.max(0, ...codes),
      `${codes.filter((code) => code === 0).length} of ${codes.length} with code 0`,
    ),
  )
}

const rebalances: Drill = {
  id: 'REBALANCE',
  title: 'Rebalance storm: members of the sync group join and leave in the middle of their work',
  report: 'processes',
  criteria: {
    'REBALANCE.1': criterion`Old and new owner may overlap in reading, never in writing`,
    'REBALANCE.2': criterion`Nothing lost, doubled or reordered`,
  },
  faults: ['K6', 'K7'],
  profiles: ['ci', 'full'],
  system: (profile) => ({
    connections: profile === 'ci' ? 16 : 60,
    eventsPerCalendar: 30,
    latencyMs: 200,
    processes: { sync: 2 },
  }),
  invariants: ['I15', 'I16', 'I17'],
  wallMs: 900_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const turns = d.profile === 'ci' ? 5 : 60
    await d.system.vendor.admin('POST', '/admin/paging', { pageSizeMax: 10 })
    let going = true
    const load = (async () => {
      while (going && !d.signal.aborted) await d.load(30, 3_000)
    })()
    const third = await d.system.start('sync')
    for (let turn = 0; turn < turns && !d.signal.aborted; turn += 1) {
      await d.lasting(between(d.random, 1_500, 4_000))
      await d.strike(
        { fault: 'K6', action: turn % 2 === 0 ? 'member leaves' : 'member dies', target: third.instance },
        async () => {
          if (turn % 2 === 0) {
            await third.stop()
            await d.lasting(between(d.random, 500, 2_000))
            await third.restart(AbortSignal.timeout(60_000))
          } else await third.kill()
        },
      )
    }
    going = false
    await load
    await d.until('the third member is back', () => isReady(third), 60_000)
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => ({
      criteria: {
        'REBALANCE.1': holds('I9', 'I6'),
        'REBALANCE.2': noted(holds('I1', 'I3', 'I8'), `rest ${Math.round(recovered)} ms`),
      },
      witnesses: [
        { name: 'joins and leaves', need: 10, got: turns * 2 },
        { name: 'connections that went to another process', need: 5, got: takeoversOf(ledgers.audit) },
      ],
      numbers: {
        rebalances: turns * 2,
        takeovers: takeoversOf(ledgers.audit),
        recoveryMs: Math.round(recovered),
      },
    })
  },
}

export const PROCESSES: readonly Drill[] = [zombies, rollingRestart, rebalances]
