// The hand of an operator on a secured cluster: who belongs to it, rights, new passwords, new
// certificates.
import { pbkdf2Sync, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import {
  alterUserScramCredentialsV0,
  Connection,
  instancesChannel,
  ScramMechanisms,
} from '@platformatic/kafka'
// Node finds only some of the names of this CommonJS module; the others hang on its default export.
import kafkajs, { type AclEntry, type Admin } from 'kafkajs'
import { z } from 'zod'
import { applyAcls } from '#shared/kafka/acls.ts'
import { createClient, type KafkaConfig } from '#shared/kafka/client.ts'
import { kafkaConfigOf, kafkaEnv } from '#shared/kafka/settings.ts'
import { createLogger } from '#shared/process/log.ts'
import { readEnv } from '#shared/process/settings.ts'
import { UserError } from '#shared/process/user-error.ts'
import { untilAnswers } from './child.ts'

export interface KafkaLogin {
  readonly name: string
  readonly password: string
}

/** A way into a secured cluster. */
export interface KafkaAccess {
  /** `host:port`, separated by commas. */
  readonly brokers: string
  readonly caFile: string
  readonly login: KafkaLogin
}

/** As Kafka's own tool (kafka.apache.org/documentation/#security_sasl_scram_clientconfig). */
const ITERATIONS = 8_192
const SALT_BYTES = 24
const SHA512_BYTES = 64
const CALL_MS = 5_000
/** A broker opens its certificates before it answers; beside two busy stacks that took 5 s. */
const CHANGE_MS = 30_000
const RIGHTS_WITHIN_MS = 60_000
/** Reads its keystore again when this is set, also to the same value. */
const KEYSTORE = 'ssl.keystore.location'

/**
 * A login that is cut off makes the client tell the same error twice. The second time there is no
 * listener, and this process would end (@platformatic/kafka 2.12.1 begins the handshake although
 * the connection has ended). Callers hear the first.
 */
instancesChannel.subscribe((message) => {
  const { type, instance } = message as { type?: string; instance?: unknown }
  if (type === 'connection' && instance instanceof Connection) instance.on('error', () => {})
})

/** Options of @platformatic/kafka for who comes this way. */
export function clientOptions({ caFile, login }: Omit<KafkaAccess, 'brokers'>) {
  return {
    tls: { ca: readFileSync(caFile, 'utf8') },
    sasl: { mechanism: 'SCRAM-SHA-512', username: login.name, password: login.password },
    connectTimeout: CALL_MS,
    requestTimeout: CALL_MS,
  } as const
}

/** Ids of the brokers that serve now. Throws what the client says when none answers. */
export async function servingBrokers(access: KafkaAccess): Promise<readonly number[]> {
  return withAdmin(access, async (admin) => {
    const { brokers } = await admin.describeCluster()
    return brokers.map(({ nodeId }) => nodeId)
  })
}

/** Which broker leads each partition of a topic, in their order. Throws what the client says. */
export async function leadersOf(access: KafkaAccess, topic: string): Promise<readonly number[]> {
  return withAdmin(access, async (admin) => {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    const partitions = topics[0]?.partitions ?? []
    return partitions.toSorted((a, b) => a.partitionId - b.partitionId).map(({ leader }) => leader)
  })
}

/** Adds rights; those that are there stay. */
export async function grant(access: KafkaAccess, acl: readonly AclEntry[]): Promise<void> {
  await withAdmin(access, (admin) => admin.createAcls({ acl: [...acl] }))
}

/**
 * Gives every login of ours the rights that it needs, those of an installation with this prefix.
 * May be run again. Throws a UserError when a right is still missing after a while.
 */
export async function grantRights(access: KafkaAccess, signal: AbortSignal, prefix = ''): Promise<void> {
  const config = { ...configOf(access), prefix }
  const logger = createLogger({ service: 'local-stack', level: 'silent' })
  // A broker hears of a rule a moment after it was made at another.
  const given = await untilAnswers(
    async () => {
      const { problems } = await applyAcls(config, logger)
      if (problems.length > 0) throw new UserError(problems.join('\n'))
    },
    () => true,
    RIGHTS_WITHIN_MS,
    signal,
  )
  if (given !== 'answered') throw new UserError(`The rights on Kafka were not given: ${given.reason}`)
}

/**
 * Gives a login another password, or makes it. Connections that are open stay until the broker
 * asks them to authenticate again. Throws a UserError when the cluster refuses.
 * https://cwiki.apache.org/confluence/display/KAFKA/KIP-554
 */
export async function setPassword(access: KafkaAccess, { name, password }: KafkaLogin): Promise<void> {
  const salt = randomBytes(SALT_BYTES)
  const saltedPassword = pbkdf2Sync(password, salt, ITERATIONS, SHA512_BYTES, 'sha512')
  const mechanism = ScramMechanisms.SCRAM_SHA_512
  const upsertion = { name, mechanism, iterations: ITERATIONS, salt, saltedPassword }
  await using connection = await connected(access)
  const { results } = await alterUserScramCredentialsV0.api.async(connection.kept, [], [upsertion])
  for (const { user, errorCode, errorMessage } of results)
    if (errorCode !== 0)
      throw new UserError(`Kafka did not take the password of ${user}: ${errorMessage ?? errorCode}.`)
}

/**
 * Makes one broker read the certificates of its listeners again, each from its file. All of them at
 * once: what is not named loses what was set before. It refuses one of another name.
 * https://kafka.apache.org/documentation/#dynamicbrokerconfigs
 */
export async function reloadCertificate(
  access: KafkaAccess,
  { id, files }: { readonly id: number; readonly files: Readonly<Record<string, string>> },
): Promise<void> {
  const configEntries = Object.entries(files).map(([listener, file]) => ({
    name: `listener.name.${listener.toLowerCase()}.${KEYSTORE}`,
    value: file,
  }))
  const resource = { type: kafkajs.ConfigResourceTypes.BROKER, name: String(id), configEntries }
  const change = (admin: Admin) => admin.alterConfigs({ validateOnly: false, resources: [resource] })
  await withAdmin(access, change, CHANGE_MS)
}

async function withAdmin<T>(
  access: KafkaAccess,
  work: (admin: Admin) => Promise<T>,
  requestMs = CALL_MS,
): Promise<T> {
  const admin = createClient(configOf(access), { retries: 1 }, null, requestMs).admin()
  try {
    await admin.connect()
    return await work(admin)
  } finally {
    await admin.disconnect()
  }
}

/** From the settings that a service would get. */
function configOf({ brokers, caFile, login }: KafkaAccess): KafkaConfig {
  const env = {
    KAFKA_BROKERS: brokers,
    KAFKA_SECURITY_PROTOCOL: 'SASL_SSL',
    KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
    KAFKA_SASL_USERNAME: login.name,
    KAFKA_SASL_PASSWORD: login.password,
    KAFKA_SSL_CA_FILE: caFile,
  }
  return kafkaConfigOf(readEnv(z.object(kafkaEnv), env), 'local-stack')
}

async function connected(access: KafkaAccess): Promise<AsyncDisposable & { readonly kept: Connection }> {
  const [first = ''] = access.brokers.split(',')
  const { hostname, port } = new URL(`kafka://${first}`)
  const kept = new Connection('local-stack', clientOptions(access))
  await kept.connect(hostname, Number(port))
  return { kept, [Symbol.asyncDispose]: () => kept.close() }
}
