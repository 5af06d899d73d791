// The HTTP server of the console: limits, headers, and one form for every refusal. Invariants: a
// page runs no script and shows no style but our own files; nothing of an answer is kept by a
// browser; a refusal tells no stack, SQL or path.
import type { IncomingMessage } from 'node:http'
import cookie from '@fastify/cookie'
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify'
import { Failure } from '#shared/domain/failure.ts'
import { listenProblem } from '#shared/process/listening.ts'
import type { Logger } from '#shared/process/log.ts'

/** A form has a few fields, a token at most 8 kB. */
const BODY_BYTES_MAX = 16_384
const HEADER_BYTES_MAX = 16_384
const REQUEST_TIMEOUT_MS = 5_000
/** A live page hears something every few seconds; a socket that is silent for longer is gone. */
const SILENT_SOCKET_MS = 30_000
const SOCKETS_MAX = 500

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Of every answer. A form's Origin would be "null" under no-referrer. */
const HEADERS = {
  'content-security-policy': POLICY,
  'referrer-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'x-frame-options': 'DENY',
} as const

/** A refusal in words: what it is, and what to do. */
export interface Trouble {
  readonly status: 400 | 401 | 403 | 404 | 405 | 413 | 429 | 503
  readonly title: string
  readonly detail: string
}

/** Thrown by what reads a page: answered as it says. */
export class PageTrouble extends Error {
  readonly trouble: Trouble

  constructor(trouble: Trouble, options?: ErrorOptions) {
    super(trouble.title, options)
    this.trouble = trouble
  }
}

/** How a refusal is shown where HTML is taken. */
export type ShowTrouble = (request: FastifyRequest, reply: FastifyReply, trouble: Trouble) => FastifyReply

/** A server without routes that does not listen yet. */
export async function createServer(logger: Logger, show: ShowTrouble): Promise<FastifyInstance> {
  const app = Fastify({
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: SILENT_SOCKET_MS,
    http: { maxHeaderSize: HEADER_BYTES_MAX, headersTimeout: REQUEST_TIMEOUT_MS },
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    rewriteUrl: (request) => withoutJson(request),
  })
  app.server.maxConnections = SOCKETS_MAX
  await app.register(cookie)
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string' },
    (_request, body, done) => done(null, Object.fromEntries(new URLSearchParams(String(body)))),
  )
  app.addHook('onSend', async (_request, reply) => {
    void reply.headers(HEADERS)
    if (!reply.hasHeader('cache-control')) void reply.header('cache-control', 'no-store')
  })
  app.setNotFoundHandler((request, reply) => show(request, reply, NOT_FOUND))
  app.setErrorHandler((error: FastifyError, request, reply) => show(request, reply, troubleOf(error, logger)))
  return app
}

/** `/fleet.json` is `/fleet` for those who want JSON. */
function withoutJson(request: Pick<IncomingMessage, 'url' | 'headers'>): string {
  const url = request.url ?? '/'
  const [, path, query = ''] = /^([^?]*)\.json(\?.*)?$/.exec(url) ?? []
  if (path === undefined) return url
  request.headers['accept'] = 'application/json'
  return path + query
}

/** Whether the caller wants the data and not the page. */
export function wantsJson({ headers: { accept = '' } }: FastifyRequest): boolean {
  return accept.includes('application/json') && !accept.includes('text/html')
}

export const NOT_FOUND: Trouble = {
  status: 404,
  title: 'There is no such page',
  detail: 'The address may be mistyped, or what it named is gone.',
}

/** What a person is told of an error that no route handled; the log has the rest. */
function troubleOf(error: FastifyError, logger: Logger): Trouble {
  if (error instanceof PageTrouble) return error.trouble
  const status = error.statusCode ?? 500
  if (status === 413)
    return { status, title: 'The form is too large', detail: 'It has more bytes than the console takes.' }
  if (status >= 400 && status < 500)
    return { status: 400, title: 'The request cannot be read', detail: 'Go back and try it once more.' }
  if (error instanceof Failure && error.code.startsWith('store/')) {
    logger.warn({ err: error }, 'a page could not be read from Postgres')
    return {
      status: 503,
      title: 'The database does not answer',
      detail: `${error.message} Nothing is known of the connections until it does. On the machine of the installation, calstream doctor says what is away.`,
    }
  }
  logger.error({ err: error }, 'a page failed')
  return {
    status: 503,
    title: 'The console failed here',
    detail: 'This is a defect of the console. Its log has the reason; everything else runs on.',
  }
}

/** Opens the port. Throws UserError when it cannot be opened. */
export async function listen(
  app: FastifyInstance,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<void> {
  try {
    await app.listen({ port, host })
  } catch (error) {
    const settings = { portSetting: 'CONSOLE_PORT', hostSetting: 'CONSOLE_HOST' }
    throw listenProblem({ what: "console's port", host, port, ...settings }, error)
  }
}
