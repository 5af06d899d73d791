// What each login may do on the secured brokers of the local stack, until nothing more than it
// needs. Prefixes of topics, groups and transactional ids come from KAFKA_PREFIX.
import {
  type Acl,
  AclOperations,
  AclPermissionTypes,
  ResourcePatternTypes,
  ResourceTypes,
} from '@platformatic/kafka'
import { grant, type KafkaAccess } from './kafka-operator.ts'

type Operation = keyof typeof AclOperations
type Resource = 'TOPIC' | 'GROUP' | 'TRANSACTIONAL_ID' | 'CLUSTER'
type Rule = readonly [resource: Resource, begin: string, ...operations: Operation[]]

const WORKS: readonly Rule[] = [
  ['TOPIC', 'calendar.', 'READ', 'WRITE', 'DESCRIBE', 'DESCRIBE_CONFIGS'],
  ['GROUP', 'calstream-', 'READ', 'DESCRIBE'],
]

const RIGHTS: Readonly<Record<string, readonly Rule[]>> = {
  'calstream-ingress': WORKS,
  'calstream-sync': WORKS,
  'calstream-retry': WORKS,
  'calstream-scheduler': WORKS,
  'calstream-relay': [...WORKS, ['TRANSACTIONAL_ID', 'relay-', 'WRITE', 'DESCRIBE']],
  'calstream-reader': [
    ['TOPIC', 'calendar.event.', 'READ', 'DESCRIBE'],
    ['GROUP', 'reader-', 'READ', 'DESCRIBE'],
  ],
}

/** Grants them all; may be run again. */
export async function grantRights(access: KafkaAccess, prefix = ''): Promise<void> {
  const rules = Object.entries(RIGHTS).flatMap(([name, own]) => own.map((rule) => [name, rule] as const))
  await grant(
    access,
    rules.flatMap(([name, [resource, begin, ...operations]]) =>
      aclsOf(name, [resource, prefix + begin, ...operations]),
    ),
  )
}

function aclsOf(name: string, [resource, resourceName, ...operations]: Rule): readonly Acl[] {
  return operations.map((operation) => ({
    principal: `User:${name}`,
    host: '*',
    permissionType: AclPermissionTypes.ALLOW,
    resourceType: ResourceTypes[resource],
    resourceName,
    resourcePatternType: ResourcePatternTypes.PREFIXED,
    operation: AclOperations[operation],
  }))
}
