// Where the command finds its settings: in the environment, or from the local stack that runs in
// this folder, which writes what its tools need to .calstream/stack.json. Invariant: the two are
// never mixed: an environment that names one place of an installation (its database, broker,
// registry or flag server) means that installation, whatever runs in this folder.
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { livingHolder } from '#shared/process/identity.ts'
import { UserError } from '#shared/process/user-error.ts'

const FOLDER = '.calstream'
const STACK_FILE = 'stack.json'
const LOCK_FILE = 'lock.json'
const stackFile = z.object({ env: z.record(z.string(), z.string()) })

/** Naming one of these, or one of their _FILE or per-service forms, names an installation. */
const PLACES = /^(?:KAFKA_BROKERS|POSTGRES_URL|SCHEMA_REGISTRY_URL|UNLEASH_URL)(?:_[A-Z]+)*$/

const NO_STACK =
  'No stack runs in this folder. Start it: npm start. (Or set POSTGRES_URL … for an installation elsewhere; .env.example lists the settings.)'

/** Those that do the work. An installation may do without the console, which looks at it. */
export const WORKING_SERVICES = ['ingress', 'sync', 'retry', 'relay', 'scheduler'] as const
export const SERVICES = [...WORKING_SERVICES, 'console'] as const
export type ServiceName = (typeof SERVICES)[number]

/**
 * The settings of the installation that the environment names, or of the stack in this folder with
 * what else is set before its values. Throws UserError when there is neither, saying which: not
 * started, still starting, ended without a word, unreadable.
 */
export async function installation(env: NodeJS.ProcessEnv, folder = FOLDER): Promise<NodeJS.ProcessEnv> {
  if (namesPlace(env)) return env
  const stack = readStackFile(path.join(folder, STACK_FILE))
  const holder = livingHolder(path.join(folder, LOCK_FILE))
  if (stack !== null && holder !== null) return { ...stack, ...env }
  // A secret alone makes a token; a command that needs more says what it lacks.
  if (isSet(env['API_JWT_SECRET']) || isSet(env['API_JWT_SECRET_FILE'])) return env
  if (holder !== null)
    throw new UserError(
      'The stack in this folder is starting or stopping. Wait for "Ready", or start it again once it has stopped: npm start.',
    )
  throw new UserError(
    stack === null
      ? NO_STACK
      : `The stack of this folder has ended without a word (${path.join(folder, STACK_FILE)} is of a run whose process is gone). Start it again: npm start.`,
  )
}

/**
 * The same for a service: without an installation it gets the environment as it is,
 * and says by name what it lacks.
 */
export async function serviceSettings(env: NodeJS.ProcessEnv): Promise<NodeJS.ProcessEnv> {
  if (namesPlace(env) || !existsSync(path.join(FOLDER, STACK_FILE))) return env
  return installation(env)
}

function namesPlace(env: NodeJS.ProcessEnv): boolean {
  return Object.entries(env).some(([name, value]) => isSet(value) && PLACES.test(name))
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== ''
}

/** null without the file. Throws UserError when it cannot be read. */
function readStackFile(file: string): Record<string, string> | null {
  if (!existsSync(file)) return null
  const broken = `${file} cannot be read. Stop the stack and start it again: npm start writes the file anew.`
  try {
    const parsed = stackFile.safeParse(JSON.parse(readFileSync(file, 'utf8')))
    if (!parsed.success) throw new UserError(broken)
    return parsed.data.env
  } catch (error) {
    // Stopped at this moment.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw new UserError(broken)
  }
}

/**
 * The environment of one service inside `calstream all`: NAME_SYNC beats NAME for sync, and so on,
 * so that each service keeps its own database role and admin port. Without its own
 * ADMIN_PORT_<SERVICE> a service gets a free port.
 */
export function envOf(service: ServiceName, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const suffix = `_${service.toUpperCase()}`
  const own = Object.entries(env).filter(([name]) => name.endsWith(suffix))
  return {
    ...env,
    ADMIN_PORT: '0',
    ...Object.fromEntries(own.map(([name, value]) => [name.slice(0, -suffix.length), value])),
  }
}

/**
 * A role's database url and password: POSTGRES_URL_<ROLE> or POSTGRES_URL_<ROLE>_FILE if set,
 * otherwise POSTGRES_URL or POSTGRES_URL_FILE; and likewise POSTGRES_PASSWORD.
 */
export function urlOf(role: ServiceName | 'migrate', env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own = ['POSTGRES_URL', 'POSTGRES_PASSWORD'].map((name) => {
    const suffix = role.toUpperCase()
    const value = env[`${name}_${suffix}`]
    const file = env[`${name}_${suffix}_FILE`] ?? env[`${name}_FILE_${suffix}`]
    return value === undefined && file === undefined ? {} : { [name]: value, [`${name}_FILE`]: file }
  })
  return Object.assign({ ...env }, ...own) as NodeJS.ProcessEnv
}
