// The infrastructure of one run of drills: a database server, a broker, a registry and an Unleash,
// each behind a proxy. The services go through the proxies, the judge goes around them. So a fault
// on a line never blinds the ledgers.
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { Secret } from '#shared/process/secret.ts'
import { migrate } from '#shared/store/migrate.ts'
import type { Authority } from '../../../infra/stack/authority.ts'
import { compiledFolder } from '../../../infra/stack/compiled.ts'
import type { StackPlace } from '../../../infra/stack/infrastructure.ts'
import { cacheFolder, fetchJavaParts } from '../../../infra/stack/java-parts.ts'
import { freePorts } from '../../../infra/stack/ports.ts'
import { type Postgres, runStatement, startPostgres } from '../../../infra/stack/postgres.ts'
import { ProcessLedger } from '../../../infra/stack/processes.ts'
import { newSecrets, type StackSecrets } from '../../../infra/stack/secrets.ts'
import { seedToggles } from '#shared/gates/seed-toggles.ts'
import { startUnleash, type Unleash } from '../../../infra/stack/unleash.ts'
import { type LineTls, POSTGRES_OPENING, startTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'
import {
  type Authorities,
  both,
  common,
  drillAuthorities,
  type DrillKafka,
  startOpenStreams,
  startSecuredStreams,
  type Streams,
  type StreamsPlace,
} from './streams.ts'

export interface DrillStack extends AsyncDisposable {
  readonly place: StackPlace
  readonly secrets: StackSecrets
  readonly postgres: Postgres
  readonly kafka: DrillKafka
  readonly registry: Streams['registry']
  readonly unleash: Unleash
  readonly lines: Lines
  /** Settings that let the services in; none on the open stack. */
  readonly access: Streams['access']
  /** Who issues certificates and who is trusted; null on the open stack. */
  readonly authorities: Authorities | null
  /** The secured three; null on the open stack. */
  readonly cluster: Streams['cluster']
  readonly door: Streams['door']
  /** A migrated database that others are cloned from. */
  readonly template: string
}

/** The proxies that the services go through. */
export interface Lines {
  readonly postgres: TcpProxy
  readonly kafka: TcpProxy
  readonly unleash: TcpProxy
  readonly registry: TcpProxy
}

export interface StackOptions {
  /** Everything of the run lies in it; made when absent. */
  readonly folder: string
  readonly env: NodeJS.ProcessEnv
  readonly say: (line: string) => void
  /** TLS, logins and rights everywhere, and three brokers. */
  readonly isSecured?: boolean
}

/** Starts everything; what was started is stopped again when a part fails. */
export async function startDrillStack(options: StackOptions, signal: AbortSignal): Promise<DrillStack> {
  await using owned = new AsyncDisposableStack()
  const place: StackPlace = {
    folder: options.folder,
    cache: cacheFolder(options.env, homedir()),
    env: options.env,
    ledger: new ProcessLedger(options.folder),
  }
  mkdirSync(options.folder, { recursive: true })
  const secrets = newSecrets()
  const began = performance.now()
  const parts = await fetchJavaParts({ cache: place.cache, env: options.env, progress: options.say }, signal)
  const authorities = options.isSecured ? await drillAuthorities(place) : null
  const at = { place, secrets, parts, owned }
  const [rest, streams] = await both(
    startPostgresAndUnleash(at, authorities?.authority ?? null, signal),
    authorities === null ? startOpenStreams(at, signal) : startSecuredStreams(at, authorities, signal),
  )
  options.say(`infrastructure of the drills is ready after ${Math.round(performance.now() - began)} ms`)
  const all = owned.move()
  return {
    place,
    secrets,
    authorities,
    ...rest,
    ...streams,
    lines: { ...rest.lines, ...streams.lines },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

async function startPostgresAndUnleash(
  { place, secrets, owned }: Omit<StreamsPlace, 'parts'>,
  authority: Authority | null,
  signal: AbortSignal,
) {
  const ports = await freePorts(['postgres', 'unleash'])
  const server = { ...common(place, 'postgres'), port: ports.postgres, databases: ['unleash'], fsync: false }
  const postgres = owned.use(
    await startPostgres({ ...server, ...(authority === null ? {} : { authority }) }, signal),
  )
  const { env, ledger, logFile } = common(place, 'unleash')
  const [unleash, template] = await Promise.all([
    startUnleash(
      {
        env,
        ledger,
        logFile,
        databaseUrl: postgres.url('unleash'),
        port: ports.unleash,
        tokens: secrets.unleash,
        compileCache: compiledFolder(place.cache),
      },
      signal,
    ),
    makeTemplate(postgres, secrets),
  ])
  owned.use(unleash)
  await seedToggles(unleash, { switchesOn: true, providerIds: [], connectionIds: [] }, signal)
  const lines = {
    postgres: owned.use(await startTcpProxy(ports.postgres, Math.random, await postgresTls(authority))),
    unleash: owned.use(await startTcpProxy(ports.unleash)),
  }
  return { postgres, unleash, template, lines }
}

/** So that a line sees a COMMIT. */
async function postgresTls(authority: Authority | null): Promise<LineTls | null> {
  if (authority === null) return null
  const ca = readFileSync(authority.caFile, 'utf8')
  return { ...(await authority.issue('postgres')), ca, opening: POSTGRES_OPENING }
}

async function makeTemplate(postgres: Postgres, secrets: StackSecrets): Promise<string> {
  const name = `template_${randomBytes(4).toString('hex')}`
  await runStatement(postgres.url('postgres'), `CREATE DATABASE ${name}`)
  await migrate({ url: new Secret(postgres.url(name)), rolePasswords: { ...secrets.rolePasswords } })
  return name
}
