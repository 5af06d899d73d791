// Secured parts that belong to one test file: three brokers, a database server with TLS, a registry
// behind its door. They run on this machine, whatever the rest of the infrastructure runs in.
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { inject } from 'vitest'
import { type Authority, keptAuthority } from '../../infra/stack/authority.ts'
import { childEnv, logFileOf } from '../../infra/stack/infrastructure.ts'
import { cacheFolder, fetchJavaParts } from '../../infra/stack/java-parts.ts'
import { type KafkaCluster, startKafkaCluster, SUPER_USER } from '../../infra/stack/kafka-cluster.ts'
import type { KafkaLogin } from '../../infra/stack/kafka-operator.ts'
import { freePorts } from '../../infra/stack/ports.ts'
import { type Postgres, startPostgres } from '../../infra/stack/postgres.ts'
import { ProcessLedger } from '../../infra/stack/processes.ts'
import { clusterPorts, SECURE_PORTS } from '../../infra/stack/secured.ts'
import { type RegistryDoor, startRegistryDoor } from '../../infra/stack/registry-door.ts'

const START_TIMEOUT_MS = 200_000
/** Long: no test waits for it unless it says so. */
const AUTHENTICATE_AGAIN_MS = 600_000

export interface OwnPlace {
  readonly folder: string
  readonly authority: Authority
}

/** A folder inside the run's, with an authority of its own. */
export async function ownPlace(): Promise<OwnPlace> {
  const folder = path.join(inject('stack').folder, `own-${randomBytes(4).toString('hex')}`)
  mkdirSync(folder, { recursive: true })
  return { folder, authority: await keptAuthority(path.join(folder, 'authority')) }
}

/** @param logins besides the operator's, whose password is random. */
export async function startOwnCluster(
  { folder, authority }: OwnPlace,
  logins: readonly KafkaLogin[],
  authenticateAgainMs = AUTHENTICATE_AGAIN_MS,
): Promise<KafkaCluster> {
  const ports = clusterPorts(await freePorts(SECURE_PORTS))
  const cache = cacheFolder(process.env, homedir())
  const parts = await fetchJavaParts({ cache, env: process.env, progress: () => {} }, startSignal())
  const operator = { name: SUPER_USER, password: randomBytes(16).toString('hex') }
  const own = { ...common(folder), logFile: (name: string) => logFileOf({ folder }, name) }
  return startKafkaCluster(
    {
      ...own,
      folder,
      parts,
      ports,
      authority,
      authenticateAgainMs,
      logins: [operator, ...logins],
    },
    startSignal(),
  )
}

export async function startTlsPostgres({ folder, authority }: OwnPlace): Promise<Postgres> {
  const { port } = await freePorts(['port'])
  const place = { folder: path.join(folder, 'postgres'), logFile: logFileOf({ folder }, 'postgres') }
  return startPostgres(
    { ...common(folder), ...place, port, databases: ['calstream'], fsync: false, authority },
    startSignal(),
  )
}

/** In front of the registry that all files share. */
export async function startOwnDoor(
  { folder, authority }: OwnPlace,
  registryUrl: string,
  password: string,
): Promise<RegistryDoor> {
  const { port } = await freePorts(['port'])
  const place = {
    folder: path.join(folder, 'registry-door'),
    logFile: logFileOf({ folder }, 'registry-door'),
  }
  return startRegistryDoor(
    { ...common(folder), ...place, port, registryUrl, password, authority },
    startSignal(),
  )
}

function common(folder: string) {
  return { env: childEnv(process.env), ledger: new ProcessLedger(folder) }
}

function startSignal(): AbortSignal {
  return AbortSignal.timeout(START_TIMEOUT_MS)
}
