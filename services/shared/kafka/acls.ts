// The rights of each of our users on Kafka: the list of schemas/acls.json, given and proven. Least
// rights: what is not in the list no user of ours needs. Rights that are there beyond the list are
// told, never taken away: they may be an operator's decision.
import { readFileSync } from 'node:fs'
// Node finds only some of the names of this CommonJS module; the others hang on its default export.
import kafkajs, { type Admin, type AclEntry } from 'kafkajs'
import { z } from 'zod'
import { UserError } from '#shared/process/user-error.ts'
import type { Logger } from '#shared/process/log.ts'
import { withAdmin } from './admin.ts'
import type { KafkaConfig } from './client.ts'
import { protocolErrors } from './trouble.ts'

const right = z.strictObject({
  /** Without `User:`; see `principalOf`. */
  principal: z.string(),
  resource: z.enum(['TOPIC', 'GROUP', 'TRANSACTIONAL_ID', 'CLUSTER']),
  pattern: z.enum(['LITERAL', 'PREFIXED']),
  /** Without KAFKA_PREFIX, which goes before all but the cluster's. */
  name: z.string(),
  operation: z.enum([
    'READ',
    'WRITE',
    'CREATE',
    'DELETE',
    'ALTER',
    'DESCRIBE',
    'DESCRIBE_CONFIGS',
    'ALTER_CONFIGS',
  ]),
})

/** One operation that one user may do with one resource. */
export type Right = z.output<typeof right>

export interface AclsConfig extends KafkaConfig {
  /** Kafka's name of a user by ours, where it is another than `User:<ours>`. */
  readonly principals?: ReadonlyMap<string, string>
}

interface AclsReport {
  readonly rights: readonly (Right & { readonly state: 'given' | 'missing' })[]
  /** What is wrong, one sentence each with what to do; empty when all is well. */
  readonly problems: readonly string[]
}

/** The rights as Kafka is told them: with KAFKA_PREFIX and the users' names. */
export function plannedRights({
  prefix,
  principals,
}: Pick<AclsConfig, 'prefix' | 'principals'>): readonly Right[] {
  return readAclsFile().map((one) => ({
    ...one,
    principal: principals?.get(one.principal) ?? `User:${one.principal}`,
    name: one.resource === 'CLUSTER' ? one.name : prefix + one.name,
  }))
}

/**
 * Gives what is missing, then verifies all. Needs the right ALTER of the cluster. Throws Failure
 * `kafka/*`, UserError where the brokers look at no rights.
 */
export async function applyAcls(config: AclsConfig, logger: Logger): Promise<AclsReport> {
  return withRights(config, logger, async (admin) => {
    const planned = plannedRights(config)
    const found = await readAcls(admin)
    const missing = planned.filter((one) => !isGiven(one, found))
    if (missing.length > 0) await admin.createAcls({ acl: missing.map(entryOf) })
    return reportOf(planned, await readAcls(admin), config.prefix)
  })
}

/** Changes nothing. Needs the right DESCRIBE of the cluster. Throws as `applyAcls` does. */
export async function verifyAcls(config: AclsConfig, logger: Logger): Promise<AclsReport> {
  return withRights(config, logger, async (admin) =>
    reportOf(plannedRights(config), await readAcls(admin), config.prefix),
  )
}

/** What is given, missing, denied and more than needed; pure. */
export function reportOf(planned: readonly Right[], found: readonly AclEntry[], prefix: string): AclsReport {
  const rights = planned.map((one) => ({
    ...one,
    state: isGiven(one, found) ? ('given' as const) : ('missing' as const),
  }))
  const ours = new Set(planned.map(({ principal }) => principal))
  const problems = [
    ...rights
      .filter(({ state }) => state === 'missing')
      .map((one) => `${one.principal} may not ${wordsOf(one)}. Run \`calstream acls apply\`.`),
    ...found
      .filter((entry) => ours.has(entry.principal) && isOfInstall(entry, prefix) && isMore(entry, planned))
      .map((entry) => `${entry.principal} ${surplusOf(entry)}`),
  ]
  return { rights, problems }
}

const { ALLOW, DENY } = kafkajs.AclPermissionTypes
const { AclOperationTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs

/**
 * What an operation brings along
 * (https://kafka.apache.org/documentation/#operations_in_kafka).
 */
const IMPLIED_BY: Readonly<Partial<Record<Right['operation'], readonly Right['operation'][]>>> = {
  DESCRIBE: ['READ', 'WRITE', 'DELETE', 'ALTER'],
  DESCRIBE_CONFIGS: ['ALTER_CONFIGS'],
}

/** Whether Kafka lets it pass: something allows it, and nothing denies it. */
function isGiven(one: Right, found: readonly AclEntry[]): boolean {
  const enough = [one.operation, ...(IMPLIED_BY[one.operation] ?? [])].map((name) => AclOperationTypes[name])
  const about = found.filter(
    (entry) => [one.principal, 'User:*'].includes(entry.principal) && covers(entry, one),
  )
  const { ALL } = AclOperationTypes
  const isDenied = about.some(
    ({ permissionType, operation }) =>
      permissionType === DENY && [ALL, AclOperationTypes[one.operation]].includes(operation),
  )
  return (
    !isDenied &&
    about.some(
      ({ permissionType, operation, host }) =>
        permissionType === ALLOW && host === '*' && [ALL, ...enough].includes(operation),
    )
  )
}

/** Whether an entry is about all of this resource. */
function covers(entry: AclEntry, { resource, pattern, name }: Right): boolean {
  if (entry.resourceType !== AclResourceTypes[resource]) return false
  if (entry.resourcePatternType === ResourcePatternTypes.PREFIXED) return name.startsWith(entry.resourceName)
  return entry.resourceName === '*' || (pattern === 'LITERAL' && entry.resourceName === name)
}

/** Other installations may share the brokers, and the users too. */
function isOfInstall({ resourceType, resourceName }: AclEntry, prefix: string): boolean {
  if (resourceType === AclResourceTypes.CLUSTER || resourceName === '*') return true
  return prefix === '' || resourceName.startsWith(prefix)
}

function isMore(entry: AclEntry, planned: readonly Right[]): boolean {
  if (entry.permissionType === DENY) return true
  return !planned.some(
    (one) =>
      one.principal === entry.principal &&
      AclResourceTypes[one.resource] === entry.resourceType &&
      ResourcePatternTypes[one.pattern] === entry.resourcePatternType &&
      one.name === entry.resourceName &&
      AclOperationTypes[one.operation] === entry.operation,
  )
}

function surplusOf(entry: AclEntry): string {
  const resource = nameIn(AclResourceTypes, entry.resourceType).toLowerCase().replaceAll('_', ' ')
  const what = `${nameIn(AclOperationTypes, entry.operation)} on ${resource} ${entry.resourceName}`
  return entry.permissionType === DENY
    ? `is denied ${what}. Take the denial back, or know why it is there.`
    : `may more than it needs: ${what}. Take it back with \`kafka-acls.sh --remove\`.`
}

/** The library's tables lead from names to numbers alone, whatever its types say. */
function nameIn(table: object, number: number): string {
  return Object.entries(table).find(([, value]) => value === number)?.[0] ?? String(number)
}

function wordsOf({ resource, pattern, name, operation }: Right): string {
  const kind = resource.toLowerCase().replaceAll('_', ' ')
  return `${operation} on ${kind} ${name}${pattern === 'PREFIXED' ? '*' : ''}`
}

function entryOf({ principal, resource, pattern, name, operation }: Right): AclEntry {
  return {
    principal,
    host: '*',
    permissionType: ALLOW,
    resourceType: AclResourceTypes[resource],
    resourceName: name,
    resourcePatternType: ResourcePatternTypes[pattern],
    operation: AclOperationTypes[operation],
  }
}

async function readAcls(admin: Admin): Promise<readonly AclEntry[]> {
  const { resources } = await admin.describeAcls({
    resourceType: AclResourceTypes.ANY,
    resourcePatternType: ResourcePatternTypes.ANY,
    operation: AclOperationTypes.ANY,
    permissionType: kafkajs.AclPermissionTypes.ANY,
  })
  return resources.flatMap(({ acls, ...resource }) => acls.map((acl) => ({ ...acl, ...resource })))
}

async function withRights<T>(
  config: AclsConfig,
  logger: Logger,
  work: (admin: Admin) => Promise<T>,
): Promise<T> {
  try {
    return await withAdmin(config, logger, work)
  } catch (error) {
    if (protocolErrors(error).includes('SECURITY_DISABLED'))
      throw new UserError(
        'The brokers look at no rights: every user may do everything. Set authorizer.class.name there.',
      )
    throw error
  }
}

function readAclsFile(): readonly Right[] {
  const file = new URL('../../../schemas/acls.json', import.meta.url)
  return z.strictObject({ acls: z.array(right) }).parse(JSON.parse(readFileSync(file, 'utf8'))).acls
}

/** The names of our users, without `User:`. */
export function ourPrincipals(): readonly string[] {
  return [...new Set(readAclsFile().map(({ principal }) => principal))]
}
