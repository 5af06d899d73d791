// The secrets of a local stack: random, made once, kept beside its data and readable by its owner
// only. Nothing here is worth protecting from the person who runs it, but defaults that everybody
// knows would teach the wrong habit.
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { newConsolePassword } from '#shared/gates/unleash-console.ts'
import { SUPER_USER } from './kafka-cluster.ts'
import { writeWhole } from './processes.ts'
import { KAFKA_PRINCIPALS, type KafkaPrincipal } from './secured.ts'
import type { UnleashTokens } from './unleash.ts'

export const DATABASE_ROLES = [
  'calstream_ingress',
  'calstream_sync',
  'calstream_retry',
  'calstream_relay',
  'calstream_scheduler',
  'calstream_console',
] as const
export type DatabaseRole = (typeof DATABASE_ROLES)[number]

export interface StackSecrets {
  readonly unleash: UnleashTokens
  readonly rolePasswords: Readonly<Record<DatabaseRole, string>>
  /** `kid:base64`, 32 bytes, for CREDENTIALS_KEYS. */
  readonly credentialsKeys: string
  /** The same form, for CHANNEL_TOKEN_KEYS. */
  readonly channelTokenKeys: string
  readonly jwtSecret: string
  readonly googleClientSecret: string
  readonly microsoftClientSecret: string
  /** Of a secured stack. */
  readonly kafkaPasswords: Readonly<Record<KafkaPrincipal, string>>
  /** Of the same: of the door before the registry. */
  readonly registryPassword: string
}

const FILE = 'secrets.json'
const ROLE_PASSWORDS_FILE = 'role-passwords.json'

/**
 * The stack's secrets, made at the first call;
 * a folder of an older version gets those that it lacks.
 */
export function keptSecrets(folder: string): StackSecrets {
  const file = path.join(folder, FILE)
  const kept = readKept(file)
  const fresh = newSecrets()
  const rolePasswords = { ...fresh.rolePasswords, ...kept.rolePasswords }
  const secrets = { ...fresh, ...kept, rolePasswords, unleash: unleashTokens(kept.unleash, fresh.unleash) }
  const text = JSON.stringify(secrets, null, 2)
  if (text !== JSON.stringify(kept, null, 2)) writeWhole(file, text)
  return secrets
}

/**
 * The console refuses a password of hexadecimal digits,
 * and those that older versions made never became one.
 */
function unleashTokens(kept: UnleashTokens | undefined, fresh: UnleashTokens): UnleashTokens {
  if (kept === undefined) return fresh
  const isOld = /^[0-9a-f]*$/.test(kept.adminPassword)
  return { ...fresh, ...kept, ...(isOld ? { adminPassword: fresh.adminPassword } : {}) }
}

function readKept(file: string): Partial<StackSecrets> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as StackSecrets
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return {}
  }
}

/**
 * Writes the role passwords as `calstream migrate` reads them
 * (CALSTREAM_ROLE_PASSWORDS_FILE); returns the file.
 */
export function writeRolePasswords(folder: string, secrets: StackSecrets): string {
  const file = path.join(folder, ROLE_PASSWORDS_FILE)
  writeWhole(file, JSON.stringify(secrets.rolePasswords))
  return file
}

export function newSecrets(): StackSecrets {
  return {
    unleash: newUnleashTokens(),
    rolePasswords: Object.fromEntries(DATABASE_ROLES.map((role) => [role, secret()])) as Record<
      DatabaseRole,
      string
    >,
    credentialsKeys: `local1:${randomBytes(32).toString('base64')}`,
    channelTokenKeys: `local1:${randomBytes(32).toString('base64')}`,
    jwtSecret: secret(),
    googleClientSecret: secret(),
    microsoftClientSecret: secret(),
    kafkaPasswords: Object.fromEntries(
      [SUPER_USER, ...KAFKA_PRINCIPALS].map((name) => [name, secret()]),
    ) as Record<KafkaPrincipal, string>,
    registryPassword: secret(),
  }
}

/** Token formats are Unleash's: `<projects>:<environment>.<secret>`. */
export function newUnleashTokens(): UnleashTokens {
  return {
    admin: `*:*.${secret()}`,
    backend: `default:development.${secret()}`,
    adminPassword: newConsolePassword(),
    sessionSecret: secret(),
    databasePassword: secret(),
  }
}

function secret(): string {
  return randomBytes(32).toString('hex')
}
