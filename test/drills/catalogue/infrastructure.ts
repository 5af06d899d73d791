// Faults of broker, database, network and flag server, each under load, each healed and judged by the same invariants.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import type { InvariantId } from '../checkers/check.ts'
import { repeatedMessages } from '../checkers/stream.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { allOf, met } from '../drill.ts'
import { badLine, cutOnce, flapping, partAway, resetOnce } from '../faults/lines.ts'
import { forgetOffsets, kafkaIsUp, producePoison } from '../faults/kafka.ts'
import {
  fillConnections,
  holdLock,
  postgresIsUp,
  readOnly,
  shiftDatabaseClock,
  terminateSessions,
} from '../faults/postgres.ts'
import { isReady } from '../faults/processes.ts'
import { kafkaRequest } from '../../support/tcp-proxy.ts'
import { between } from '../random.ts'

const USUAL: readonly InvariantId[] = ['I10', 'I15', 'I16', 'I17']

/** Load in the background until the returned function is called. */
function steadyLoad(d: DrillRun, changesPerSecond: number): () => Promise<void> {
  let going = true
  const load = (async () => {
    while (going && !d.signal.aborted) await d.load(changesPerSecond, 2_000)
  })()
  return async () => {
    going = false
    await load
  }
}

/** No process ended although something it needs was away. */
function livedThrough(d: DrillRun): { ok: boolean; evidence: string } {
  const ended = d.system.processEvents.filter(({ event }) => event === 'ended')
  return met(
    ended.length === 0,
    `${ended.length} processes ended${ended[0] ? `: ${ended[0].instance} ${ended[0].detail}` : ''}`,
  )
}

const broker: Drill = {
  id: 'BROKER',
  title: 'Broker outages: stopped, frozen, mute, flapping, cut after Produce',
  report: 'infrastructure',
  criteria: {
    'BROKER.1':
      'Webhooks get 503 with Retry-After while rings cannot be stored; none that was acknowledged is lost',
    'BROKER.2': 'Processes live through it and go on by themselves',
    'BROKER.3': 'Nothing lost, doubled or reordered; repeats carry the same id and bytes',
  },
  faults: ['K1', 'K3', 'K4', 'N7', 'N8', 'N9', 'W16'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 12 : 60, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 900_000,
  recoverWithinMs: 120_000,
  limits:
    'One broker: it is stopped in order, frozen and cut off, not killed, because a lone broker may lose a commit marker to SIGKILL. Leader moves need three.',
  async run(d) {
    const rounds = d.profile === 'ci' ? 1 : 10
    const { kafka: line } = d.system.stack.lines
    const { kafka } = d.system.stack
    const isUp = () => kafkaIsUp(d)
    const calm = steadyLoad(d, 25)
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 12 })
    let outages = 0
    for (let round = 0; round < rounds; round += 1) {
      await d.lasting(2_000)
      const stopped = await partAway(d, { fault: 'K1', how: 'stop', part: kafka, isUp })
      await d.lasting(8_000)
      await stopped.heal()
      await d.lasting(4_000)
      const frozen = await partAway(d, { fault: 'K3', how: 'pause', part: kafka, isUp })
      await d.lasting(8_000)
      await frozen.heal()
      await d.lasting(3_000)
      const mute = await badLine(
        d,
        { fault: 'N7', action: 'answers vanish', target: 'kafka', line },
        { mute: 'down' },
      )
      await d.lasting(7_000)
      await mute.heal()
      await d.lasting(2_000)
      const flaps = await flapping(d, { fault: 'N9', action: 'flapping 1 s', target: 'kafka', line }, 1_000)
      await d.lasting(9_000)
      await flaps.heal()
      await d.lasting(2_000)
      outages += 4
      for (const nth of [1, 3, 8]) {
        const cut = { matches: kafkaRequest(0), forward: true, nth }
        await cutOnce(d, { fault: 'N8', action: 'cut after Produce', target: 'kafka', line }, cut)
        outages += 1
      }
      const commit = { matches: kafkaRequest(8), forward: true }
      await cutOnce(d, { fault: 'N8', action: 'cut after OffsetCommit', target: 'kafka', line }, commit)
      const end = { matches: kafkaRequest(26), forward: true }
      await cutOnce(d, { fault: 'K4', action: 'cut after EndTxn', target: 'kafka', line }, end)
    }
    await calm()
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const unavailable = ledgers.webhooks.filter(({ status }) => status === 503).length
      return {
        criteria: {
          'BROKER.1': holds('I15', 'I17'),
          'BROKER.2': allOf(livedThrough(d), met(true, `rest ${Math.round(recovered)} ms`)),
          'BROKER.3': allOf(holds('I1', 'I3', 'I4', 'I8'), met(true, `${repeatedMessages(ledgers)} repeats`)),
        },
        witnesses: [
          { name: 'outages', need: 7, got: outages },
          { name: 'notifications answered 503', need: 10, got: unavailable },
        ],
        numbers: { outages, repeats: repeatedMessages(ledgers), recoveryMs: Math.round(recovered) },
      }
    }
  },
}

const replay: Drill = {
  id: 'OFFSETS',
  title: 'Offsets forgotten: the whole doorbell topic is read again; poison in every topic that we read',
  report: 'infrastructure',
  criteria: {
    'OFFSETS.1': 'A full replay changes no row and publishes nothing',
    'OFFSETS.2': 'Poison is in the dead letters with its reason, its neighbours are unaffected',
  },
  faults: ['K8', 'K9', 'K12', 'K13'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 12 : 60, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: [...USUAL, 'I22'],
  wallMs: 300_000,
  recoverWithinMs: 120_000,
  async run(d) {
    await d.load(25, d.profile === 'ci' ? 8_000 : 60_000)
    await d.converged(60_000)
    const before = await counts(d)
    const [sync, retry] = [d.system.one('sync'), d.system.one('retry')]
    await d.strike(
      { fault: 'K8', action: 'offsets deleted', target: 'groups of sync and retry' },
      async () => {
        await Promise.all([sync.stop(), retry.stop()])
        for (const group of [GROUPS.sync, GROUPS.retry]) await deleteWhenEmpty(d, group)
        await Promise.all([
          sync.restart(AbortSignal.timeout(60_000)),
          retry.restart(AbortSignal.timeout(60_000)),
        ])
      },
    )
    // Long enough to read everything again: the ring of a late notification ends in a recheck 20 s later.
    await d.lasting(10_000)
    await d.converged(60_000)
    const after = await counts(d)
    const calm = steadyLoad(d, 20)
    const junk = [
      Buffer.from('{"not":"avro"}'),
      Buffer.alloc(900_000, 7),
      Buffer.from([0, 0, 0, 0, 99, 1, 2]),
      Buffer.alloc(0),
    ]
    const read = [
      TOPICS.requestedGoogle,
      TOPICS.requestedMicrosoft,
      TOPICS.retry30s,
      TOPICS.retry10m,
      TOPICS.retry6h,
    ]
    await producePoison(
      d,
      read.flatMap((topic) =>
        junk.map((value, index) => ({
          topic,
          key: index === 1 ? null : randomUUID(),
          value,
          partition: index % 4,
        })),
      ),
    )
    await d.lasting(6_000)
    await calm()
    const recovered = await d.converged(90_000)
    return ({ ledgers, holds }) => {
      const rings = (ledgers.topics.get(TOPICS.requestedGoogle) ?? []).length
      return {
        criteria: {
          'OFFSETS.1': met(
            after.events === before.events && after.letters === before.letters,
            `${rings} rings; event rows written ${before.events} → ${after.events}, event messages ${before.letters} → ${after.letters}`,
          ),
          'OFFSETS.2': allOf(holds('I22'), livedThrough(d), met(true, `rest ${Math.round(recovered)} ms`)),
        },
        witnesses: [
          { name: 'rings that were read again', need: 50, got: rings },
          {
            name: 'poison records',
            need: 20,
            got: ledgers.nemesis.filter(({ action }) => action === 'poison').length,
          },
        ],
      }
    }
  },
}

/** A group may be deleted once the broker has seen its last member leave. */
async function deleteWhenEmpty(d: DrillRun, group: string): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await forgetOffsets(d, group)
    } catch (error) {
      if (attempt >= 40) throw error
      await delay(300)
    }
  }
}

async function counts({ system }: DrillRun): Promise<{ readonly events: number; readonly letters: number }> {
  const [row] = await system.ask<{ events: number; letters: number }>(
    `select count(*) filter (where table_name = 'external_calendar_events')::int as events,
            count(*) filter (where table_name = 'outbox' and op = 'INSERT' and new ->> 'topic' = $1)::int as letters
       from drill_audit.entries`,
    [TOPICS.eventChanged],
  )
  return row ?? { events: 0, letters: 0 }
}

const database: Drill = {
  id: 'POSTGRES',
  title: 'Postgres restarted, killed, frozen, full, locked, read-only, its sessions ended',
  report: 'infrastructure',
  criteria: {
    'POSTGRES.1': 'Nothing lost, doubled or torn',
    'POSTGRES.2': 'Processes live through all of it',
    'POSTGRES.3': 'Work resumes by itself after each',
  },
  faults: ['D1', 'D2', 'D3', 'D4', 'D5', 'D6', 'D7', 'D8', 'D11', 'D14', 'P9'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 12 : 60, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 1_200_000,
  recoverWithinMs: 120_000,
  limits: 'Full and slow disks (D12, D13) need a small file system and strace; fsync is off in the drills.',
  async run(d) {
    const restarts = d.profile === 'ci' ? 10 : 40
    const { postgres } = d.system.stack
    const isUp = () => postgresIsUp(d)
    const calm = steadyLoad(d, 25)
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 12 })
    const resumed: number[] = []
    const noteResume = async (what: string) => {
      const before = await audited(d)
      resumed.push(
        await d.until(`work resumes after ${what}`, async () => (await audited(d)) > before, 20_000),
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
    await d.lasting(8_000)
    await frozen.heal()
    await noteResume('a freeze')
    const locked = await holdLock(d, {
      fault: 'D8',
      target: 'connection rows',
      statement: 'select id from external_calendar_connections for update',
    })
    await d.lasting(4_000)
    await locked.heal()
    const exclusive = await holdLock(d, {
      fault: 'D14',
      target: 'external_calendar_events',
      statement: 'lock table external_calendar_events in access exclusive mode',
    })
    await d.lasting(5_000)
    await exclusive.heal()
    await noteResume('locks')
    const full = await fillConnections(d, 'D7')
    await d.lasting(5_000)
    await full.heal()
    await noteResume('a full server')
    const standby = await readOnly(d, 'D11')
    await d.lasting(5_000)
    await standby.heal()
    await noteResume('a read-only server')
    await calm()
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => ({
      criteria: {
        'POSTGRES.1': holds('I1', 'I3', 'I4', 'I6', 'I7', 'I8'),
        'POSTGRES.2': livedThrough(d),
        'POSTGRES.3': met(
          true,
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

const lines: Drill = {
  id: 'LINES',
  title: 'Bad lines: half-open, reset, slow, sliced, narrow, to each dependency',
  report: 'infrastructure',
  criteria: {
    'LINES.1': 'Every wait ends: no process hangs, none dies',
    'LINES.2': 'Nothing lost, doubled or reordered',
  },
  faults: ['N1', 'N2', 'N3', 'N4', 'N5', 'N6', 'N10'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 12 : 60, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 900_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const { stack, lines: own } = d.system
    const all = { postgres: stack.lines.postgres, kafka: stack.lines.kafka, vendor: own.vendor }
    const calm = steadyLoad(d, 20)
    let faults = 0
    for (const [target, line] of Object.entries(all)) {
      await resetOnce(d, { fault: 'N2', action: 'reset', target, line })
      await d.lasting(1_500)
      const halfOpen = await badLine(d, { fault: 'N4', action: 'half-open', target, line }, { mute: 'both' })
      await d.lasting(7_000)
      await halfOpen.heal()
      await d.lasting(2_000)
      const slow = await badLine(
        d,
        { fault: 'N5', action: '+200 ms and jitter', target, line },
        { latencyMs: 200, jitterMs: 100 },
      )
      await d.lasting(4_000)
      await slow.heal()
      const narrow = await badLine(
        d,
        { fault: 'N6', action: 'sliced, 40 kB/s', target, line },
        { sliceBytes: 64, bytesPerSecond: 40_000 },
      )
      await d.lasting(4_000)
      await narrow.heal()
      faults += 4
    }
    // Kafka away, Postgres there; then the other way round.
    const away = await badLine(
      d,
      { fault: 'N10', action: 'refused', target: 'kafka only', line: all.kafka },
      { down: true },
    )
    await d.lasting(4_000)
    await away.heal()
    const other = await badLine(
      d,
      { fault: 'N10', action: 'refused', target: 'postgres only', line: all.postgres },
      { down: true },
    )
    await d.lasting(4_000)
    await other.heal()
    await calm()
    const recovered = await d.converged(120_000)
    return ({ holds }) => ({
      criteria: {
        'LINES.1': allOf(livedThrough(d), met(true, `rest ${Math.round(recovered)} ms`)),
        'LINES.2': holds('I1', 'I3', 'I4', 'I8'),
      },
      witnesses: [{ name: 'faults of lines', need: 12, got: faults }],
      numbers: { recoveryMs: Math.round(recovered) },
    })
  },
}

const flagServer: Drill = {
  id: 'UNLEASH',
  title: 'The flag server is away, hangs, restarts: gates fail closed within 30 s and heal by themselves',
  report: 'infrastructure',
  criteria: {
    'UNLEASH.1': 'Short silences change nothing',
    'UNLEASH.2': 'After 30 s without an answer no unit starts and webhooks get 503 with Retry-After',
    'UNLEASH.3': 'Everything heals by itself and is caught up',
  },
  faults: ['F5', 'F8'],
  profiles: ['ci', 'full'],
  system: (profile) => ({ connections: profile === 'ci' ? 10 : 40, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 600_000,
  recoverWithinMs: 120_000,
  limits: 'A 401 and an empty list of toggles are covered by the integration tests of the gates.',
  async run(d) {
    const { unleash: line } = d.system.stack.lines
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 14 })
    const calm = steadyLoad(d, 15)
    const short = await badLine(
      d,
      { fault: 'F5', action: 'refused 8 s', target: 'unleash', line },
      { down: true },
    )
    await d.lasting(8_000)
    const readyMeanwhile = await Promise.all(d.system.services.map((service) => isReady(service)))
    await short.heal()
    const hung = await badLine(d, { fault: 'F8', action: 'hangs', target: 'unleash', line }, { mute: 'both' })
    const closedAfter = await d.until(
      'the ingress says that it cannot know',
      async () => !(await isReady(d.system.one('ingress'))) && !(await isReady(d.system.one('sync'))),
      40_000,
    )
    const from = Date.now()
    await d.lasting(6_000)
    const to = Date.now()
    await hung.heal()
    await d.until('the gates are known again', () => isReady(d.system.one('ingress')), 20_000)
    await calm()
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const started = ledgers.calls.filter(
        ({ start, path }) => path.endsWith('/events') && start > from + 1_000 && start < to,
      ).length
      const answers = ledgers.webhooks.filter(
        ({ at, status }) => at > from + 500 && at < to && status !== undefined,
      )
      const unavailable = answers.filter(({ status }) => status === 503).length
      return {
        criteria: {
          'UNLEASH.1': met(readyMeanwhile.every(Boolean), 'every process ready through 8 s of refusals'),
          'UNLEASH.2': met(
            closedAfter <= 33_000 && started === 0 && unavailable === answers.length,
            `closed ${Math.round(closedAfter)} ms after the last answer; ${started} calls began; ${unavailable} of ${answers.length} notifications answered 503`,
          ),
          'UNLEASH.3': allOf(
            holds('I1', 'I15'),
            livedThrough(d),
            met(true, `rest ${Math.round(recovered)} ms`),
          ),
        },
        witnesses: [{ name: 'notifications while nothing was known', need: 5, got: answers.length }],
        numbers: { closedAfterMs: Math.round(closedAfter), recoveryMs: Math.round(recovered) },
      }
    }
  },
}

const clock: Drill = {
  id: 'CLOCK',
  title:
    'The clock of the database jumps: an hour ahead, and lost notifications are found by the next reconcile',
  report: 'infrastructure',
  criteria: {
    'CLOCK.1': 'A jump makes no negative waits, no early retries and no storm',
    'CLOCK.2': 'Changes whose notifications were lost for good are found by the reconcile',
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
      const perSecond = Map.groupBy(ledgers.calls, ({ start }) => Math.floor(start / 1_000))
      const peak = Math.max(...[...perSecond.values()].map((calls) => calls.length))
      return {
        criteria: {
          'CLOCK.1': allOf(
            livedThrough(d),
            met(peak < 200, `at most ${peak} calls in a second; rest ${Math.round(recovered)} ms`),
          ),
          'CLOCK.2': allOf(
            holds('I1'),
            met(
              true,
              `${lost} changes without a notification (${stale[0]?.n} connections knew), found ${Math.round(found)} ms after their reconcile was due`,
            ),
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

export const INFRASTRUCTURE: readonly Drill[] = [broker, replay, database, lines, flagServer, clock]
