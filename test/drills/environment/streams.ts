// Kafka and the registry of a run of drills, with the lines that the services go through: one
// broker in clear, or the secured three behind lines that end TLS, so that a cut can still be told
// by what the protocol says.
import path from 'node:path'
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { kafkaConfigOf, kafkaEnv, registryConfigOf, registryEnv } from '#shared/kafka/settings.ts'
import { readEnv } from '#shared/process/settings.ts'
import { type Authority, keptAuthority } from '../../../infra/stack/authority.ts'
import { childEnv, logFileOf, type StackPlace } from '../../../infra/stack/infrastructure.ts'
import type { JavaParts } from '../../../infra/stack/java-parts.ts'
import { kafkaRoundTrip, startKafka } from '../../../infra/stack/kafka.ts'
import { type KafkaCluster, NODE_IDS, startKafkaCluster } from '../../../infra/stack/kafka-cluster.ts'
import { servingBrokers } from '../../../infra/stack/kafka-operator.ts'
import { freePorts } from '../../../infra/stack/ports.ts'
import { writeWhole } from '../../../infra/stack/processes.ts'
import { startRegistry } from '../../../infra/stack/registry.ts'
import { type RegistryDoor, startRegistryDoor } from '../../../infra/stack/registry-door.ts'
import { accessSettings, clusterPorts, kafkaLogins, SECURE_PORTS } from '../../../infra/stack/secured.ts'
import type { StackSecrets } from '../../../infra/stack/secrets.ts'
import { linesAsOne, startTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'

/** What a drill does to a part of the infrastructure. */
export interface Part {
  readonly name: string
  stop(): Promise<void>
  kill(): Promise<void>
  pause(): void
  resume(): void
  restart(signal: AbortSignal): Promise<void>
}

export interface DrillKafka extends Part {
  /** Around the lines. */
  readonly brokers: string
  /** Through the lines, for KAFKA_BROKERS. */
  readonly through: string
  /** Whether all of it answers, around the lines. */
  isUp(): Promise<boolean>
}

export interface Streams {
  readonly kafka: DrillKafka
  readonly registry: { readonly url: string }
  readonly lines: { readonly kafka: TcpProxy; readonly registry: TcpProxy }
  /** Settings that let the services in; none in clear. */
  readonly access: Readonly<Record<string, string>>
  readonly cluster: KafkaCluster | null
  /** Before the registry; null in clear. */
  readonly door: RegistryDoor | null
}

export interface StreamsPlace {
  readonly place: StackPlace
  readonly secrets: StackSecrets
  readonly parts: JavaParts
  readonly owned: AsyncDisposableStack
}

/**
 * A lone broker killed in the middle of its shutdown may come back with a transaction that never
 * ends for readers of committed records. On a machine under load an orderly shutdown took more than
 * the usual 3.5 s.
 */
const KAFKA_STOP_MS = 30_000
/** Short, so that a drill of minutes sees every client log in again. */
const AUTHENTICATE_AGAIN_MS = 20_000

/** One broker in clear, and a registry. */
export async function startOpenStreams(at: StreamsPlace, signal: AbortSignal): Promise<Streams> {
  const { place, parts, owned } = at
  const ports = await freePorts(['kafka', 'proxied', 'controller'])
  const line = owned.use(await startTcpProxy(ports.proxied))
  const kafkaPorts = {
    port: ports.kafka,
    controllerPort: ports.controller,
    proxied: { port: ports.proxied, advertisedPort: line.port },
  }
  const [kafka, { registry, registryLine }] = await both(
    startKafka({ ...common(place, 'kafka'), parts, ...kafkaPorts, stopWithinMs: KAFKA_STOP_MS }, signal).then(
      (started) => owned.use(started),
    ),
    startRegistryBehindLine(at, signal),
  )
  const isUp = () => answers(() => kafkaRoundTrip(kafka.brokers))
  return {
    kafka: Object.assign(kafka, { through: `127.0.0.1:${line.port}`, isUp }),
    registry,
    lines: { kafka: line, registry: registryLine },
    access: {},
    cluster: null,
    door: null,
  }
}

/** The secured three, and a registry behind its door. */
export async function startSecuredStreams(
  at: StreamsPlace,
  { authority, trustFile }: Authorities,
  signal: AbortSignal,
): Promise<Streams> {
  const { place, secrets, parts, owned } = at
  const ports = await freePorts(SECURE_PORTS)
  const proxied = await freePorts(NODE_IDS.map((id) => String(id)))
  const identity = await authority.issue('kafka')
  const tls = { ...identity, ca: readFileSync(authority.caFile, 'utf8') }
  const lineTo = async (id: number) => owned.use(await startTcpProxy(proxied[id] ?? 0, Math.random, tls))
  const lines = { 1: await lineTo(1), 2: await lineTo(2), 3: await lineTo(3) }
  const own = clusterPorts(ports)
  const through = (id: 1 | 2 | 3) => ({
    ...own[id],
    proxied: { port: proxied[id] ?? 0, advertised: lines[id].port },
  })
  const securing = {
    authority,
    ports,
    kafkaPasswords: secrets.kafkaPasswords,
    registryPassword: secrets.registryPassword,
  }
  const options = {
    ...common(place, 'kafka'),
    folder: place.folder,
    parts,
    logFile: (name: string) => logFileOf(place, name),
    ports: { 1: through(1), 2: through(2), 3: through(3) },
    authority,
    logins: kafkaLogins(securing),
    authenticateAgainMs: AUTHENTICATE_AGAIN_MS,
    stopWithinMs: KAFKA_STOP_MS,
  }
  const [cluster, { registry }] = await both(
    startKafkaCluster(options, signal).then((started) => owned.use(started)),
    startRegistryBehindLine(at, signal),
  )
  const doorOptions = { ...common(place, 'registry-door'), port: ports.registryDoor, authority }
  const password = secrets.registryPassword
  const door = owned.use(
    await startRegistryDoor({ ...doorOptions, password, registryUrl: registry.url }, signal),
  )
  return {
    kafka: clusterAsOne(cluster, Object.values(lines)),
    registry: door,
    lines: {
      kafka: linesAsOne([lines[1], lines[2], lines[3]]),
      registry: owned.use(await startTcpProxy(ports.registryDoor)),
    },
    access: {
      ...accessSettings(place.folder, securing, { kafka: cluster, door }),
      KAFKA_SSL_CA_FILE: trustFile,
      SCHEMA_REGISTRY_SSL_CA_FILE: trustFile,
    },
    cluster,
    door,
  }
}

/** Side by side: no broker of three is ready without a second. */
function clusterAsOne(cluster: KafkaCluster, lines: readonly TcpProxy[]): DrillKafka {
  const { nodes, brokers } = cluster
  const all = async (act: (node: (typeof nodes)[number]) => Promise<void>) => {
    await Promise.all(nodes.map((node) => act(node)))
  }
  return {
    name: 'kafka',
    brokers,
    through: lines.map(({ port }) => `127.0.0.1:${port}`).join(','),
    isUp: () =>
      answers(async () => {
        if ((await servingBrokers(cluster.operator)).length < nodes.length) throw new Error('not all serve')
      }),
    stop: () => all((node) => node.stop()),
    kill: () => all((node) => node.kill()),
    pause: () => nodes.forEach((node) => node.pause()),
    resume: () => nodes.forEach((node) => node.resume()),
    restart: (signal) => all((node) => node.restart(signal)),
  }
}

async function startRegistryBehindLine({ place, parts, owned }: StreamsPlace, signal: AbortSignal) {
  const { port } = await freePorts(['port'])
  const registry = owned.use(await startRegistry({ ...common(place, 'registry'), parts, port }, signal))
  return { registry, registryLine: owned.use(await startTcpProxy(port)) }
}

/** Kafka around the lines, as its operator where there are logins. */
export function kafkaOf({ kafka, access }: Pick<Streams, 'kafka' | 'access'>, prefix: string) {
  const env = { ...access, KAFKA_BROKERS: kafka.brokers, KAFKA_PREFIX: prefix }
  return kafkaConfigOf(readEnv(z.object(kafkaEnv), env), 'calstream-drill')
}

/** The registry around its line, as one who is let in. */
export function registryOf({ registry, access }: Pick<Streams, 'registry' | 'access'>, prefix: string) {
  const env = { ...access, SCHEMA_REGISTRY_URL: registry.url, KAFKA_PREFIX: prefix }
  const schema = z.object({ ...registryEnv, KAFKA_PREFIX: kafkaEnv.KAFKA_PREFIX })
  return registryConfigOf(readEnv(schema, env))
}

/** Who issues the certificates of a run of drills, and whom its clients trust. */
export interface Authorities {
  /** What issues now; its `caFile` has both, for servers and the judge. */
  readonly authority: Authority
  /** The first one, and one that may take over from it. */
  readonly both: readonly [Authority, Authority]
  /** What the services trust: the first, until `trust` says otherwise. */
  readonly trustFile: string
  trust(...those: readonly Authority[]): void
}

export async function drillAuthorities({ folder }: StackPlace): Promise<Authorities> {
  const first = await keptAuthority(path.join(folder, 'authority'))
  const second = await keptAuthority(path.join(folder, 'next-authority'))
  const pem = (those: readonly Authority[]) =>
    those.map(({ caFile }) => readFileSync(caFile, 'utf8')).join('')
  const [trustFile, caFile] = [path.join(folder, 'trusted.pem'), path.join(folder, 'authorities.pem')]
  const trust = (...those: readonly Authority[]) => writeWhole(trustFile, pem(those))
  writeWhole(caFile, pem([first, second]))
  trust(first)
  return { authority: { ...first, caFile }, both: [first, second], trustFile, trust }
}

export function common(place: StackPlace, name: string) {
  const folder = path.join(place.folder, name)
  return { folder, logFile: logFileOf(place, name), env: childEnv(place.env), ledger: place.ledger }
}

/** Promise.all that ends when both have ended: what is started late is stopped too. */
export async function both<A, B>(one: Promise<A>, other: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([one, other])
  return Promise.all([one, other])
}

function answers(ask: () => Promise<void>): Promise<boolean> {
  return ask().then(
    () => true,
    () => false,
  )
}
