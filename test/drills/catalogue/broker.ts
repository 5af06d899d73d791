// Faults of the broker: stopped, frozen, cut off; its records unreadable, its offsets forgotten.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import { repeatedMessages } from '../checkers/stream.ts'
import { allOf, criterion, each, met, named, noted } from '../criterion.ts'
import type { Drill, DrillRun } from '../drill.ts'
import { badLine, cutOnce, flapping, partAway } from '../faults/lines.ts'
import { forgetOffsets, kafkaIsUp, producePoison } from '../faults/kafka.ts'
import { channelTokenOf, notify, toldToComeAgain } from '../faults/senders.ts'
import type { OwnRequest } from '../ledgers/ledgers.ts'
import { kafkaRequest } from '../../support/tcp-proxy.ts'
import { livedThrough, steadyLoad, USUAL } from './background.ts'

const LONE_KILLS = 10

const broker: Drill = {
  id: 'BROKER',
  title: 'Broker outages: stopped, frozen, mute, flapping, cut after Produce',
  report: 'infrastructure',
  criteria: {
    'BROKER.1': criterion`Webhooks get ${named(503)} with Retry-After while rings cannot be stored; none that was acknowledged is lost`,
    'BROKER.2': criterion`Processes live through it and go on by themselves`,
    'BROKER.3': criterion`Nothing lost, doubled or reordered; repeats carry the same id and bytes`,
  },
  faults: ['K1', 'K3', 'K4', 'N7', 'N8', 'N9', 'W16'],
  profiles: ['ci', 'full', 'secure'],
  system: (profile) => ({ connections: profile === 'ci' ? 12 : 60, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 900_000,
  recoverWithinMs: 120_000,
  limits:
    'One broker: it is stopped in order, frozen and cut off, not killed, because a lone broker may lose a commit marker to SIGKILL. Leader moves are shown by BROKER3.',
  async run(d) {
    const rounds = d.profile === 'ci' ? 1 : 10
    const awayMs = d.profile === 'ci' ? 5_000 : 8_000
    const { kafka: line } = d.system.stack.lines
    const { kafka } = d.system.stack
    const isUp = () => kafkaIsUp(d)
    const calm = steadyLoad(d, 25)
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 12 })
    const token = channelTokenOf(d, d.system.accounts[0]!)
    const own: OwnRequest[] = []
    // The vendors do not note what else an answer says than its status.
    const ring = async () => {
      const message = { channel: 'drill-broker', number: own.length + 2, token }
      own.push(await notify(d, 'notification while the broker is away', message))
    }
    let outages = 0
    for (let round = 0; round < rounds; round += 1) {
      await d.lasting(2_000)
      const stopped = await partAway(d, { fault: 'K1', how: 'stop', part: kafka, isUp })
      await Promise.all([ring(), d.lasting(awayMs)])
      await stopped.heal()
      await d.lasting(awayMs / 2)
      const frozen = await partAway(d, { fault: 'K3', how: 'pause', part: kafka, isUp })
      await Promise.all([ring(), d.lasting(awayMs)])
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
          'BROKER.1': allOf(each(own, toldToComeAgain), holds('I15', 'I17')),
          'BROKER.2': noted(livedThrough(d), `rest ${Math.round(recovered)} ms`),
          'BROKER.3': noted(holds('I1', 'I3', 'I4', 'I8'), `${repeatedMessages(ledgers)} repeats`),
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

const lone: Drill = {
  id: 'LONE',
  title: 'A lone broker killed with SIGKILL under load, again and again',
  report: 'infrastructure',
  criteria: {
    'LONE.1': criterion`Nothing lost, doubled or reordered, although there is no second copy`,
    'LONE.2': criterion`What was acknowledged before a kill is durable`,
    'LONE.3': criterion`Processes live through it and go on by themselves`,
  },
  faults: ['K1'],
  profiles: ['full'],
  system: () => ({ connections: 12, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 900_000,
  recoverWithinMs: 120_000,
  limits:
    'kill -9 keeps the page cache. A power cut or a lost disk takes what a lone broker had: BROKER3 shows three.',
  async run(d) {
    const { kafka } = d.system.stack
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 12 })
    const calm = steadyLoad(d, 25)
    for (let kill = 0; kill < LONE_KILLS; kill += 1) {
      await d.lasting(4_000 + 1_000 * d.random())
      const away = await partAway(d, { fault: 'K1', how: 'kill', part: kafka, isUp: () => kafkaIsUp(d) })
      await d.lasting(1_000)
      await away.heal()
    }
    await d.lasting(5_000)
    await calm()
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => ({
      criteria: {
        'LONE.1': noted(holds('I1', 'I3', 'I4', 'I8'), `${repeatedMessages(ledgers)} repeats`),
        'LONE.2': holds('I15', 'I17'),
        'LONE.3': noted(livedThrough(d), `rest ${Math.round(recovered)} ms`),
      },
      witnesses: [
        {
          name: 'kills of the broker',
          need: LONE_KILLS,
          got: ledgers.nemesis.filter(({ action }) => action === 'kill').length,
        },
      ],
      numbers: { recoveryMs: Math.round(recovered) },
    })
  },
}

const replay: Drill = {
  id: 'OFFSETS',
  title: 'Offsets forgotten: the whole doorbell topic is read again; poison in every topic that we read',
  report: 'infrastructure',
  criteria: {
    'OFFSETS.1': criterion`A full replay changes no row and publishes nothing`,
    'OFFSETS.2': criterion`Poison is in the dead letters with its reason, its neighbours are unaffected`,
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
    // Long enough to read everything again. A late notification's ring ends in a recheck 20 s
    // later.
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
          'OFFSETS.2': noted(allOf(holds('I22'), livedThrough(d)), `rest ${Math.round(recovered)} ms`),
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

export const BROKER: readonly Drill[] = [broker, lone, replay]
