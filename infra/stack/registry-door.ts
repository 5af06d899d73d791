// The guarded way to the schema registry: TLS and a login in front of it, as a process of its own.
// Apicurio 2.6 knows a login only with an identity provider beside it; companies put a proxy in
// front, and so does the secured stack. The registry behind it still answers on this machine
// without a login: the door shows what clients must be able to do, it does not lock this machine.
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import type { RegistryAccess } from '#shared/kafka/registry.ts'
import { Secret } from '#shared/process/secret.ts'
import { type Authority, trustAuthority } from './authority.ts'
import { Child, untilReady } from './child.ts'
import { Component } from './component.ts'
import { type ProcessLedger, writeWhole } from './processes.ts'
import { registryRoundTrip } from './registry.ts'

export interface RegistryDoorOptions {
  /** Holds certificate and password; made when absent. */
  readonly folder: string
  readonly logFile: string
  readonly port: number
  /** Of the registry behind it, `http://host:port/path`. */
  readonly registryUrl: string
  readonly authority: Authority
  readonly password: string
  readonly env: NodeJS.ProcessEnv
  readonly ledger: ProcessLedger
}

export const DOOR_USER = 'calstream'

export type RegistryDoor = Component & {
  /** For SCHEMA_REGISTRY_URL; without the login. */
  readonly url: string
  /** The password that counts, for SCHEMA_REGISTRY_PASSWORD_FILE; read again at each request. */
  readonly passwordFile: string
  /** Shows a new certificate to who connects from now on. */
  renewCertificate(issuer?: Authority): Promise<void>
}

const READY_TIMEOUT_MS = 60_000
const STOP_WITHIN_MS = 3_000

/** Starts the door; resolves when it lets the login through to the registry. */
export async function startRegistryDoor(
  options: RegistryDoorOptions,
  signal: AbortSignal,
): Promise<RegistryDoor> {
  mkdirSync(options.folder, { recursive: true, mode: 0o700 })
  const { pathname } = new URL(options.registryUrl)
  const url = `https://127.0.0.1:${options.port}${pathname}`
  const passwordFile = path.join(options.folder, 'password')
  writeWhole(passwordFile, `${options.password}\n`)
  const component = await Component.start((stop) => launch(options, { url, passwordFile }, stop), signal)
  return Object.assign(component, {
    url,
    passwordFile,
    async renewCertificate(issuer = options.authority) {
      await writeIdentity(options.folder, issuer)
      process.kill(component.pid, 'SIGHUP')
    },
  })
}

interface Door {
  readonly url: string
  readonly passwordFile: string
}

async function launch(options: RegistryDoorOptions, door: Door, signal: AbortSignal): Promise<Child> {
  const files = await writeIdentity(options.folder, options.authority)
  const child = await Child.start(
    {
      name: 'registry-door',
      command: process.execPath,
      args: [path.join(import.meta.dirname, 'registry-door-main.ts')],
      env: {
        ...options.env,
        DOOR_PORT: String(options.port),
        DOOR_UPSTREAM: new URL(options.registryUrl).origin,
        DOOR_USER,
        DOOR_PASSWORD_FILE: door.passwordFile,
        DOOR_CERTIFICATE_FILE: files.certificate,
        DOOR_KEY_FILE: files.key,
      },
      cwd: options.folder,
      logFile: options.logFile,
      stopWithinMs: STOP_WITHIN_MS,
    },
    options.ledger,
  )
  trustAuthority(options.authority.caFile)
  const access = doorAccess(options.password)
  try {
    const probe = (stop: AbortSignal) => registryRoundTrip(door.url, stop, access)
    await untilReady(child, { probe, port: options.port }, READY_TIMEOUT_MS, signal)
  } catch (error) {
    await child.kill()
    throw error
  }
  return child
}

/** What a request to the door needs, made by a process that trusts its authority. */
export function doorAccess(password: string, username = DOOR_USER): RegistryAccess {
  return { login: { kind: 'basic', username, password: new Secret(password) }, ca: null }
}

async function writeIdentity(folder: string, issuer: Authority) {
  const identity = await issuer.issue('registry')
  const files = { certificate: path.join(folder, 'server.crt'), key: path.join(folder, 'server.key') }
  writeWhole(files.certificate, identity.certificate)
  writeWhole(files.key, identity.key)
  return files
}
