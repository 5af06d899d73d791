// What each login may do on the secured brokers of the local stack, until nothing more than it
// needs. Prefixes of topics, groups and transactional ids come from KAFKA_PREFIX.
// Node finds only some of the names of this CommonJS module; the others hang on its default export.
import kafkajs, { type AclEntry } from 'kafkajs'
import { GROUPS, TOPICS } from '#schemas/topics.ts'
import { grant, type KafkaAccess } from './kafka-operator.ts'

/** The name of the one resource of this kind. */
const CLUSTER = 'kafka-cluster'

type Operation = keyof typeof kafkajs.AclOperationTypes
type Resource = 'TOPIC' | 'GROUP' | 'TRANSACTIONAL_ID' | 'CLUSTER'
/** What a name begins with, or the whole name. */
type Name = { readonly begin: string } | { readonly whole: string }
type Rule = readonly [resource: Resource, name: Name, ...operations: Operation[]]

const may = (name: string, ...operations: Operation[]): Rule => ['TOPIC', { whole: name }, ...operations]
const group = (name: string, ...operations: Operation[]): Rule => ['GROUP', { whole: name }, ...operations]
const REQUESTED = [TOPICS.requestedGoogle, TOPICS.requestedMicrosoft] as const
const RETRIES = [TOPICS.retry30s, TOPICS.retry10m, TOPICS.retry6h] as const
const PUBLIC = [TOPICS.eventChanged, TOPICS.eventState, TOPICS.connectionChanged] as const
/** What every installation's names begin with, after KAFKA_PREFIX. */
const OURS = { begin: 'calendar.' } as const

/** READ and WRITE bring DESCRIBE along (kafka.apache.org/documentation/#operations_in_kafka). */
const RIGHTS: Readonly<Record<string, readonly Rule[]>> = {
  'calstream-ingress': REQUESTED.map((topic) => may(topic, 'WRITE')),
  'calstream-sync': [
    ...REQUESTED.map((topic) => may(topic, 'READ')),
    may(TOPICS.deadLetter, 'WRITE'),
    group(GROUPS.sync, 'READ'),
  ],
  'calstream-retry': [
    ...RETRIES.map((topic) => may(topic, 'READ')),
    ...REQUESTED.map((topic) => may(topic, 'WRITE')),
    may(TOPICS.deadLetter, 'WRITE'),
    group(GROUPS.retry, 'READ'),
  ],
  'calstream-relay': [
    ...[...PUBLIC, ...RETRIES, ...REQUESTED, TOPICS.deadLetter].map((topic) => may(topic, 'WRITE')),
    ['TRANSACTIONAL_ID', { begin: 'relay-' }, 'WRITE'],
  ],
  // It rings, and tells how far the others' groups are behind.
  'calstream-scheduler': [
    may(TOPICS.deadLetter, 'READ'),
    group(GROUPS.deadLetterIndex, 'READ'),
    ...REQUESTED.map((topic) => may(topic, 'WRITE')),
    ...RETRIES.map((topic) => may(topic, 'DESCRIBE')),
    group(GROUPS.sync, 'DESCRIBE'),
    group(GROUPS.retry, 'DESCRIBE'),
  ],
  'calstream-admin': [
    ['TOPIC', OURS, 'CREATE', 'DESCRIBE', 'ALTER', 'ALTER_CONFIGS', 'DESCRIBE_CONFIGS'],
    ['CLUSTER', { whole: CLUSTER }, 'ALTER', 'DESCRIBE'],
  ],
  'calstream-reader': [...PUBLIC.map((topic) => may(topic, 'READ')), ['GROUP', { begin: 'reader-' }, 'READ']],
}

/** Grants them all; may be run again. */
export async function grantRights(access: KafkaAccess, prefix = ''): Promise<void> {
  const rules = Object.entries(RIGHTS).flatMap(([name, own]) => own.map((rule) => [name, rule] as const))
  await grant(
    access,
    rules.flatMap(([principal, rule]) => aclsOf(principal, rule, prefix)),
  )
}

function aclsOf(
  principal: string,
  [resource, name, ...operations]: Rule,
  prefix: string,
): readonly AclEntry[] {
  const { LITERAL, PREFIXED } = kafkajs.ResourcePatternTypes
  const isWhole = 'whole' in name
  const own = isWhole ? name.whole : name.begin
  return operations.map((operation) => ({
    principal: `User:${principal}`,
    host: '*',
    permissionType: kafkajs.AclPermissionTypes.ALLOW,
    resourceType: kafkajs.AclResourceTypes[resource],
    resourceName: resource === 'CLUSTER' ? own : prefix + own,
    resourcePatternType: isWhole ? LITERAL : PREFIXED,
    operation: kafkajs.AclOperationTypes[operation],
  }))
}
