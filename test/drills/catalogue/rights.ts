// Who may do what on Kafka, tried out: every login, every act, every kind of thing. The table below
// is written by hand and not from the rules that are applied: a rule that says too much is found.
import { TOPICS } from '#schemas/topics.ts'
import { currentLogin, KAFKA_PRINCIPALS, type KafkaPrincipal } from '../../../infra/stack/secured.ts'
import { criterion, met } from '../criterion.ts'
import { type Drill, DrillInvalid, type DrillRun } from '../drill.ts'
import {
  CLUSTER_ACTS,
  type ClusterAct,
  openRights,
  type Rights,
  TOPIC_ACTS,
  type TopicAct,
} from '../faults/rights.ts'

type Principal = Exclude<KafkaPrincipal, 'admin'>

/** R reads, W writes, D sees that it is there, A looks after it. */
const ACTS: Readonly<Record<string, readonly TopicAct[]>> = {
  R: ['READ', 'DESCRIBE'],
  W: ['WRITE', 'DESCRIBE'],
  D: ['DESCRIBE'],
  A: ['DESCRIBE', 'CREATE', 'ALTER_CONFIGS'],
  '·': [],
}

const COLUMNS = [
  TOPICS.requestedGoogle,
  TOPICS.requestedMicrosoft,
  TOPICS.retry30s,
  TOPICS.retry10m,
  TOPICS.retry6h,
  TOPICS.deadLetter,
  TOPICS.eventChanged,
  TOPICS.eventState,
  TOPICS.connectionChanged,
] as const

//            requested  retry   dead  changed  state  connection
const TABLE: Readonly<Record<Principal, string>> = {
  'calstream-ingress': ' W W  · · ·  ·  · · ·',
  'calstream-sync': '    R R  · · ·  W  · · ·',
  'calstream-retry': '   W W  R R R  W  · · ·',
  'calstream-relay': '   W W  W W W  W  W W W',
  'calstream-scheduler': 'W W  D D D  R  · · ·',
  'calstream-admin': '   ARW ARW  ARW ARW ARW  AR  AR AR AR',
  'calstream-reader': '  · ·  · · ·  ·  R R R',
}

const GROUPS: Readonly<Record<string, readonly Principal[]>> = {
  'calstream-sync': ['calstream-sync', 'calstream-admin'],
  'calstream-retry': ['calstream-retry', 'calstream-admin'],
  'calstream-dead-letter-index': ['calstream-scheduler', 'calstream-admin'],
  'calstream-look-once': ['calstream-scheduler', 'calstream-admin'],
  'reader-of-somebody': ['calstream-reader'],
}
/** The operator fences the relays after a restore. */
const TRANSACTIONS: Readonly<Record<string, readonly Principal[]>> = {
  'relay-0': ['calstream-relay', 'calstream-admin'],
}
const CLUSTER: Principal = 'calstream-admin'
/** A topic of another installation on the same brokers. */
const FOREIGN = 'somebody-elses.topic'

interface Trial {
  readonly who: Principal
  readonly what: string
  readonly expected: boolean
  readonly got: boolean
}

const rights: Drill = {
  id: 'RIGHTS',
  title: 'Every login of Kafka tries every act on every topic, group, transactional id and the cluster',
  report: 'infrastructure',
  criteria: {
    'RIGHTS.1': criterion`Whatever the table allows is allowed`,
    'RIGHTS.2': criterion`Whatever it does not is denied`,
  },
  faults: [],
  profiles: ['secure'],
  system: () => ({ connections: 2, eventsPerCalendar: 5, latencyMs: 20 }),
  invariants: [],
  wallMs: 300_000,
  recoverWithinMs: 60_000,
  limits: 'The superuser of the cluster is not tried: nothing is denied to it.',
  async run(d) {
    await d.load(5, 2_000)
    const trials: Trial[] = []
    for (const who of KAFKA_PRINCIPALS) trials.push(...(await tryAll(d, who)))
    const wrong = (expected: boolean) =>
      trials.filter((one) => one.expected === expected && one.got !== expected)
    const told = (expected: boolean) => {
      const all = trials.filter((one) => one.expected === expected)
      const first = wrong(expected)
        .slice(0, 5)
        .map(({ who, what }) => `${who} ${what}`)
      return [`${all.length - wrong(expected).length} of ${all.length}`, ...first].join('; ')
    }
    return () => ({
      criteria: {
        'RIGHTS.1': met(wrong(true).length === 0, told(true)),
        'RIGHTS.2': met(wrong(false).length === 0, told(false)),
      },
      witnesses: [
        { name: 'acts that were let in', need: 60, got: trials.filter(({ got }) => got).length },
        { name: 'acts that were denied', need: 300, got: trials.filter(({ got }) => !got).length },
      ],
      numbers: { trials: trials.length },
    })
  },
}

async function tryAll(d: DrillRun, who: Principal): Promise<readonly Trial[]> {
  const { cluster, place } = d.system.stack
  if (cluster === null) throw new DrillInvalid('this needs the secured stack: --secure')
  const { prefix } = d.system
  const login = currentLogin(place.folder, who)
  await using may = await openRights({ ...cluster.operator, login })
  const trials: Trial[] = []
  const note = (what: string, expected: boolean, got: boolean) => trials.push({ who, what, expected, got })
  const letters = TABLE[who].trim().split(/\s+/)
  for (const act of TOPIC_ACTS) {
    for (const [index, topic] of COLUMNS.entries()) {
      const expected = (letters[index] ?? '').split('').some((letter) => ACTS[letter]?.includes(act) ?? false)
      note(`${act} ${topic}`, expected, await may.mayTopic(act, prefix + topic))
    }
    note(`${act} a foreign topic`, false, await may.mayTopic(act, FOREIGN))
  }
  await tryOthers(may, who, { prefix, note })
  return trials
}

interface Noting {
  readonly prefix: string
  readonly note: (what: string, expected: boolean, got: boolean) => void
}

async function tryOthers(may: Rights, who: Principal, { prefix, note }: Noting): Promise<void> {
  for (const [group, owners] of Object.entries(GROUPS))
    note(`group ${group}`, owners.includes(who), await may.mayJoin(prefix + group))
  note('a foreign group', false, await may.mayJoin('somebody-elses-group'))
  for (const [id, owners] of Object.entries(TRANSACTIONS))
    note(`transaction ${id}`, owners.includes(who), await may.mayTransact(prefix + id))
  note('a foreign transaction', false, await may.mayTransact('somebody-elses-transaction'))
  const acts: readonly ClusterAct[] = CLUSTER_ACTS
  for (const act of acts) note(`cluster ${act}`, who === CLUSTER, await may.mayCluster(act))
}

export const RIGHTS: readonly Drill[] = [rights]
