// The operators' port of a process: /livez (the process answers), /readyz (its dependencies do too,
// and which version it is) and /metrics. Invariant: an answer comes within CHECK_MAX_MS whatever
// the dependencies do, and no check runs twice at a time.
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { listenProblem } from './listening.ts'
import type { Logger } from './log.ts'
import { atMost } from './loop.ts'
import { metrics } from './metrics.ts'
import type { Telemetry } from './telemetry.ts'
import { VERSION } from './version.ts'

/** null when the dependency works, otherwise what is wrong with it. */
export type Check = () => Promise<string | null>

/** What each check says at this moment: null where it is well. */
export type Readiness = () => Promise<ReadonlyMap<string, string | null>>

interface AdminOptions {
  /** 0 takes a free one. */
  readonly port: number
  /** Loopback unless named: metrics and readiness show the inside. */
  readonly host?: string | undefined
  readonly readiness: Readiness
  readonly telemetry: Pick<Telemetry, 'scrape'>
  readonly logger: Logger
}

const CHECK_MAX_MS = 2_000
const REQUEST_MAX_MS = 5_000

/** Opens the port. Throws UserError when it cannot be opened. */
export async function startAdmin(
  options: AdminOptions,
): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer(
    { requestTimeout: REQUEST_MAX_MS, headersTimeout: REQUEST_MAX_MS },
    (request, response) => {
      const path = URL.parse(request.url ?? '/', 'http://admin')?.pathname
      const answer = request.method === 'GET' || request.method === 'HEAD' ? routes[path ?? ''] : undefined
      if (!answer) return send(response, 404, { error: 'Not found. Here are /livez, /readyz and /metrics.' })
      answer(response).catch((error: unknown) => {
        options.logger.error({ err: error, path }, 'an admin request failed')
        if (!response.headersSent) send(response, 500, { error: 'Internal error; see the log.' })
      })
    },
  )
  const routes: Readonly<Record<string, (response: ServerResponse) => Promise<void>>> = {
    '/livez': async (response) => send(response, 200, { status: 'alive' }),
    '/readyz': async (response) => {
      const results = [...(await options.readiness())]
      const ready = results.every(([, problem]) => problem === null)
      const dependencies = Object.fromEntries(results.map(([name, problem]) => [name, problem ?? 'ok']))
      const status = ready ? 'ready' : 'not ready'
      send(response, ready ? 200 : 503, { status, version: VERSION, dependencies })
    },
    '/metrics': async (response) => {
      const body = await options.telemetry.scrape()
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(body)
    },
  }
  await listen(server, options)
  const { port } = server.address() as AddressInfo
  return { port, [Symbol.asyncDispose]: () => close(server) }
}

/**
 * Runs the checks side by side, each for at most CHECK_MAX_MS. Askers share a running check, and
 * the metric tells what it found.
 */
export function readinessOf(checks: Readonly<Record<string, Check>>): Readiness {
  const all = Object.entries(checks).map(([name, check]) => ({ name, check: shared(check) }))
  return async () => {
    const found = new Map(
      await Promise.all(all.map(async ({ name, check }) => [name, await check()] as const)),
    )
    for (const [dependency, problem] of found)
      metrics.dependencyReady.record(problem === null ? 1 : 0, { dependency })
    return found
  }
}

/** A check that joins the running one, answers within CHECK_MAX_MS and never rejects. */
function shared(check: Check): Check {
  let flight: Promise<string | null> | null = null
  return async () => {
    flight ??= settle(check).finally(() => {
      flight = null
    })
    return atMost(flight, CHECK_MAX_MS, `no answer within ${CHECK_MAX_MS / 1000} s`)
  }
}

async function settle(check: Check): Promise<string | null> {
  try {
    return await check()
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function listen(server: Server, { port, host = '127.0.0.1' }: AdminOptions): Promise<void> {
  const place = { what: 'admin port', host, port, portSetting: 'ADMIN_PORT', hostSetting: 'ADMIN_HOST' }
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(listenProblem(place, error)))
    server.listen(port, host, resolve)
  })
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeAllConnections()
  await closed
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response
    .writeHead(status, { 'content-type': 'application/json; charset=utf-8' })
    .end(`${JSON.stringify(body)}\n`)
}
