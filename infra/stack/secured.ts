// The parts of a secured local stack where it differs from the open one: Kafka as three brokers
// with logins, TLS in front of Postgres, a door in front of the registry. Also what each service
// and each tool needs in order to be let in.
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { RegistryAccess } from '#shared/kafka/registry.ts'
import { type Authority, keptAuthority, trustAuthority } from './authority.ts'
import { type ClusterPorts, type KafkaCluster, type NodeId, SUPER_USER } from './kafka-cluster.ts'
import type { KafkaAccess, KafkaLogin } from './kafka-operator.ts'
import { writeWhole } from './processes.ts'
import { DOOR_USER, doorAccess, type RegistryDoor } from './registry-door.ts'

/** Who comes to Kafka, besides the operator: each service as itself, and a stranger who reads. */
export const KAFKA_PRINCIPALS = [
  'calstream-ingress',
  'calstream-sync',
  'calstream-retry',
  'calstream-relay',
  'calstream-scheduler',
  'calstream-admin',
  'calstream-reader',
] as const
export type KafkaPrincipal = (typeof KAFKA_PRINCIPALS)[number] | typeof SUPER_USER

export const SECURE_PORTS = [
  'kafka1',
  'kafka1Between',
  'kafka1Controller',
  'kafka2',
  'kafka2Between',
  'kafka2Controller',
  'kafka3',
  'kafka3Between',
  'kafka3Controller',
  'registryDoor',
] as const
export type SecurePort = (typeof SECURE_PORTS)[number]

/** What makes a stack a secured one. */
export interface Securing {
  readonly authority: Authority
  readonly ports: Readonly<Record<SecurePort, number>>
  readonly kafkaPasswords: Readonly<Record<KafkaPrincipal, string>>
  readonly registryPassword: string
}

/** The securing of a stack's folder; its authority is made at the first call. */
export async function keptSecuring(folder: string, rest: Omit<Securing, 'authority'>): Promise<Securing> {
  const { ports, kafkaPasswords, registryPassword } = rest
  return {
    authority: await keptAuthority(path.join(folder, 'authority')),
    ports,
    kafkaPasswords,
    registryPassword,
  }
}

/** The ports of each broker, by its id. */
export function clusterPorts(ports: Securing['ports']): Readonly<Record<NodeId, ClusterPorts>> {
  const of = (id: NodeId): ClusterPorts => ({
    client: ports[`kafka${id}`],
    broker: ports[`kafka${id}Between`],
    controller: ports[`kafka${id}Controller`],
  })
  return { 1: of(1), 2: of(2), 3: of(3) }
}

export function kafkaLogins({ kafkaPasswords }: Securing): readonly KafkaLogin[] {
  return Object.entries(kafkaPasswords).map(([name, password]) => ({ name, password }))
}

/** The file of a login's password: what a rotation writes. */
export function passwordFile(folder: string, principal: KafkaPrincipal): string {
  return path.join(folder, 'credentials', principal)
}

/** A login as its file has it now. */
export function currentLogin(folder: string, principal: KafkaPrincipal): KafkaLogin {
  return { name: principal, password: readFileSync(passwordFile(folder, principal), 'utf8').trimEnd() }
}

/**
 * Gives every password a file of its own and returns the settings that lead to them. A file that is
 * there stays: it may hold a later password than the first. NAME_<SERVICE> is one service's own;
 * NAME is the operator's, as for Postgres.
 */
export function accessSettings(
  folder: string,
  securing: Securing,
  { kafka, door }: { readonly kafka: KafkaCluster; readonly door: RegistryDoor },
): Readonly<Record<string, string>> {
  mkdirSync(path.join(folder, 'credentials'), { recursive: true, mode: 0o700 })
  const own: Record<string, string> = {}
  for (const { name, password } of kafkaLogins(securing)) {
    const file = passwordFile(folder, name as KafkaPrincipal)
    if (!existsSync(file)) writeWhole(file, `${password}\n`)
    const suffix = suffixOf(name as KafkaPrincipal)
    if (suffix === null) continue
    own[`KAFKA_SASL_USERNAME${suffix}`] = name
    own[`KAFKA_SASL_PASSWORD_FILE${suffix}`] = file
  }
  return {
    KAFKA_SECURITY_PROTOCOL: 'SASL_SSL',
    KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
    KAFKA_SSL_CA_FILE: kafka.caFile,
    ...own,
    SCHEMA_REGISTRY_USERNAME: DOOR_USER,
    SCHEMA_REGISTRY_PASSWORD_FILE: door.passwordFile,
    SCHEMA_REGISTRY_SSL_CA_FILE: securing.authority.caFile,
  }
}

/** Of the settings of a login; null for one that no process of the stack has. */
function suffixOf(principal: KafkaPrincipal): string | null {
  if (principal === SUPER_USER) return ''
  if (principal === 'calstream-admin' || principal === 'calstream-reader') return null
  return `_${principal.replace('calstream-', '').toUpperCase()}`
}

/** What a reader of the topics needs besides addresses. The registry has the same authority. */
export interface ReaderAccess extends Omit<KafkaAccess, 'brokers'> {
  readonly registry: RegistryAccess
}

/**
 * The operator's access, from the settings of a stack; undefined in an open one. Makes this process
 * trust the stack's authority, by which the registry is asked.
 */
export function readerAccess(env: Readonly<Record<string, string>>): ReaderAccess | undefined {
  const value = (name: string): string => env[name] ?? ''
  const content = (name: string): string => readFileSync(value(name), 'utf8').trimEnd()
  if (value('KAFKA_SECURITY_PROTOCOL') === '') return undefined
  trustAuthority(value('SCHEMA_REGISTRY_SSL_CA_FILE'))
  return {
    caFile: value('KAFKA_SSL_CA_FILE'),
    login: { name: value('KAFKA_SASL_USERNAME'), password: content('KAFKA_SASL_PASSWORD_FILE') },
    registry: doorAccess(content('SCHEMA_REGISTRY_PASSWORD_FILE')),
  }
}
