// The console's wiring. It reads Postgres and the gates, and stands beside the work: nothing waits
// for it, and it needs no Kafka.
import type { AddressInfo } from 'node:net'
import { openService } from '#shared/boot/open-service.ts'
import type { Toggles } from '#shared/gates/toggles.ts'
import { createBearerCheck } from '#shared/process/bearer.ts'
import type { ConsoleConfig } from './config.ts'
import { createWatch } from './fleet/facts.ts'
import { registerLive } from './fleet/live.ts'
import { registerAssets } from './http/assets.ts'
import { createServer, listen, type ShowTrouble } from './http/server.ts'
import { createSessions } from './http/sessions.ts'
import { personOrNull, registerDoor } from './http/sign-in.ts'
import { createTries } from './http/tries.ts'
import type { Frame } from './layout.ts'
import { linksOf, registerPages } from './pages/all.ts'
import { sendTrouble } from './pages/pages.ts'
import { sendSignIn } from './pages/sign-in.ts'

/** Pages read one or three statements at a time. */
const POOL_MAX = 6
/** While a page is open; and while none is, for the chart. */
const WATCHED_EVERY_MS = 2_000
const ALONE_EVERY_MS = 10_000
/** A reading may take so much of the time of its spacing. */
const SHARE = 0.1
const SPACING_MAX_MS = 15_000

export interface Console extends AsyncDisposable {
  readonly port: number
  readonly adminPort: number
}

interface ConsoleOverrides {
  readonly gates?: { standing(): Toggles | null }
}

/** Starts the console; returns when it takes requests. Throws UserError or Failure. */
export async function startConsole(
  config: ConsoleConfig,
  signal: AbortSignal,
  overrides: ConsoleOverrides = {},
): Promise<Console> {
  await using service = openService('console', config, signal)
  const { logger } = service
  const gates = overrides.gates ?? (await service.liveGates())
  const db = await service.database(POOL_MAX)
  const watch = createWatch({ db, gates })
  let frame: Omit<Frame, 'person'> | null = null
  const show: ShowTrouble = (request, reply, trouble) => {
    if (frame === null) throw new Error('A request came before the console was wired.')
    return sendTrouble({ ...frame, person: personOrNull(request) }, request, reply, trouble)
  }
  const app = await createServer(logger, show)
  const assets = registerAssets(app)
  const links = await linksOf()
  frame = { assets, links }
  registerDoor(app, {
    bearer: createBearerCheck(config),
    sessions: createSessions(),
    tries: createTries(),
    show,
    ownOrigin: config.CONSOLE_URL === undefined ? null : new URL(config.CONSOLE_URL).origin,
    form: (reply, asked) => sendSignIn({ assets, links, person: null }, reply, asked),
  })
  registerPages(
    app,
    { db, gates, watch, assets, links },
    {
      url: config.CONSOLE_UNLEASH_URL ?? config.UNLEASH_URL.replace(/\/api$/, ''),
      token: config.CONSOLE_UNLEASH_TOKEN ?? null,
      project: config.UNLEASH_PROJECT,
      environment: config.UNLEASH_ENVIRONMENT,
    },
  )
  const live = service.use(registerLive(app, watch))
  service.defer(() => app.close())
  service.loop("the console's watch", async () => {
    const tookMs = await watch.refresh()
    await live.tell()
    return Math.max(
      live.size > 0 ? WATCHED_EVERY_MS : ALONE_EVERY_MS,
      Math.min(tookMs / SHARE, SPACING_MAX_MS),
    )
  })
  // Not Postgres and not the gates: the console is there to say that they are away.
  const adminPort = await service.admin({
    tables: service.checks.tables,
  })
  await listen(app, { host: config.CONSOLE_HOST, port: config.CONSOLE_PORT })
  const { port } = app.server.address() as AddressInfo
  logger.info({ port, adminPort }, 'the console takes requests')
  return service.running({ port, adminPort })
}
