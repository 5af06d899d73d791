// What only the secured stack can show: one of three brokers dies and leaders move, passwords and
// certificates change under load. They run with `--secure` alone.
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { TOPICS } from '#schemas/topics.ts'
import { keptAuthority } from '../../../infra/stack/authority.ts'
import type { KafkaCluster } from '../../../infra/stack/kafka-cluster.ts'
import {
  leadersOf,
  type KafkaLogin,
  servingBrokers,
  setPassword,
} from '../../../infra/stack/kafka-operator.ts'
import { writeWhole } from '../../../infra/stack/processes.ts'
import {
  currentLogin,
  KAFKA_PRINCIPALS,
  type KafkaPrincipal,
  passwordFile,
} from '../../../infra/stack/secured.ts'
import { repeatedMessages } from '../checkers/stream.ts'
import { allOf, atLeast, criterion, met, named, noted } from '../criterion.ts'
import { type Drill, DrillInvalid, type DrillRun } from '../drill.ts'
import { partAway } from '../faults/lines.ts'
import { serialShownBy } from '../../support/shown-certificate.ts'
import { livedThrough, steadyLoad, USUAL } from './background.ts'

const MOVED = atLeast(1)
/** A killed controller is replaced first, and the new one gives every broker its whole session. */
const FAIL_OVER_MS = 60_000
/** Longer than a client may go on without a new login: AUTHENTICATE_AGAIN_MS of the drills. */
const LOGGED_IN_AGAIN_MS = 30_000

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
  limits: 'kill -9 keeps the page cache, and the three share one machine: no power cut, no lost disk.',
  async run(d) {
    const { nodes, operator } = securedOf(d)
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 12 })
    const calm = steadyLoad(d, 25)
    const moved: number[] = []
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
      moved.push(before.length)
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
        'BROKER3.2': MOVED.judge(Math.min(...moved), `partitions that moved: ${moved.join(', ')}`),
        'BROKER3.3': holds('I15', 'I17'),
        'BROKER3.4': noted(livedThrough(d), `rest ${Math.round(recovered)} ms`),
      },
      witnesses: [
        { name: 'brokers killed', need: nodes.length + 2, got: moved.length + 2 },
        {
          name: 'changes meanwhile',
          need: 300,
          got: ledgers.changes.filter(({ at }) => at > ledgers.marks.steadyAt).length,
        },
      ],
      numbers: { recoveryMs: Math.round(recovered) },
    })
  },
}

const wrongCertificate: Drill = {
  id: 'CERTIFICATE',
  title: 'Who stands before Kafka shows an expired certificate, then one of another authority',
  report: 'infrastructure',
  criteria: {
    'CERTIFICATE.1': criterion`No client says a word to it: no login goes out, and nothing in clear`,
    'CERTIFICATE.2': criterion`Webhooks get ${named(503)} meanwhile; none that was acknowledged is lost`,
    'CERTIFICATE.3': criterion`Processes live through it and go on by themselves once the right one is shown`,
  },
  faults: ['N12'],
  profiles: ['secure'],
  system: () => ({ connections: 12, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 600_000,
  recoverWithinMs: 120_000,
  async run(d) {
    securedOf(d)
    const { lines, place, authority } = d.system.stack
    if (authority === null) throw new DrillInvalid('this needs an authority')
    const stranger = await keptAuthority(path.join(place.folder, 'stranger'))
    const shown = {
      'expired certificate': await authority.issue('kafka', -1_000),
      'another authority': await stranger.issue('kafka'),
    }
    await d.system.vendor.admin('POST', '/admin/notifications', { retryAttemptsMax: 12 })
    const calm = steadyLoad(d, 25)
    let heard = 0
    const before = lines.kafka.wordless()
    for (const [action, identity] of Object.entries(shown)) {
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
      await d.lasting(8_000)
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
  title: 'Passwords of Kafka and the registry, certificates of Kafka and Postgres change under load',
  report: 'infrastructure',
  criteria: {
    'ROTATE.1': criterion`Nothing lost, doubled or reordered`,
    'ROTATE.2': criterion`No process ends, and none is started again`,
    'ROTATE.3': criterion`The old passwords are refused, the new ones are not`,
    'ROTATE.4': criterion`Every broker shows another certificate than before`,
  },
  faults: ['F12'],
  profiles: ['secure'],
  system: () => ({ connections: 12, eventsPerCalendar: 20, latencyMs: 20 }),
  invariants: USUAL,
  wallMs: 900_000,
  recoverWithinMs: 120_000,
  limits: 'The authority stays: certificates of another one are not brought in.',
  async run(d) {
    const cluster = securedOf(d)
    const { stack } = d.system
    const calm = steadyLoad(d, 25)
    await d.lasting(2_000)
    const shown = () =>
      Promise.all(cluster.brokers.split(',').map((one) => serialShownBy(one, cluster.caFile)))
    const before = await shown()
    const old = KAFKA_PRINCIPALS.map((name) => currentLogin(stack.place.folder, name))
    let now: readonly KafkaLogin[] = old
    for (let round = 0; round < 2; round += 1) {
      now = await newPasswords(d, cluster)
      await d.lasting(LOGGED_IN_AGAIN_MS)
      await d.strike({ fault: 'F12', action: 'new certificate', target: 'kafka' }, () =>
        cluster.renewCertificates(),
      )
      await d.strike({ fault: 'F12', action: 'new certificate', target: 'postgres' }, () =>
        stack.postgres.renewCertificate(),
      )
      // Sessions that are open keep the old certificate: new ones have to be made.
      stack.lines.kafka.resetAll()
      stack.lines.postgres.resetAll()
      await d.lasting(5_000)
    }
    const refused = await Promise.all(old.map((login) => isRefused(cluster, login)))
    const after = await shown()
    const kept = after.filter((serial) => before.includes(serial))
    const taken = await Promise.all(now.map((login) => isRefused(cluster, login)))
    await calm()
    const recovered = await d.converged(120_000)
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
        'ROTATE.4': met(kept.length === 0, `${after.length - kept.length} of ${after.length} show another`),
      },
      witnesses: [
        {
          name: 'secrets changed',
          need: 20,
          got: ledgers.nemesis.filter(({ fault }) => fault === 'F12').length,
        },
      ],
      numbers: { recoveryMs: Math.round(recovered) },
    })
  },
}

/** Throws DrillInvalid on the open stack. */
function securedOf(d: DrillRun): KafkaCluster {
  const { cluster } = d.system.stack
  if (cluster === null) throw new DrillInvalid('this needs the secured stack: --secure')
  return cluster
}

/** Partitions that one broker leads, of the topics that this load goes through. */
async function ledBy(d: DrillRun, id: number): Promise<readonly number[]> {
  const { operator } = securedOf(d)
  const leaders = await Promise.all(
    [TOPICS.eventChanged, TOPICS.eventState, TOPICS.requestedGoogle].map((topic) =>
      leadersOf(operator, d.system.prefix + topic),
    ),
  )
  return leaders.flat().flatMap((leader, partition) => (leader === id ? [partition] : []))
}

/** Changes every password at the broker first, then in the file that its client reads. */
async function newPasswords(d: DrillRun, { operator }: KafkaCluster): Promise<readonly KafkaLogin[]> {
  const made: KafkaLogin[] = []
  for (const name of KAFKA_PRINCIPALS) {
    const password = randomBytes(24).toString('hex')
    await d.strike({ fault: 'F12', action: 'new password', target: name }, async () => {
      await setPassword(operator, { name, password })
      writeWhole(fileOf(d, name), `${password}\n`)
    })
    made.push({ name, password })
  }
  // Door and clients read the same file.
  const file = d.system.stack.access['SCHEMA_REGISTRY_PASSWORD_FILE']
  if (file === undefined) throw new DrillInvalid('the registry has no password')
  await d.strike({ fault: 'F12', action: 'new password', target: 'registry' }, async () =>
    writeWhole(file, `${randomBytes(24).toString('hex')}\n`),
  )
  return made
}

function fileOf(d: DrillRun, name: KafkaPrincipal): string {
  return passwordFile(d.system.stack.place.folder, name)
}

async function isRefused({ operator }: KafkaCluster, login: KafkaLogin): Promise<boolean> {
  return servingBrokers({ ...operator, login }).then(
    () => false,
    () => true,
  )
}

async function both(one: Promise<void>, other: Promise<void>): Promise<void> {
  await Promise.all([one, other])
}

export const SECURED: readonly Drill[] = [oneOfThree, wrongCertificate, rotation]
