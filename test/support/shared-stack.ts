// The infrastructure that all test files of a run share, in one of three ways: `local`
// (processes of ours), `docker` (testcontainers) or `external` (addresses in the environment).
// It is always said which one is used.
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { seedToggles } from '#shared/gates/seed-toggles.ts'
import { INFRASTRUCTURE_PORTS, startInfrastructure } from '../../infra/stack/infrastructure.ts'
import { cacheFolder } from '../../infra/stack/java-parts.ts'
import { freePorts } from '../../infra/stack/ports.ts'
import { UserError } from '#shared/process/user-error.ts'
import { ProcessLedger } from '../../infra/stack/processes.ts'
import { newSecrets, newUnleashTokens } from '../../infra/stack/secrets.ts'
import { newRunId, type StartedStack, type TestStack } from './test-stack.ts'

const EXTERNAL = [
  'KAFKA_BROKERS',
  'SCHEMA_REGISTRY_URL',
  'POSTGRES_URL',
  'UNLEASH_URL',
  'UNLEASH_TOKEN',
  'UNLEASH_ADMIN_TOKEN',
] as const

/**
 * Starts (or, when external, names) the infrastructure. Throws a UserError that says what
 * is missing.
 */
export async function startSharedStack(
  folder: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<StartedStack> {
  const infra = await chooseInfra(env)
  say(`test infrastructure: ${infra}`)
  const started = performance.now()
  const result = await startBy(infra, folder, env, signal)
  await seedToggles(result.stack.unleash, { switchesOn: true, providerIds: [], connectionIds: [] }, signal)
  say(`test infrastructure is ready after ${((performance.now() - started) / 1000).toFixed(1)} s`)
  return result
}

/** The choice of CALSTREAM_INFRA; without one, docker if an engine answers, else local. */
export async function chooseInfra(env: NodeJS.ProcessEnv): Promise<TestStack['infra']> {
  const asked = env['CALSTREAM_INFRA']
  if (asked === 'local' || asked === 'docker' || asked === 'external') return asked
  if (asked !== undefined && asked !== '')
    throw new UserError(`CALSTREAM_INFRA is "${asked}"; it may be local, docker or external.`)
  if (!mayHaveDocker(env)) return 'local'
  const { dockerAnswers } = await import('./containers.ts')
  return (await dockerAnswers()) ? 'docker' : 'local'
}

async function startBy(
  infra: TestStack['infra'],
  folder: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<StartedStack> {
  switch (infra) {
    case 'local':
      return startLocal(folder, env, signal)
    case 'docker': {
      const { startContainers } = await import('./containers.ts')
      return startContainers(folder, signal)
    }
    case 'external':
      return external(folder, env)
    default:
      return infra satisfies never
  }
}

async function startLocal(
  folder: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<StartedStack> {
  const secrets = newSecrets()
  const infrastructure = await startInfrastructure(
    {
      folder,
      cache: cacheFolder(env, homedir()),
      env,
      ledger: new ProcessLedger(folder),
      ports: await freePorts(INFRASTRUCTURE_PORTS),
      tokens: secrets.unleash,
      fsync: false,
      progress: say,
      ready: (name, milliseconds) => say(`✓ ${name} ${(milliseconds / 1000).toFixed(1)} s`),
    },
    signal,
  )
  const { postgres, kafka, registry, unleash } = infrastructure
  const stack: TestStack = {
    infra: 'local',
    runId: newRunId(),
    folder,
    brokers: kafka.brokers,
    registryUrl: registry.url,
    postgresUrl: postgres.url('postgres'),
    rolePasswords: secrets.rolePasswords,
    unleash: { url: unleash.url, consoleUrl: unleash.consoleUrl, tokens: unleash.tokens },
  }
  return { stack, [Symbol.asyncDispose]: () => infrastructure[Symbol.asyncDispose]() }
}

function external(folder: string, env: NodeJS.ProcessEnv): StartedStack {
  const missing = EXTERNAL.filter((name) => !env[name])
  if (missing.length > 0)
    throw new UserError(`CALSTREAM_INFRA=external needs ${missing.join(', ')} (POSTGRES_URL as a superuser).`)
  const value = (name: (typeof EXTERNAL)[number]): string => env[name] as string
  const tokens = {
    ...newUnleashTokens(),
    admin: value('UNLEASH_ADMIN_TOKEN'),
    backend: value('UNLEASH_TOKEN'),
  }
  const url = value('UNLEASH_URL')
  const stack: TestStack = {
    infra: 'external',
    runId: newRunId(),
    folder,
    brokers: value('KAFKA_BROKERS'),
    registryUrl: value('SCHEMA_REGISTRY_URL'),
    postgresUrl: value('POSTGRES_URL'),
    rolePasswords: newSecrets().rolePasswords,
    unleash: { url, consoleUrl: url.replace(/\/api\/?$/, ''), tokens },
  }
  return { stack, [Symbol.asyncDispose]: async () => {} }
}

/** Without a socket and a setting there is no engine: saves loading its client. */
function mayHaveDocker(env: NodeJS.ProcessEnv): boolean {
  const sockets = [
    '/var/run/docker.sock',
    path.join(homedir(), '.docker/run/docker.sock'),
    path.join(env['XDG_RUNTIME_DIR'] ?? '/nonexistent', 'docker.sock'),
  ]
  return (
    Boolean(env['DOCKER_HOST']) ||
    existsSync(path.join(homedir(), '.testcontainers.properties')) ||
    sockets.some((socket) => existsSync(socket))
  )
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}
