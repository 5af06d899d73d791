// Apicurio Registry with its Confluent-compatible API. Schemas live in a file database, so their
// ids are the same after every restart: records on the topics carry them.
import { mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { loginHeaders, NO_REGISTRY_LOGIN, type RegistryAccess } from '#shared/kafka/registry.ts'
import { Child, untilReady } from './child.ts'
import { archiveArguments, classArchive, endRecording, RECORD_WITHIN_MS } from './class-archive.ts'
import { Component } from './component.ts'
import type { JavaParts } from './java-parts.ts'
import type { ProcessLedger } from './processes.ts'

export interface RegistryOptions {
  readonly parts: JavaParts
  readonly folder: string
  readonly logFile: string
  readonly port: number
  readonly env: NodeJS.ProcessEnv
  readonly ledger: ProcessLedger
}

export type Registry = Component & {
  /** Base of the Confluent-compatible API, for SCHEMA_REGISTRY_URL. */ readonly url: string
}

const READY_TIMEOUT_MS = 240_000
const STOP_WITHIN_MS = 3_000

/** Starts the registry; resolves when it lists its subjects. */
export async function startRegistry(options: RegistryOptions, signal: AbortSignal): Promise<Registry> {
  const url = `http://127.0.0.1:${options.port}/apis/ccompat/v7`
  await recordClasses(options, url, signal)
  const component = await Component.start((stop) => launch(options, url, stop), signal)
  return Object.assign(component, { url })
}

/** Once for a Java, by a registry that lives for a moment at the same port, on data of its own. */
async function recordClasses(options: RegistryOptions, url: string, signal: AbortSignal): Promise<void> {
  const folder = path.join(options.folder, 'recording')
  const record = async (recordsTo: string): Promise<void> => {
    try {
      const short = { ...options, folder, stopWithinMs: RECORD_WITHIN_MS, recordsTo }
      await endRecording(await launch(short, url, signal))
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
  await classArchive(options.parts.registryArchive, record, signal)
}

interface Launched extends RegistryOptions {
  readonly stopWithinMs?: number
  /** Where it writes its classes when it ends. */
  readonly recordsTo?: string
}

async function launch(options: Launched, url: string, signal: AbortSignal): Promise<Child> {
  const { java, registryJar, registryArchive } = options.parts
  mkdirSync(options.folder, { recursive: true })
  const child = await Child.start(
    {
      name: 'registry',
      command: java,
      // Hardly used once ids are cached:
      // a quick start matters more than peak speed (1.5 s instead of 3.3 s).
      args: [
        '-Xmx256m',
        '-XX:+UseSerialGC',
        '-XX:TieredStopAtLevel=1',
        ...archiveArguments(registryArchive, options.recordsTo),
        '-jar',
        registryJar,
      ],
      env: { ...options.env, ...settings(options) },
      cwd: path.dirname(registryJar),
      logFile: options.logFile,
      stopWithinMs: options.stopWithinMs ?? STOP_WITHIN_MS,
    },
    options.ledger,
  )
  try {
    const ready = { probe: (stop: AbortSignal) => registryRoundTrip(url, stop), port: options.port }
    await untilReady(child, ready, READY_TIMEOUT_MS, signal)
  } catch (error) {
    await child.kill()
    throw error
  }
  return child
}

/**
 * The only storage of this artifact is H2, in memory by default. As a file it survives restarts;
 * WRITE_DELAY=0 hands each commit to the operating system at once (the default keeps up to 500 ms),
 * so a SIGKILL loses none; without DB_CLOSE_ON_EXIT=FALSE H2's own shutdown hook would close the
 * file under the server's.
 */
function settings({ folder, port }: RegistryOptions): NodeJS.ProcessEnv {
  return {
    REGISTRY_DATASOURCE_URL: `jdbc:h2:file:${path.join(folder, 'registry')};WRITE_DELAY=0;DB_CLOSE_ON_EXIT=FALSE`,
    QUARKUS_HTTP_HOST: '127.0.0.1',
    QUARKUS_HTTP_PORT: String(port),
    QUARKUS_DATASOURCE_JDBC_MIN_SIZE: '1',
    QUARKUS_DATASOURCE_JDBC_INITIAL_SIZE: '1',
    CORS_ALLOWED_ORIGINS: `http://127.0.0.1:${port}`,
  }
}

/** Lists the subjects. */
export async function registryRoundTrip(
  url: string,
  signal: AbortSignal,
  access: RegistryAccess = NO_REGISTRY_LOGIN,
): Promise<void> {
  const response = await fetch(`${url}/subjects`, { headers: loginHeaders(access), signal })
  if (!response.ok) throw new Error(`the registry answered ${response.status}`)
  const subjects: unknown = await response.json()
  if (!Array.isArray(subjects))
    throw new Error('the registry answered with something that is no list of subjects')
}
