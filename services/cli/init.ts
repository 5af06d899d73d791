// `calstream init`: what `docker compose up` needs before its first start. Every secret is made
// here and is a file of its own in .secrets, where containers get it from; .env has the rest.
// Invariant: nothing that is there is written over, since a secret that the databases know would be
// lost.
import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { newConsolePassword } from '#shared/gates/unleash-console.ts'
import { addressProblem, withoutEndSlashes } from '#shared/process/address.ts'
import { UserError } from '#shared/process/user-error.ts'
import { DEFAULT_ROLE_PREFIX, rolePrefixEnv } from '#shared/store/settings.ts'
import type { Output } from './output.ts'

export interface InitOptions {
  /** Where docker-compose.yml lies. */
  readonly folder: string
  /** For the play vendors of the profile `play`. */
  readonly play?: boolean
  /** Where vendors and browsers reach the ingress. */
  readonly publicUrl?: string
  /** What the names of the database roles begin with, where the server has another install too. */
  readonly rolePrefix?: string
}

const SETTINGS = '.env'
const SECRETS = '.secrets'
const ROLES = ['ingress', 'sync', 'retry', 'relay', 'scheduler', 'console'] as const
const PLAY_URL = 'http://127.0.0.1:8080'

/**
 * Writes .env (for its owner alone) and .secrets, and says what comes next. Throws UserError where
 * either is there already or cannot be written, for an address that no vendor would call, and for a
 * prefix that is none of a role.
 */
export function init(options: InitOptions, output: Pick<Output, 'report'>): void {
  const { folder, play = false } = options
  const publicUrl = publicUrlOf(options)
  const rolePrefix = rolePrefixOf(options)
  const [settings, secrets] = [path.join(folder, SETTINGS), path.join(folder, SECRETS)]
  const there = [settings, secrets].filter((name) => existsSync(name))
  if (there.length > 0)
    throw new UserError(
      `${there.join(' and ')}: already there, so nothing was written. An installation keeps its secrets; to begin afresh, delete its data (docker compose down --volumes), then ${settings} and ${secrets}.`,
    )
  try {
    writeSecrets(secrets, newSecretFiles(play, rolePrefix))
    const text = (play ? playSettings() : ownSettings(publicUrl)) + prefixSettings(rolePrefix)
    writeFileSync(settings, text, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new UserError(
      `${settings} and ${secrets} could not be written (${reason}). Name a folder that is there and may be written, delete what was made of them, and repeat.`,
    )
  }
  const steps = nextSteps(play, publicUrl)
  output.report(() => steps, { settings, secrets, next_steps: steps })
}

function publicUrlOf({ play, publicUrl = '' }: InitOptions): string {
  if (publicUrl === '') return ''
  if (play) throw new UserError(`--public-url does not go with --play, whose address is ${PLAY_URL}.`)
  const url = withoutEndSlashes(publicUrl)
  const problem = addressProblem(url, new Set())
  if (problem !== null) throw new UserError(`--public-url cannot be used: ${problem}.`)
  return url
}

function rolePrefixOf({ rolePrefix = DEFAULT_ROLE_PREFIX }: InitOptions): string {
  const parsed = rolePrefixEnv.POSTGRES_ROLE_PREFIX.safeParse(rolePrefix)
  if (parsed.success) return parsed.data
  throw new UserError(
    `--role-prefix cannot be used: ${parsed.error.issues.map(({ message }) => message).join(', ')}.`,
  )
}

/**
 * The folder is its owner's alone. The files in it may be read by all: a container reads them under
 * a user of its own, and file secrets keep the mode that they have here.
 */
function writeSecrets(folder: string, files: Readonly<Record<string, string>>): void {
  mkdirSync(folder, { mode: 0o700 })
  for (const [name, value] of Object.entries(files)) {
    const file = path.join(folder, name)
    writeFileSync(file, value, { flag: 'wx' })
    chmodSync(file, 0o644)
  }
}

/** By the names that docker-compose.yml has for them. */
function newSecretFiles(play: boolean, rolePrefix: string): Readonly<Record<string, string>> {
  const owner = newPassword()
  const roles = ROLES.map((role) => [role, newPassword()] as const)
  const [registry, unleash] = [newPassword(), newPassword()]
  const roleUrls = roles.map(([role, password]) => [
    `postgres_url_${role}`,
    `postgres://${rolePrefix}${role}:${password}@postgres/calstream`,
  ])
  return {
    postgres_password: owner,
    postgres_url_owner: `postgres://postgres:${owner}@postgres/calstream`,
    ...(Object.fromEntries(roleUrls) as Record<string, string>),
    role_passwords: JSON.stringify(
      Object.fromEntries(roles.map(([role, password]) => [`${rolePrefix}${role}`, password])),
    ),
    registry_db_password: registry,
    'registry.properties': `REGISTRY_DATASOURCE_PASSWORD=${registry}\n`,
    unleash_db_password: unleash,
    unleash_database_url: `postgres://unleash:${unleash}@postgres/unleash`,
    // Forms that the flag server asks for.
    unleash_admin_token: `*:*.${newPassword()}`,
    unleash_backend_token: `default:development.${newPassword()}`,
    unleash_admin_password: newConsolePassword(),
    unleash_session_secret: newPassword(),
    credentials_keys: newKey(),
    channel_token_keys: newKey(),
    api_jwt_secret: newPassword(),
    google_client_secret: play ? newPassword() : '',
    microsoft_client_secret: play ? newPassword() : '',
  }
}

/** Of letters and digits alone, since some go into URLs. */
function newPassword(): string {
  return randomBytes(32).toString('hex')
}

function newKey(): string {
  return `k1:${randomBytes(32).toString('base64')}`
}

function ownSettings(publicUrl: string): string {
  return `# Settings of docker-compose.yml, made by \`calstream init\`; .env.example has all of them.
# The secrets are files of ${SECRETS}.

# The https address under which vendors and people's browsers reach the ingress.
PUBLIC_URL=${publicUrl}

# The OAuth client of each vendor; its secret goes into ${SECRETS}/google_client_secret and
# ${SECRETS}/microsoft_client_secret. A vendor without a client id is left out.
GOOGLE_CLIENT_ID=
MICROSOFT_CLIENT_ID=

# Where a browser may be sent after it connected an account.
#OAUTH_RETURN_ORIGINS=https://app.example.com
`
}

function playSettings(): string {
  return `# Settings of docker-compose.yml for the play vendors, made by \`calstream init --play\`.
# The secrets are files of ${SECRETS}.
COMPOSE_PROFILES=play
PUBLIC_URL=${PLAY_URL}
OAUTH_RETURN_ORIGINS=http://127.0.0.1:*,http://localhost:*

# Containers reach the play vendors by their name, browsers at 127.0.0.1.
ALLOW_HTTP_TO=registry,unleash,simulator
GOOGLE_CLIENT_ID=calstream-play
GOOGLE_API_URL=http://simulator:4101
GOOGLE_AUTH_URL=http://127.0.0.1:4101/o/oauth2/v2/auth
GOOGLE_TOKEN_URL=http://simulator:4101/token
GOOGLE_REVOKE_URL=http://simulator:4101/revoke
MICROSOFT_CLIENT_ID=calstream-play
MICROSOFT_API_URL=http://simulator:4102
MICROSOFT_LOGIN_URL=http://simulator:4102
MICROSOFT_AUTH_URL=http://127.0.0.1:4102
`
}

function prefixSettings(rolePrefix: string): string {
  if (rolePrefix === DEFAULT_ROLE_PREFIX) return ''
  return `
# The roles of this install, beside those of others on the same database server.
POSTGRES_ROLE_PREFIX=${rolePrefix}
`
}

function nextSteps(play: boolean, publicUrl: string): readonly string[] {
  const start = 'docker compose up --build --wait'
  const made = `Made ${SETTINGS} and ${SECRETS}. Keep both out of backups that others read.`
  if (play) return [made, `Next: ${start}`, 'Then: docker compose run --rm cli allow --everybody']
  const fill = [
    ...(publicUrl === '' ? [`PUBLIC_URL in ${SETTINGS}`] : []),
    `a client id in ${SETTINGS} and its secret in ${SECRETS}/google_client_secret or ${SECRETS}/microsoft_client_secret`,
  ]
  return [
    made,
    `Fill in: ${fill.join(', ')}.`,
    `Next: ${start}`,
    'Then: docker compose run --rm cli allow --provider <id>',
  ]
}
