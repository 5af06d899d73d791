// A broker of one's own that wants to know who comes: a listener for each kind of login, sessions
// that end, and an authorizer. Logins by SCRAM can be changed while it runs.
import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { Child, untilReady } from '../../infra/stack/child.ts'
import { Component } from '../../infra/stack/component.ts'
import { cacheFolder, fetchJavaParts, type JavaParts } from '../../infra/stack/java-parts.ts'
import { kafkaRoundTrip } from '../../infra/stack/kafka.ts'
import { freePorts } from '../../infra/stack/ports.ts'
import { type CertificateAuthority, newAuthority } from '../../infra/stack/certificates.ts'
import { ownPlace } from './own-components.ts'

const run = promisify(execFile)
const START_TIMEOUT_MS = 240_000
const STOP_WITHIN_MS = 4_000
const CLUSTER_ID = 'Y2Fsc3RyZWFtLXRlc3RzMQ'
const SCRAM = ['SCRAM-SHA-256', 'SCRAM-SHA-512'] as const
const DOORS = ['open', 'controller', 'scram', 'plain', 'clear', 'mutual', 'token'] as const
type Door = (typeof DOORS)[number]

export interface IdentityBroker extends AsyncDisposable {
  readonly authority: CertificateAuthority
  /** `host:port` of each listener; `open` asks nothing and may do all. */
  readonly doors: Readonly<Record<Door, string>>
  /** Gives a user this password for SCRAM-SHA-512. Takes a JVM, so some seconds. */
  setPassword(user: string, password: string): Promise<void>
}

interface IdentityOptions {
  /** After so long the broker ends a session whose login was not repeated. */
  readonly sessionMs: number
  /** Where the keys are by which it judges tokens. */
  readonly jwksUrl: string
  /** Password by user, for PLAIN and SCRAM. */
  readonly users: Readonly<Record<string, string>>
}

/** Starts it; `User:admin` may do all, everybody else what an ACL gives. */
export async function startIdentityBroker(options: IdentityOptions): Promise<IdentityBroker> {
  const place = ownPlace('kafka')
  const signal = AbortSignal.timeout(START_TIMEOUT_MS)
  const cache = cacheFolder(process.env, homedir())
  const parts = await fetchJavaParts({ cache, env: process.env, progress: () => {} }, signal)
  const authority = await newAuthority()
  mkdirSync(place.folder, { recursive: true })
  const ports = await freePorts([...DOORS])
  const settings = path.join(place.folder, 'server.properties')
  const server = await authority.issue({ commonName: 'broker', names: ['localhost', '127.0.0.1'] })
  writeFileSync(path.join(place.folder, 'server.pem'), `${server.key}\n${server.certificate}\n`)
  writeFileSync(path.join(place.folder, 'ca.pem'), `${authority.ca}\n`)
  writeFileSync(settings, propertiesOf(options, place.folder, ports))
  const java = (main: string, args: readonly string[]) =>
    run(parts.java, [...javaArguments(parts, options), main, ...args], { env: place.env })
  const logins = Object.entries(options.users).flatMap(([name, password]) =>
    SCRAM.flatMap((kind) => ['--add-scram', `${kind}=[name="${name}",password="${password}"]`]),
  )
  await java('kafka.tools.StorageTool', ['format', '-t', CLUSTER_ID, '-c', settings, ...logins])
  const component = await Component.start(async (stop) => {
    const child = await Child.start(
      {
        name: 'kafka',
        command: parts.java,
        args: [...javaArguments(parts, options), 'kafka.Kafka', settings],
        env: place.env,
        cwd: place.folder,
        logFile: place.logFile,
        stopWithinMs: STOP_WITHIN_MS,
      },
      place.ledger,
    )
    const ready = { probe: () => kafkaRoundTrip(`127.0.0.1:${ports.open}`), port: ports.open }
    await untilReady(child, ready, START_TIMEOUT_MS, stop)
    return child
  }, signal)
  const doors = Object.fromEntries(DOORS.map((door) => [door, `127.0.0.1:${ports[door]}`]))
  return {
    authority,
    doors: doors as Record<Door, string>,
    async setPassword(user, password) {
      // One kind at a time: the broker alters a user once in a request.
      const config = `SCRAM-SHA-512=[password=${password}]`
      const what = ['--alter', '--entity-type', 'users', '--entity-name', user, '--add-config', config]
      await java('kafka.admin.ConfigCommand', ['--bootstrap-server', `127.0.0.1:${ports.open}`, ...what])
    },
    [Symbol.asyncDispose]: () => component[Symbol.asyncDispose](),
  }
}

function javaArguments(parts: JavaParts, { jwksUrl }: IdentityOptions): readonly string[] {
  return [
    '-Xmx384m',
    '-XX:TieredStopAtLevel=1',
    '-XX:+UseSerialGC',
    `-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=${jwksUrl}`,
    '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
    '-cp',
    parts.kafkaClassPath,
  ]
}

const PROTOCOLS: Readonly<Record<Door, string>> = {
  open: 'PLAINTEXT',
  controller: 'PLAINTEXT',
  scram: 'SASL_SSL',
  plain: 'SASL_SSL',
  clear: 'SASL_PLAINTEXT',
  mutual: 'SSL',
  token: 'SASL_SSL',
}

function propertiesOf(
  { sessionMs, jwksUrl, users }: IdentityOptions,
  folder: string,
  ports: Readonly<Record<Door, number>>,
): string {
  const listeners = DOORS.map((door) => `${door.toUpperCase()}://127.0.0.1:${ports[door]}`)
  const logins = Object.entries(users).map(([name, password]) => `user_${name}="${password}"`)
  const jaas = (module: string, more = '') =>
    `org.apache.kafka.common.security.${module} required${more === '' ? '' : ` ${more}`};`
  const bearer = 'org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler'
  const all: Record<string, string | number> = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${ports.controller}`,
    listeners: listeners.join(','),
    'advertised.listeners': listeners.filter((one) => !one.startsWith('CONTROLLER')).join(','),
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'OPEN',
    'listener.security.protocol.map': DOORS.map((door) => `${door.toUpperCase()}:${PROTOCOLS[door]}`).join(
      ',',
    ),
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': path.join(folder, 'server.pem'),
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': path.join(folder, 'ca.pem'),
    'listener.name.mutual.ssl.client.auth': 'required',
    'listener.name.scram.sasl.enabled.mechanisms': SCRAM.join(','),
    'listener.name.scram.scram-sha-256.sasl.jaas.config': jaas('scram.ScramLoginModule'),
    'listener.name.scram.scram-sha-512.sasl.jaas.config': jaas('scram.ScramLoginModule'),
    'listener.name.plain.sasl.enabled.mechanisms': 'PLAIN',
    'listener.name.plain.plain.sasl.jaas.config': jaas('plain.PlainLoginModule', logins.join(' ')),
    'listener.name.clear.sasl.enabled.mechanisms': 'PLAIN',
    'listener.name.clear.plain.sasl.jaas.config': jaas('plain.PlainLoginModule', logins.join(' ')),
    'listener.name.token.sasl.enabled.mechanisms': 'OAUTHBEARER',
    'listener.name.token.oauthbearer.sasl.jaas.config': jaas('oauthbearer.OAuthBearerLoginModule'),
    'listener.name.token.oauthbearer.sasl.server.callback.handler.class': bearer,
    'listener.name.token.sasl.oauthbearer.jwks.endpoint.url': jwksUrl,
    'listener.name.token.sasl.oauthbearer.expected.audience': 'kafka',
    'listener.name.token.sasl.oauthbearer.expected.issuer': 'https://issuer.test',
    'connections.max.reauth.ms': sessionMs,
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    // The open listener is the test's own hand.
    'super.users': 'User:ANONYMOUS;User:admin',
    'log.dirs': path.join(folder, 'data'),
    'auto.create.topics.enable': 'false',
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 4,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    'group.initial.rebalance.delay.ms': 0,
    'num.network.threads': 2,
    'num.io.threads': 4,
    'log.index.size.max.bytes': 1_048_576,
    'log.cleaner.dedupe.buffer.size': 16_777_216,
  }
  return Object.entries(all)
    .map(([key, value]) => `${key}=${value}\n`)
    .join('')
}
