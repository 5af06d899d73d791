// The console in this process, on a database of a file's own, with gates that are literals; and
// accounts that are put there by SQL, in every state.
import { randomBytes } from 'node:crypto'
import { GATES, type GateName } from '#shared/domain/gates.ts'
import type { Toggle } from '#shared/gates/gate-rules.ts'
import type { Toggles } from '#shared/gates/toggles.ts'
import { loadConfig } from '../../services/console/config.ts'
import { startConsole, type Console } from '../../services/console/service.ts'
import { signedBearer } from './literal-ingress.ts'
import { freshDatabase, testStack, type TestDatabase } from './stack.ts'
import { look } from './world.ts'

const SECRET = randomBytes(32).toString('base64url')

export interface ConsoleWorld extends AsyncDisposable {
  readonly url: string
  readonly database: TestDatabase
  /** What the flag server says; null: it does not answer. */
  standing: Toggles | null
  /** Rows of the tables, as superuser. */
  look<R extends object>(sql: string, values?: readonly unknown[]): Promise<R[]>
}

/** All gates open, for everybody. */
export function openGates(): Toggles {
  const toggle = (name: GateName): Toggle => ({ name, enabled: true, strategies: [{ name: 'default' }] })
  return { all: new Map(GATES.map((name) => [name, toggle(name)])), caps: {} }
}

/** A token for the console; good for an hour. */
export async function consoleToken(scope = 'operator', name = 'ada'): Promise<string> {
  const exp = Math.floor(Date.now() / 1000) + 3600
  return (await signedBearer({ scope, sub: name, exp }, SECRET)).replace('Bearer ', '')
}

/** Starts a console; `env` changes its settings. */
export async function startTestConsole(
  databaseUrl: string,
  gates: { standing(): Toggles | null },
  env: Readonly<Record<string, string>> = {},
): Promise<Console & { readonly url: string }> {
  const stack = testStack()
  const config = loadConfig({
    POSTGRES_URL: databaseUrl,
    UNLEASH_URL: stack.unleash.url,
    UNLEASH_TOKEN: stack.unleash.tokens.backend,
    CONSOLE_UNLEASH_TOKEN: stack.unleash.tokens.admin,
    API_JWT_SECRET: SECRET,
    ADMIN_PORT: '0',
    CONSOLE_PORT: '0',
    LOG_LEVEL: 'silent',
    ...env,
  })
  const running = await startConsole(config, AbortSignal.timeout(60_000), { gates })
  return Object.assign(running, { url: `http://127.0.0.1:${running.port}` })
}

export async function openConsoleWorld(label: string): Promise<ConsoleWorld> {
  const owned = new AsyncDisposableStack()
  const database = owned.use(await freshDatabase(label))
  const world: { standing: Toggles | null } = { standing: openGates() }
  const gates = { standing: () => world.standing }
  const running = owned.use(await startTestConsole(database.url('calstream_console'), gates))
  return Object.assign(world, {
    url: running.url,
    database,
    look: <R extends object>(sql: string, values: readonly unknown[] = []) =>
      look<R>(database.url(), sql, values),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  })
}
