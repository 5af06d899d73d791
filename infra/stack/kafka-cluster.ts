// Three Apache Kafka brokers that ask everyone who they are: clients come over TLS with a SCRAM
// login and may do what an ACL names; brokers and controllers know each other by certificate. Each
// process is broker and controller in one, which Apache advises against for production and a small
// machine needs (https://kafka.apache.org/documentation/#kraft_role).
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { UserError } from '#shared/process/user-error.ts'
import { type Authority, writeKeystore } from './authority.ts'
import { Component } from './component.ts'
import { untilAnswers } from './child.ts'
import type { JavaParts } from './java-parts.ts'
import { launchNode } from './kafka-node.ts'
import { type KafkaAccess, type KafkaLogin, reloadCertificate, servingBrokers } from './kafka-operator.ts'
import type { ProcessLedger } from './processes.ts'

export const NODE_IDS = [1, 2, 3] as const
export type NodeId = (typeof NODE_IDS)[number]

/** The operator of the local cluster: no right is denied to it. Services never get it. */
export const SUPER_USER = 'admin'
/** What brokers and controllers are to each other: the common name of their certificates. */
const NODE_USER = 'kafka'

export interface ClusterPorts {
  readonly client: number
  /** Between brokers. */
  readonly broker: number
  readonly controller: number
  /** A second way in for clients behind a proxy: it is told to them as `advertised`. */
  readonly proxied?: { readonly port: number; readonly advertised: number }
}

export interface KafkaClusterOptions {
  readonly parts: JavaParts
  /** Holds a folder for each broker. */
  readonly folder: string
  readonly logFile: (name: string) => string
  readonly ports: Readonly<Record<NodeId, ClusterPorts>>
  readonly authority: Authority
  /** Logins that exist from the first start; that of SUPER_USER among them. */
  readonly logins: readonly KafkaLogin[]
  /**
   * After this long a client has to authenticate again, so that an old password ends
   * (`connections.max.reauth.ms`).
   */
  readonly authenticateAgainMs: number
  readonly stopWithinMs?: number
  readonly env: NodeJS.ProcessEnv
  readonly ledger: ProcessLedger
}

export interface KafkaCluster extends AsyncDisposable {
  /** For KAFKA_BROKERS. */
  readonly brokers: string
  readonly caFile: string
  /** In the order of NODE_IDS. */
  readonly nodes: readonly Component[]
  /** As SUPER_USER. */
  readonly operator: KafkaAccess
  /**
   * Gives every broker new certificates while it runs. Of another issuer only those that clients
   * see: among themselves brokers know their own authority alone.
   */
  renewCertificates(issuer?: Authority): Promise<void>
}

/** A controlled shutdown moves leaders first: 1 to 2 s idle. */
const STOP_WITHIN_MS = 8_000
const COMPLETE_WITHIN_MS = 60_000
/**
 * In the folder of its broker, where that runs: a renewal puts this name into the cluster's own
 * data, and a folder that was moved since then must still start.
 */
const KEYSTORE = 'certificate.pem'
/** Of what clients see, once it was renewed. */
const CLIENT_KEYSTORE = 'clients.pem'
/** Names of listeners; settings have them in lower case. */
const LISTENER = 'CLIENTS'
const BETWEEN = 'BROKERS'
const PROXIED = 'PROXIED'

/**
 * Starts all three side by side, since none is ready without a second; resolves when each serves
 * and knows the others. Throws a UserError with the end of a log.
 */
export async function startKafkaCluster(
  options: KafkaClusterOptions,
  signal: AbortSignal,
): Promise<KafkaCluster> {
  const login = options.logins.find(({ name }) => name === SUPER_USER)
  if (login === undefined) throw new Error(`no password was given for ${SUPER_USER}`)
  const caFile = options.authority.caFile
  const brokers = NODE_IDS.map((id) => addressOf(options, id)).join(',')
  const operator: KafkaAccess = { brokers, caFile, login }
  await using owned = new AsyncDisposableStack()
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const starting = NODE_IDS.map(async (id) => owned.use(await startNode(options, id, operator, either)))
  const nodes = await Promise.all(starting).catch(async (error: unknown) => {
    failed.abort(error)
    await Promise.allSettled(starting)
    throw error
  })
  const answer = await untilAnswers(
    () => isComplete(operator),
    () => true,
    COMPLETE_WITHIN_MS,
    signal,
  )
  if (answer !== 'answered')
    throw new UserError(`The three Kafka brokers do not know each other: ${answer.reason}`)
  const all = owned.move()
  return {
    brokers,
    caFile,
    nodes,
    operator,
    renewCertificates: (issuer) => renewCertificates(options, operator, issuer),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

function startNode(
  options: KafkaClusterOptions,
  id: NodeId,
  operator: KafkaAccess,
  signal: AbortSignal,
): Promise<Component> {
  const name = `kafka-${id}`
  const own = { ...operator, brokers: addressOf(options, id) }
  const node = {
    name,
    parts: options.parts,
    folder: path.join(options.folder, name),
    logFile: options.logFile(name),
    stopWithinMs: options.stopWithinMs ?? STOP_WITHIN_MS,
    // Three compilers for speed would fight over two cores for minutes.
    brief: true,
    env: options.env,
    ledger: options.ledger,
    logins: options.logins,
    port: options.ports[id].client,
    properties: nodeProperties(options, id),
    async probe() {
      if (!(await servingBrokers(own)).includes(id)) throw new Error(`${name} does not serve yet`)
    },
  }
  return Component.start(async (stop) => {
    await issueCertificate(options, id)
    return launchNode(node, stop)
  }, signal)
}

async function isComplete(operator: KafkaAccess): Promise<void> {
  const serving = await servingBrokers(operator)
  if (serving.length < NODE_IDS.length) throw new Error(`only ${serving.join(', ')} serve`)
}

function addressOf({ ports }: KafkaClusterOptions, id: NodeId): string {
  return `127.0.0.1:${ports[id].client}`
}

async function issueCertificate(
  options: KafkaClusterOptions,
  id: NodeId,
  { file = KEYSTORE, issuer = options.authority } = {},
): Promise<void> {
  const folder = path.join(options.folder, `kafka-${id}`)
  mkdirSync(folder, { recursive: true })
  writeKeystore(path.join(folder, file), await issuer.issue(NODE_USER))
}

/** One after the other, so that a broker that refuses its certificate stays the only one. */
async function renewCertificates(
  options: KafkaClusterOptions,
  operator: KafkaAccess,
  issuer = options.authority,
): Promise<void> {
  for (const id of NODE_IDS) {
    await issueCertificate(options, id)
    await issueCertificate(options, id, { file: CLIENT_KEYSTORE, issuer })
    const proxied = options.ports[id].proxied ? { [PROXIED]: CLIENT_KEYSTORE } : {}
    const files = { [BETWEEN]: KEYSTORE, [LISTENER]: CLIENT_KEYSTORE, ...proxied }
    await reloadCertificate(operator, { id, files })
  }
}

/** Pure: what one broker of the three is told. No password is among it. */
export function nodeProperties(
  options: Pick<KafkaClusterOptions, 'ports' | 'authority' | 'authenticateAgainMs'>,
  id: NodeId,
): Readonly<Record<string, string>> {
  const { client, broker, controller, proxied } = options.ports[id]
  const more = proxied ? `,${PROXIED}://127.0.0.1:${proxied.port}` : ''
  const moreAdvertised = proxied ? `,${PROXIED}://127.0.0.1:${proxied.advertised}` : ''
  const voters = NODE_IDS.map((voter) => `${voter}@127.0.0.1:${options.ports[voter].controller}`)
  return {
    'process.roles': 'broker,controller',
    'node.id': String(id),
    'controller.quorum.voters': voters.join(','),
    listeners: `${LISTENER}://127.0.0.1:${client},${BETWEEN}://127.0.0.1:${broker},CONTROLLER://127.0.0.1:${controller}${more}`,
    'advertised.listeners': `${LISTENER}://127.0.0.1:${client},${BETWEEN}://127.0.0.1:${broker}${moreAdvertised}`,
    'inter.broker.listener.name': BETWEEN,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': `${LISTENER}:SASL_SSL,${BETWEEN}:SSL,CONTROLLER:SSL,${PROXIED}:SASL_SSL`,
    ...identity(options),
    ...REPLICATION,
    ...PATIENCE,
  }
}

/** Who is let in, and as whom. */
function identity({
  authority,
  authenticateAgainMs,
}: Pick<KafkaClusterOptions, 'authority' | 'authenticateAgainMs'>): Readonly<Record<string, string>> {
  return {
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': KEYSTORE,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': authority.caFile,
    'listener.name.brokers.ssl.client.auth': 'required',
    'listener.name.controller.ssl.client.auth': 'required',
    'ssl.principal.mapping.rules': 'RULE:^CN=([a-z0-9-]+)$/$1/',
    'sasl.enabled.mechanisms': 'SCRAM-SHA-512',
    ...Object.fromEntries(
      [LISTENER, PROXIED].map((listener) => [
        `listener.name.${listener.toLowerCase()}.scram-sha-512.sasl.jaas.config`,
        'org.apache.kafka.common.security.scram.ScramLoginModule required;',
      ]),
    ),
    'connections.max.reauth.ms': String(authenticateAgainMs),
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users': `User:${SUPER_USER};User:${NODE_USER}`,
    // Said although it is the default: it is what the whole stack is about.
    'allow.everyone.if.no.acl.found': 'false',
  }
}

/** A record is on two brokers before it counts, and on three as a rule. */
const REPLICATION: Readonly<Record<string, string>> = {
  'default.replication.factor': '3',
  'min.insync.replicas': '2',
  'offsets.topic.replication.factor': '3',
  'transaction.state.log.replication.factor': '3',
  'transaction.state.log.min.isr': '2',
  'share.coordinator.state.topic.replication.factor': '3',
  'share.coordinator.state.topic.min.isr': '2',
  'unclean.leader.election.enable': 'false',
}

/**
 * Three Java processes on two cores pause for seconds while others work: the defaults of 1 and 2 s
 * would hold elections for nothing. A broker that was killed costs its leaders 6 s.
 */
const PATIENCE: Readonly<Record<string, string>> = {
  'broker.session.timeout.ms': '6000',
  'broker.heartbeat.interval.ms': '1000',
  'controller.quorum.election.timeout.ms': '3000',
  'controller.quorum.fetch.timeout.ms': '6000',
}
