// Creates the topics of schemas/topics.json and proves that those that exist are as they
// must be. What a topic was never given is set: it is of an older version. What an operator gave
// it, and its partition count, is never changed by us: more partitions move keys to other
// partitions and break their order.
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
// Node finds only some of the names of this CommonJS module; the others hang on its default export.
import kafkajs, { type Admin, type ConfigEntries, type ITopicConfig } from 'kafkajs'
import type { Logger } from '#shared/process/log.ts'
import { withAdmin } from './admin.ts'
import type { KafkaConfig } from './client.ts'
import { isBrokerTrouble } from './trouble.ts'

interface TopicsConfig extends KafkaConfig {
  /** Instead of the counts in the file, for tests and small stacks. */
  readonly partitions?: number | undefined
}

interface TopicsReport {
  readonly topics: readonly { readonly name: string; readonly state: TopicState }[]
  /** What is wrong, one sentence each with what to do; empty when all is well. */
  readonly problems: readonly string[]
}

type TopicState = 'created' | 'changed' | 'unchanged' | 'missing'

interface TopicPlan {
  /** With prefix. */
  readonly name: string
  readonly partitions: number
  readonly replication: number
  readonly config: Readonly<Record<string, string>>
}

/** A topic as the broker has it. */
export interface TopicFound {
  readonly partitions: number
  readonly replication: number
  readonly config: ReadonlyMap<string, string>
  /** Which of these were set for the topic; the others are the broker's. */
  readonly told: ReadonlySet<string>
}

/** From here on a broker may fail and nothing is lost. */
const DURABLE_BROKERS = 3
const CREATE_TIMEOUT_MS = 10_000
/** On a machine with ten times the load it was made for, 15 s were not enough. */
const SERVED_TIMEOUT_MS = 45_000
const SERVED_POLL_MS = 50
/** The broker's default of max.message.bytes. */
const MESSAGE_BYTES_MAX = 1_048_588

/**
 * Creates what is missing, sets what was never set for a topic, then verifies all. Throws
 * Failure `kafka/unavailable`.
 */
export async function applyTopics(config: TopicsConfig, logger: Logger): Promise<TopicsReport> {
  return withAdmin(config, logger, async (admin) => {
    const plans = planTopics(config, await brokerCount(admin))
    const existing = new Set(await admin.listTopics())
    const missing = plans.filter(({ name }) => !existing.has(name))
    if (missing.length > 0) {
      await admin.createTopics({
        topics: missing.map(creationOf),
        waitForLeaders: false,
        timeout: CREATE_TIMEOUT_MS,
      })
      await untilServed(admin, missing)
    }
    const created = new Set(missing.map(({ name }) => name))
    const changed = new Set(await tellMissing(admin, plans))
    const { topics, problems } = await verify(admin, plans, missingWords(config))
    const stateOf = (name: string): TopicState | null =>
      created.has(name) ? 'created' : changed.has(name) ? 'changed' : null
    return {
      topics: topics.map((topic) => ({ ...topic, state: stateOf(topic.name) ?? topic.state })),
      problems,
    }
  })
}

/** Changes nothing; a missing topic is a problem. Throws Failure `kafka/unavailable`. */
export async function verifyTopics(config: TopicsConfig, logger: Logger): Promise<TopicsReport> {
  return withAdmin(config, logger, async (admin) =>
    verify(admin, planTopics(config, await brokerCount(admin)), missingWords(config)),
  )
}

/** Topics that the broker makes when it first needs them, and what each is needed for. */
const INTERNAL = [
  {
    topic: '__consumer_offsets',
    needed: 'no group can be joined, so no service reads',
    settings: { 'offsets.topic.replication.factor': 1 },
  },
  {
    topic: '__transaction_state',
    needed: 'no transaction begins, so the relay publishes nothing',
    settings: { 'transaction.state.log.replication.factor': 1, 'transaction.state.log.min.isr': 1 },
  },
] as const

/**
 * What the brokers are told to do and cannot, being too few; pure. A topic of theirs that exists
 * was made and is not judged. `told` are the settings of one broker.
 */
export function brokerProblems(
  brokers: number,
  existing: ReadonlySet<string>,
  told: ReadonlyMap<string, string>,
): readonly string[] {
  return INTERNAL.flatMap(({ topic, needed, settings }) => {
    const tooMany = Object.entries(settings).filter(([key]) => Number(told.get(key)) > brokers)
    if (tooMany.length === 0 || existing.has(topic)) return []
    const wants = tooMany.map(([key]) => `${key}=${told.get(key)}`).join(' and ')
    const fix = Object.entries(settings).map(([key, value]) => `${key}=${value}`)
    const there = brokers === 1 ? '1 broker' : `${brokers} brokers`
    const enough = Math.max(...tooMany.map(([key]) => Number(told.get(key))))
    return [
      `${topic} cannot be made: the broker has ${wants}, and there is ${there}; ${needed}. Set ${fix.join(' and ')} in the broker's settings and restart it, or run ${enough} brokers.`,
    ]
  })
}

/** The settings of one broker; empty where we may not ask. Throws when it does not answer. */
export async function brokerSettings(admin: Admin): Promise<ReadonlyMap<string, string>> {
  const { brokers } = await admin.describeCluster()
  const name = String(brokers[0]?.nodeId ?? '')
  try {
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: kafkajs.ConfigResourceTypes.BROKER, name }],
    })
    const entries = resources.flatMap(({ configEntries }) => configEntries)
    return new Map(entries.map(({ configName, configValue }) => [configName, configValue]))
  } catch (error) {
    if (isBrokerTrouble(error)) throw error
    // A principal of least rights: what it may not see is not judged.
    return new Map()
  }
}

/** The topics as they must be on a cluster of so many brokers. */
export function planTopics(
  { prefix, partitions }: Pick<TopicsConfig, 'prefix' | 'partitions'>,
  brokers: number,
): readonly TopicPlan[] {
  const durable = brokers >= DURABLE_BROKERS
  return readTopicsFile().map((topic) => ({
    name: `${prefix}${topic.name}`,
    partitions: partitions ?? topic.partitions,
    replication: durable ? 3 : 1,
    config: {
      ...topic.config,
      ...(durable ? { 'min.insync.replicas': '2', 'unclean.leader.election.enable': 'false' } : {}),
    },
  }))
}

/**
 * How many bytes a record of this topic (logical name) may have with its batch's head; Kafka's
 * default where the file says nothing.
 */
export function messageBytesMax(topic: string): number {
  byteLimits ??= new Map(
    readTopicsFile().map(({ name, config }) => [
      name,
      Number(config['max.message.bytes'] ?? MESSAGE_BYTES_MAX),
    ]),
  )
  return byteLimits.get(topic) ?? MESSAGE_BYTES_MAX
}

let byteLimits: ReadonlyMap<string, number> | undefined

/** What is wrong with a topic that exists; pure. */
export function topicProblems(plan: TopicPlan, found: TopicFound): readonly string[] {
  const problems: string[] = []
  if (found.partitions !== plan.partitions)
    problems.push(
      `${plan.name} has ${found.partitions} partitions instead of ${plan.partitions}. Keys would move and lose their order, so it is not changed: stop everything, let the topic drain, delete it and run \`calstream topics apply\`; or use another KAFKA_PREFIX.`,
    )
  if (found.replication < plan.replication)
    problems.push(
      `${plan.name} has ${found.replication} replica(s) instead of ${plan.replication}. Raise it with \`kafka-reassign-partitions.sh\`.`,
    )
  const inSync = Number(found.config.get('min.insync.replicas'))
  if (inSync > found.replication && found.replication >= plan.replication)
    problems.push(
      `${plan.name} has ${found.replication} replica(s) and wants ${inSync} in sync, so it takes no record. Set it: \`kafka-configs.sh --alter --entity-type topics --entity-name ${plan.name} --add-config min.insync.replicas=${found.replication}\`; or run ${inSync} brokers.`,
    )
  for (const [key, wanted] of Object.entries(plan.config)) {
    const actual = found.config.get(key)
    if (actual !== wanted)
      problems.push(
        `${plan.name} has ${key}=${actual ?? '(not set)'} instead of ${wanted}. Set it: \`kafka-configs.sh --alter --entity-type topics --entity-name ${plan.name} --add-config ${key}=${wanted}\`.`,
      )
  }
  return problems
}

/**
 * What is to be set for a topic: what never was, and has another value by the broker. Pure.
 */
export function untold(plan: TopicPlan, found: TopicFound): Readonly<Record<string, string>> {
  // Set for a topic with fewer replicas it would refuse every record.
  const isTooFew = (key: string) => key === 'min.insync.replicas' && found.replication < plan.replication
  return Object.fromEntries(
    Object.entries(plan.config).filter(
      ([key, value]) => !found.told.has(key) && found.config.get(key) !== value && !isTooFew(key),
    ),
  )
}

/** Returns the names of the topics for which something was set. */
async function tellMissing(admin: Admin, plans: readonly TopicPlan[]): Promise<readonly string[]> {
  const found = await describe(admin, plans)
  const resources = plans.flatMap((plan) => {
    const topic = found.get(plan.name)
    const news = topic ? untold(plan, topic) : {}
    if (!topic || Object.keys(news).length === 0) return []
    // The request replaces all that was set for a topic, so all of it goes along.
    const kept = [...topic.told].map((name) => [name, topic.config.get(name) ?? ''] as const)
    const configEntries = [...kept, ...Object.entries(news)].map(([name, value]) => ({ name, value }))
    return [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: plan.name, configEntries }]
  })
  if (resources.length === 0) return []
  await admin.alterConfigs({ validateOnly: false, resources })
  const changed = resources.map(({ name }) => name)
  await untilSet(
    admin,
    plans.filter(({ name }) => changed.includes(name)),
  )
  return changed
}

/**
 * A broker applies a setting a moment after the controller took it. What it has not applied by the
 * deadline is a problem of the verdict that follows.
 */
async function untilSet(admin: Admin, plans: readonly TopicPlan[]): Promise<void> {
  const deadline = performance.now() + SERVED_TIMEOUT_MS
  const isSet = (plan: TopicPlan, topic: TopicFound | undefined) =>
    topic !== undefined && Object.keys(untold(plan, topic)).length === 0
  for (;;) {
    const found = await describe(admin, plans)
    if (plans.every((plan) => isSet(plan, found.get(plan.name))) || performance.now() > deadline) return
    await delay(SERVED_POLL_MS)
  }
}

/**
 * A broker learns of a new topic a moment after the controller has made it: first it knows none of
 * that name, then no leader, then it names itself as the leader and still refuses records, one
 * partition after the other. Each has to answer a request that only its leader may answer, or the
 * first batch of a producer would be stored in parts and repeated.
 */
async function untilServed(admin: Admin, plans: readonly TopicPlan[]): Promise<void> {
  const deadline = performance.now() + SERVED_TIMEOUT_MS
  for (;;) {
    try {
      for (const { name } of plans) await admin.fetchTopicOffsets(name)
      return
    } catch (error) {
      if (performance.now() > deadline || !isBrokerTrouble(error)) throw error
      await delay(SERVED_POLL_MS)
    }
  }
}

/** Kafka hides a topic from a user who has no right DESCRIBE to it. */
function missingWords({ security }: TopicsConfig): string {
  return security?.login || security?.tls
    ? 'is missing, or its user may not see it. Run `calstream topics apply`, or look with `calstream acls verify`.'
    : 'is missing. Run `calstream topics apply`.'
}

async function verify(admin: Admin, plans: readonly TopicPlan[], missing: string): Promise<TopicsReport> {
  const existing = new Set(await admin.listTopics())
  const tooFew = brokerProblems(await brokerCount(admin), existing, await brokerSettings(admin))
  const present = plans.filter(({ name }) => existing.has(name))
  const found = present.length === 0 ? new Map<string, TopicFound>() : await describe(admin, present)
  const problems = plans.flatMap((plan) => {
    const topic = found.get(plan.name)
    return topic ? topicProblems(plan, topic) : [`${plan.name} ${missing}`]
  })
  return {
    topics: plans.map(({ name }) => ({ name, state: found.has(name) ? 'unchanged' : 'missing' })),
    problems: [...tooFew, ...problems],
  }
}

async function describe(admin: Admin, plans: readonly TopicPlan[]): Promise<Map<string, TopicFound>> {
  const { topics } = await admin.fetchTopicMetadata({ topics: plans.map(({ name }) => name) })
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: plans.map(({ name }) => ({ type: kafkajs.ConfigResourceTypes.TOPIC, name })),
  })
  const configs = new Map(resources.map(({ resourceName, configEntries }) => [resourceName, configEntries]))
  return new Map(
    topics.map(({ name, partitions }) => {
      const entries = configs.get(name) ?? []
      return [
        name,
        {
          partitions: partitions.length,
          replication: Math.min(...partitions.map(({ replicas }) => replicas.length)),
          config: new Map(entries.map(({ configName, configValue }) => [configName, configValue])),
          told: new Set(entries.filter(isTold).map(({ configName }) => configName)),
        },
      ]
    }),
  )
}

function isTold({ configSource }: ConfigEntries): boolean {
  return configSource === kafkajs.ConfigSource.TOPIC_CONFIG
}

function creationOf(plan: TopicPlan): ITopicConfig {
  return {
    topic: plan.name,
    numPartitions: plan.partitions,
    replicationFactor: plan.replication,
    configEntries: Object.entries(plan.config).map(([name, value]) => ({ name, value })),
  }
}

async function brokerCount(admin: Admin): Promise<number> {
  const { brokers } = await admin.describeCluster()
  return brokers.length
}

interface TopicsFile {
  readonly topics: readonly {
    readonly name: string
    /** Whether others than we may read it (schemas/acls.json). */
    readonly readers: 'everyone' | 'calstream'
    readonly partitions: number
    readonly config: Readonly<Record<string, string>>
  }[]
}

function readTopicsFile(): TopicsFile['topics'] {
  const file = new URL('../../../schemas/topics.json', import.meta.url)
  const { topics }: TopicsFile = JSON.parse(readFileSync(file, 'utf8'))
  return topics
}
