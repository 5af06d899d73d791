// Where the command finds its settings: the environment, and on a developer's machine the running local stack, which
// writes what its tools need to .calstream/stack.json. A variable that is set always wins.
import { existsSync, readFileSync } from 'node:fs'
import { z } from 'zod'

const STACK_FILE = '.calstream/stack.json'
const stackFile = z.object({ env: z.record(z.string(), z.string()) })

export const SERVICES = ['ingress', 'sync', 'retry', 'relay', 'scheduler'] as const
export type ServiceName = (typeof SERVICES)[number]

/** The environment with the local stack's values behind it, if a stack runs in this folder. */
export function withLocalStack(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  if (env['KAFKA_BROKERS'] || !existsSync(STACK_FILE)) return env
  const parsed = stackFile.safeParse(readStackFile())
  return parsed.success ? { ...parsed.data.env, ...env } : env
}

/** undefined for a file that is no JSON: an error about it would quote the tokens in it. */
function readStackFile(): unknown {
  try {
    return JSON.parse(readFileSync(STACK_FILE, 'utf8'))
  } catch {
    return undefined
  }
}

/**
 * The environment of one service inside `calstream all`: NAME_SYNC beats NAME for sync, and so on, so that each service
 * keeps its own database role and admin port. Without its own ADMIN_PORT_<SERVICE> a service gets a free port.
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

/** A role's database url: POSTGRES_URL_<ROLE> if set, otherwise POSTGRES_URL. */
export function urlOf(role: ServiceName | 'migrate', env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const url = env[`POSTGRES_URL_${role.toUpperCase()}`] ?? env['POSTGRES_URL']
  return url === undefined ? env : { ...env, POSTGRES_URL: url }
}
