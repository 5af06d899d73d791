// What only the secured stack can show: one of three brokers dies and leaders move, passwords and
// certificates change under load. They run with `--secure` alone.
import path from 'node:path'
import { TOPICS } from '#schemas/topics.ts'
import { keptAuthority } from '../../../infra/stack/authority.ts'
import { leadersOf, servingBrokers } from '../../../infra/stack/kafka-operator.ts'
import { repeatedMessages } from '../checkers/stream.ts'
import { allOf, atLeast, criterion, each, type Finding, met, named, noted, within } from '../criterion.ts'
import { type Drill, DrillInvalid, type DrillRun } from '../drill.ts'
import { replicasWanted } from '../faults/kafka.ts'
import { partAway } from '../faults/lines.ts'
import { readinessOf } from '../faults/processes.ts'
import {
  knownBy,
  leaveTls,
  loginsOf,
  newAuthority,
  newPasswords,
  securedPartsOf,
} from '../faults/rotation.ts'
import { freshnessOf } from '../ledgers/freshness.ts'
import type { Ledgers } from '../ledgers/ledgers.ts'
import { livedThrough, steadyLoad, USUAL } from './background.ts'

const MOVED = atLeast(1)
/** What this load goes through. */
const LED = [TOPICS.eventChanged, TOPICS.eventState, TOPICS.requestedGoogle]
/** A client tells an error once in 10 s. */
const NOT_ENOUGH_MS = 12_000
/** What clients were answered, as their log lines tell it. */
const ANSWERS = {
  NOT_LEADER: /not the leader for that topic-partition/,
  NOT_ENOUGH_REPLICAS: /fewer in-sync replicas than required/,
  REQUEST_TIMED_OUT: /request timed out|Request \w+\(.*\) timed out/i,
} as const
/** A killed controller is replaced first, and the new one gives every broker its whole session. */
const FAIL_OVER_MS = 60_000
/** Longer than a client may go on without a new login: AUTHENTICATE_AGAIN_MS of the drills. */
const LOGGED_IN_AGAIN_MS = 30_000
const TOLD_WITHIN = within(20_000)

const oneOfThree: Drill = {
  id: 'BROKER3',
  title: 'One of three brokers killed under load, each in turn; then two of them at once',
  report: 'infrastructure',
  criteria: {
    'BROKER3.1': criterion`Nothing lost, doubled or reordered; repeats carry the same id and bytes`,
    'BROKER3.2': criterion`Of the partitions that a killed broker led, ${MOVED} is led by another while it is away`,
    'BROKER3.3': criterion`What was acknowledged while brokers were away is durable`,
    'BROKER3.4': criterion`Processes live through it and go on by themselves`,
  },
  faults: ['K2', 'K5'],
  profiles: ['secure'],
  system: () => ({ connections: 12, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 900_000,
  recoverWithinMs: 120_000,
  limits:
    'kill -9 keeps the page cache, and the three share one machine: no power cut, no lost disk. How late a change was held while leaders moved is printed (dipMs) and not judged: vendors repeat refused notifications after waits of their own.',
  async run(d) {
    const { nodes, operator } = securedPartsOf(d.system).cluster
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 12 })
    const calm = steadyLoad(d, 25)
    const moves: Move[] = []
    for (const [index, node] of nodes.entries()) {
      await d.lasting(3_000)
      const id = index + 1
      const before = await ledBy(d, id)
      const isUp = () =>
        servingBrokers(operator).then(
          (ids) => ids.includes(id),
          () => false,
        )
      const killed = await partAway(d, { fault: 'K2', how: 'kill', part: node, isUp })
      const tookMs = await d.until(
        `others lead what ${node.name} led`,
        () =>
          ledBy(d, id).then(
            (led) => led.length === 0,
            () => false,
          ),
        FAIL_OVER_MS,
      )
      const { startedAt: from } = killed.entry
      moves.push({ node: node.name, partitions: before.length, from, until: Date.now() })
      if (index === 0) {
        const refused = await replicasWanted(d, { topics: LED, wanted: nodes.length, usual: 2 })
        await d.lasting(NOT_ENOUGH_MS)
        await refused.heal()
      }
      d.say(`${before.length} partitions of ${node.name} are led by others after ${Math.round(tookMs)} ms`)
      await d.lasting(5_000)
      await killed.heal()
    }
    await d.lasting(3_000)
    const [, second, third] = nodes
    if (!second || !third) throw new DrillInvalid('three brokers are needed')
    const allServe = () =>
      servingBrokers(operator).then(
        (ids) => ids.length === nodes.length,
        () => false,
      )
    const pair = {
      name: `${second.name} and ${third.name}`,
      stop: () => both(second.stop(), third.stop()),
      kill: () => both(second.kill(), third.kill()),
      pause: () => [second, third].forEach((node) => node.pause()),
      resume: () => [second, third].forEach((node) => node.resume()),
      restart: (signal: AbortSignal) => both(second.restart(signal), third.restart(signal)),
    }
    const two = await partAway(d, { fault: 'K5', how: 'kill', part: pair, isUp: allServe })
    await d.lasting(10_000)
    await two.heal()
    await d.lasting(3_000)
    await calm()
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => ({
      criteria: {
        'BROKER3.1': noted(holds('I1', 'I3', 'I4', 'I8'), `${repeatedMessages(ledgers)} repeats`),
        'BROKER3.2': MOVED.judge(
          Math.min(...moves.map(({ partitions }) => partitions)),
          `partitions that moved: ${moves.map(({ partitions }) => partitions).join(', ')}`,
        ),
        'BROKER3.3': holds('I15', 'I17'),
        'BROKER3.4': noted(livedThrough(d), `rest ${Math.round(recovered)} ms`),
      },
      witnesses: [
        { name: 'brokers killed', need: nodes.length + 2, got: moves.length + 2 },
        {
          name: 'changes meanwhile',
          need: 300,
          got: ledgers.changes.filter(({ at }) => at > ledgers.marks.steadyAt).length,
        },
        ...Object.entries(ANSWERS).map(([name, words]) => ({
          name: `log lines of ${name}`,
          need: 1,
          got: ledgers.logs.filter(({ raw }) => words.test(raw)).length,
        })),
      ],
      numbers: { recoveryMs: Math.round(recovered), ...dipsOf(ledgers, moves) },
    })
  },
}

/** From a kill until others led what that broker had led. */
interface Move {
  readonly node: string
  readonly partitions: number
  /** ms since 1970. */
  readonly from: number
  readonly until: number
}

/** How late the latest change was held of those that were made during each move, in ms. */
function dipsOf(ledgers: Ledgers, moves: readonly Move[]): Readonly<Record<string, number>> {
  const fresh = freshnessOf(ledgers, (at) => at)
  return Object.fromEntries(
    moves.map(({ node, from, until }) => {
      const during = fresh.filter(({ at }) => at >= from && at < until)
      return [`dipMs ${node}`, Math.round(Math.max(0, ...during.map(({ ms }) => ms)))]
    }),
  )
}

const wrongCertificate: Drill = {
  id: 'CERTIFICATE',
  title: 'Who stands before Kafka shows an expired certificate, then one of another authority',
  report: 'infrastructure',
  criteria: {
    'CERTIFICATE.1': criterion`No client says a word to it: no login goes out, and nothing in clear`,
    'CERTIFICATE.2': criterion`Webhooks get ${named(503)} meanwhile; none that was acknowledged is lost`,
    'CERTIFICATE.3': criterion`Processes live through it and go on by themselves once the right one is shown`,
    'CERTIFICATE.4': criterion`/readyz of every process says that it is the certificate, ${TOLD_WITHIN}`,
  },
  faults: ['N12'],
  profiles: ['secure'],
  system: () => ({ connections: 12, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 600_000,
  recoverWithinMs: 120_000,
  async run(d) {
    const { authority } = securedPartsOf(d.system).authorities
    const { lines, place } = d.system.stack
    const stranger = await keptAuthority(path.join(place.folder, 'stranger'))
    const shown = [
      {
        action: 'expired certificate',
        identity: await authority.issue('kafka', -1_000),
        words: 'its certificate is not valid now',
      },
      {
        action: 'another authority',
        identity: await stranger.issue('kafka'),
        words: 'its certificate is of an authority that is not known here',
      },
    ]
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 12 })
    const calm = steadyLoad(d, 25)
    let heard = 0
    const before = lines.kafka.wordless()
    const toldAfter: number[] = []
    for (const { action, identity, words } of shown) {
      await d.lasting(3_000)
      const silent = lines.kafka.wordless()
      let from = 0
      const wrong = await d.inject({
        fault: 'N12',
        action,
        target: 'kafka',
        async inject() {
          lines.kafka.show(identity)
          from = lines.kafka.heard()
        },
        isActive: () => lines.kafka.wordless() > silent,
        async heal() {
          heard += lines.kafka.heard() - from
          lines.kafka.show(null)
        },
        isHealed: () => true,
      })
      const told = d.until(
        `every process says ${words}`,
        async () => {
          const all = await Promise.all(d.system.services.map((service) => readinessOf(service)))
          return all.every((text) => text.includes(words))
        },
        TOLD_WITHIN.limit,
      )
      const [toldMs] = await Promise.all([told, d.lasting(8_000)])
      toldAfter.push(toldMs)
      await wrong.heal()
    }
    const wordless = lines.kafka.wordless() - before
    await d.lasting(3_000)
    await calm()
    const recovered = await d.converged(120_000)
    return ({ ledgers, holds }) => {
      const unavailable = ledgers.webhooks.filter(({ status }) => status === 503).length
      return {
        criteria: {
          'CERTIFICATE.1': met(
            heard === 0,
            `${heard} pieces said, ${wordless} connections ended without a word`,
          ),
          'CERTIFICATE.2': noted(holds('I15', 'I17', 'I1', 'I3', 'I4'), `${unavailable} answered 503`),
          'CERTIFICATE.3': noted(livedThrough(d), `rest ${Math.round(recovered)} ms`),
          'CERTIFICATE.4': each(toldAfter, (ms) =>
            TOLD_WITHIN.judge(ms, `all ${d.system.services.length} said it after ${Math.round(ms)} ms`),
          ),
        },
        witnesses: [
          { name: 'connections that clients ended without a word', need: 5, got: wordless },
          { name: 'notifications answered 503', need: 5, got: unavailable },
        ],
        numbers: { recoveryMs: Math.round(recovered) },
      }
    }
  },
}

const rotation: Drill = {
  id: 'ROTATE',
  title: 'Passwords of Kafka, Postgres and the registry and their authority change under load, and back',
  report: 'infrastructure',
  criteria: {
    'ROTATE.1': criterion`Nothing lost, doubled or reordered`,
    'ROTATE.2': criterion`No process ends, and none is started again`,
    'ROTATE.3': criterion`The old passwords are refused, the new ones are not`,
    'ROTATE.4': criterion`After each round servers are known by the new authority alone, and the services trust no other`,
  },
  faults: ['F12'],
  profiles: ['secure'],
  system: () => ({ connections: 12, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 900_000,
  recoverWithinMs: 120_000,
  limits:
    'Between brokers and controllers the authority stays: to change it there every broker is started again, which BROKER3 shows.',
  async run(d) {
    const { cluster, authorities } = securedPartsOf(d.system)
    const [first, second] = authorities.both
    const { lines } = d.system.stack
    // Lines that end TLS show a certificate of their own.
    const bare = await d.inject({
      fault: 'F12',
      action: 'servers show their own certificates',
      target: 'kafka and postgres',
      inject: async () => leaveTls(lines, true),
      isActive: () => true,
      heal: async () => leaveTls(lines, false),
      isHealed: () => true,
    })
    const calm = steadyLoad(d, 25)
    await d.lasting(2_000)
    const old = loginsOf(d)
    const known: Finding[] = []
    for (const [from, to] of [
      [first, second],
      [second, first],
    ] as const) {
      await newPasswords(d)
      await d.lasting(LOGGED_IN_AGAIN_MS)
      await newAuthority(d, from, to)
      known.push(await knownBy(d, from, to))
    }
    const refused = await Promise.all(old.map((login) => login.isRefused()))
    const now = loginsOf(d)
    const taken = await Promise.all(now.map((login) => login.isRefused()))
    await calm()
    const recovered = await d.converged(120_000)
    await bare.heal()
    return ({ ledgers, holds }) => ({
      criteria: {
        'ROTATE.1': holds('I1', 'I3', 'I4', 'I8'),
        'ROTATE.2': noted(livedThrough(d), `rest ${Math.round(recovered)} ms`),
        'ROTATE.3': allOf(
          met(
            refused.every(Boolean),
            `${refused.filter(Boolean).length} of ${old.length} old logins refused`,
          ),
          met(!taken.some(Boolean), `${taken.filter((one) => !one).length} of ${now.length} new ones taken`),
        ),
        'ROTATE.4': each(known, (finding) => finding),
      },
      witnesses: [
        {
          name: 'secrets, certificates and authorities changed',
          need: 2 * (old.length + 1 + 5),
          got: ledgers.nemesis.filter(({ fault, action }) => fault === 'F12' && action !== bare.entry.action)
            .length,
        },
      ],
      numbers: { recoveryMs: Math.round(recovered), brokers: cluster.nodes.length },
    })
  },
}

/** Partitions that one broker leads, of the topics that this load goes through. */
async function ledBy(d: DrillRun, id: number): Promise<readonly number[]> {
  const { operator } = securedPartsOf(d.system).cluster
  const leaders = await Promise.all(LED.map((topic) => leadersOf(operator, d.system.prefix + topic)))
  return leaders.flat().flatMap((leader, partition) => (leader === id ? [partition] : []))
}

async function both(one: Promise<void>, other: Promise<void>): Promise<void> {
  await Promise.all([one, other])
}

export const SECURED: readonly Drill[] = [oneOfThree, wrongCertificate, rotation]
