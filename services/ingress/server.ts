// The HTTP server: limits, and one form for every refusal. Invariants: nothing a caller sends makes
// it hold more than 8 kB of header and 64 kB of body (a batch of notifications: 1 MB) or wait
// longer than REQUEST_TIMEOUT_MS for them, and what all of them send together is bounded by
// sockets/; trouble of ours is always 503 + Retry-After, which is what vendors repeat, never a 4xx
// and never a 500; a refusal tells no stack, SQL or path.
import { STATUS_CODES, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify'
import { entryOf } from '#shared/domain/causes.ts'
import { Failure } from '#shared/domain/failure.ts'
import { withoutEndSlashes } from '#shared/process/address.ts'
import { listenProblem } from '#shared/process/listening.ts'
import type { Logger } from '#shared/process/log.ts'
import { currentTraceId } from '#shared/process/telemetry.ts'
import { REQUEST_ID, requestIdOf } from './request-id.ts'
import { GuardedResponse, guardEntrance, type EntranceOptions } from './sockets/entrance.ts'
import { GuardedSocket } from './sockets/guarded-socket.ts'
import { boundForwarded } from './sockets/proxied.ts'
import { BodyRefused, readBodies } from './sockets/read-body.ts'
import { createTurnedAway } from './sockets/turned-away.ts'

/**
 * An RFC 9457 problem document; `error` is the sentence that apps compare,
 * `detail` tells a person what to do.
 */
export interface ProblemDetails {
  readonly status: 400 | 401 | 403 | 404 | 405 | 408 | 409 | 413 | 431 | 503
  readonly error: string
  readonly detail: string
  readonly headers?: Readonly<Record<string, string>>
}

/** In the order in which Allow names them. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const
const BODY_BYTES_MAX = 65_536
const HEADER_BYTES_MAX = 8192
/**
 * Node looks for requests out of time this often;
 * its default of 30 s would let a slow one live for half a minute.
 */
const TIMEOUT_CHECK_MS = 250
/** With the check above, a sender without a whole head is let go after 2 s. */
const HEADERS_TIMEOUT_MS = 1750
const REQUEST_TIMEOUT_MS = 3000
/**
 * A socket on which nothing moves; longer than any answer takes,
 * shorter than Node's endless default.
 */
const SILENT_SOCKET_MS = 10_000
/** Most proxies give up after a minute. */
const LONG_ANSWER_MS = 30_000
const KEEP_ALIVE_MS = 15_000
const RETRY_AFTER_S = 5
/**
 * The longest queue that Linux grants unless told otherwise (net.core.somaxconn);
 * Node's 511 overflow in a flood.
 */
const LISTEN_BACKLOG = 4096

const TOO_LARGE: ProblemDetails = {
  status: 413,
  error: 'Payload too large',
  detail: 'The body has more bytes than this route takes.',
}

/** In the words of `why` (docs/why.md). */
const DATABASE_AWAY = `${entryOf('database_away').means} ${entryOf('database_away').next} Send the request again later.`

/** The problem for trouble of ours. */
export function unavailable(detail: string): ProblemDetails {
  return {
    status: 503,
    error: 'Service unavailable',
    detail,
    headers: { 'retry-after': String(RETRY_AFTER_S) },
  }
}

/** The problem for a request that is not what its route takes. */
export function badRequest(detail: string): ProblemDetails {
  return { status: 400, error: 'Bad request', detail }
}

export function sendProblem(reply: FastifyReply, problem: ProblemDetails): FastifyReply {
  return reply
    .code(problem.status)
    .headers({ ...problem.headers, 'content-type': 'application/problem+json' })
    .send({ ...documentOf(problem), ...namesOf(reply.request.id) })
}

function ofEveryAnswer(requestId: string): Record<string, string> {
  return { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', [REQUEST_ID]: requestId }
}

/**
 * A server without routes that does not listen yet.
 * Routes take their body as a Buffer (or none), whatever its type.
 */
export function createServer(options: EntranceOptions, logger: Logger): FastifyInstance {
  const responses = new WeakMap<Duplex, ServerResponse>()
  const { connectionsPerAddressMax, trustedProxies } = options
  const away = createTurnedAway(logger)
  const app = Fastify({
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: SILENT_SOCKET_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    exposeHeadRoutes: false,
    genReqId: ({ headers }) => requestIdOf(headers),
    trustProxy: trustedProxies.length > 0 ? [...trustedProxies] : false,
    // What still arrives on an open socket while we stop is handled in full,
    // then its socket is closed.
    return503OnClosing: false,
    http: {
      ServerResponse: GuardedResponse,
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    },
    frameworkErrors: (_error, _request, reply) => {
      // Fastify runs no hook for these.
      sendProblem(reply.headers(ofEveryAnswer(reply.request.id)), badRequest('The URL cannot be read.'))
    },
    clientErrorHandler: (error: Error & { code?: string }, socket) => {
      const reason = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'too_slow' : 'unreadable'
      if (error.code !== 'ECONNRESET') away.count(reason)
      refuseUnparsed(error, socket, responses.get(socket))
    },
  })
  guardEntrance(app.server, options, away)
  app.server.on('request', (request, response) => responses.set(request.socket, response))
  app.server.on('connect', (_request, socket) => writeRaw(socket, methodNotAllowed('POST')))

  app.removeAllContentTypeParsers()
  readBodies(app)
  app.setErrorHandler((error: FastifyError, request, reply) =>
    sendProblem(reply, problemOf(error, logger, request.id)),
  )
  app.addHook('onRequest', async (request) => {
    // A body is bytes here; without this a malformed type of a body that no
    // route reads would be refused.
    delete request.headers['content-type']
  })
  app.addHook('onSend', async (request, reply) => {
    const { 'cache-control': kept, ...rest } = ofEveryAnswer(request.id)
    void reply.headers(reply.hasHeader('cache-control') ? rest : { ...rest, 'cache-control': kept })
  })
  if (trustedProxies.length > 0)
    boundForwarded(app, connectionsPerAddressMax, (reply) =>
      sendProblem(reply, unavailable('Too many requests of this address are open. Send it again later.')),
    )
  refuseUnknownRoutes(app)
  return app
}

/** Opens the port. Throws UserError when it cannot be opened. */
export async function listen(
  app: FastifyInstance,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<void> {
  try {
    await app.listen({ port, host, backlog: LISTEN_BACKLOG })
  } catch (error) {
    const settings = { portSetting: 'INGRESS_PORT', hostSetting: 'INGRESS_HOST' }
    throw listenProblem({ what: 'port', host, port, ...settings }, error)
  }
}

/**
 * Stops listening, finishes the requests under way and closes. Sockets still busy after `withinMs`
 * are cut: Node stops enforcing its request timeouts once a server closes, so one slow sender would
 * otherwise hold the process.
 */
export async function closeServer(app: FastifyInstance, withinMs: number): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), withinMs)
  await app.close()
  clearTimeout(timer)
}

/** 404 and 405 are decided before a body is read. */
function refuseUnknownRoutes(app: FastifyInstance): void {
  const refuse = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    // findRoute takes an address as it came; hasRoute would want the pattern.
    const allowed = METHODS.filter((method) => app.findRoute({ method, url: request.url }) !== null)
    if (allowed.length > 0) return sendProblem(reply, methodNotAllowed(allowed.join(', ')))
    // TRACE would echo headers, tokens among them; it is refused everywhere (RFC 9110 §9.3.8).
    if (request.method === 'TRACE') return sendProblem(reply, methodNotAllowed('POST'))
    return sendProblem(reply, { status: 404, error: 'Not found', detail: missingRoute(app, request.url) })
  }
  app.addHook('onRequest', async (request, reply) => {
    if (request.is404) return refuse(request, reply)
  })
  app.setNotFoundHandler(refuse)
}

/** A slash at the end is easily written, into a redirect address at a vendor too. */
function missingRoute(app: FastifyInstance, url: string): string {
  const [path = '', ...query] = url.split('?')
  const shorter = withoutEndSlashes(path)
  const isThere = METHODS.some(
    (method) => app.findRoute({ method, url: [shorter, ...query].join('?') }) !== null,
  )
  return path !== shorter && shorter !== '' && isThere
    ? 'There is no such route. There is one without the slash at its end: take it away, also where the address is registered.'
    : 'There is no such route.'
}

function methodNotAllowed(allow: string): ProblemDetails {
  return { status: 405, error: 'Method not allowed', detail: `Use ${allow}.`, headers: { allow } }
}

/**
 * For the few routes that may take longer than a silent socket lives: a vendor's answers, or many
 * rows in one transaction.
 */
export function allowLongAnswer(request: FastifyRequest): void {
  request.raw.socket.setTimeout(LONG_ANSWER_MS)
}

/** What a caller is told of an error that no route handled; the log has the rest. */
export function problemOf(error: FastifyError, logger: Logger, requestId: string): ProblemDetails {
  if (error instanceof BodyRefused) return bodyProblem(error)
  const status = error.statusCode ?? 500
  if (status >= 400 && status < 500) return badRequest('The request cannot be read.')
  const expected = error instanceof Failure && error.kind === 'transient'
  logger[expected ? 'warn' : 'error'](
    { err: error, requestId },
    'a request failed; the caller was told to come again',
  )
  const isAway = expected && error.scope === 'process' && error.code.startsWith('store/')
  return unavailable(isAway ? DATABASE_AWAY : 'Something on our side failed. Send the request again later.')
}

function bodyProblem({ why }: BodyRefused): ProblemDetails {
  switch (why) {
    case 'too_large':
      return TOO_LARGE
    case 'too_slow':
      return { status: 408, error: 'Request timeout', detail: 'The body came too slowly. Send it again.' }
    case 'no_room':
      return unavailable('Too much is under way. Send it again later.')
    case 'broken':
      return badRequest('The request cannot be read.')
  }
}

/** What Node's parser or its timeouts refused: there is no request object to answer through. */
function refuseUnparsed(
  error: Error & { code?: string },
  socket: Duplex,
  response: ServerResponse | undefined,
): void {
  // Answered early without reading the body, whose rest was too slow or broken:
  // a second answer would be nonsense.
  const answered = response !== undefined && response.headersSent && !response.req.complete
  if (error.code === 'ECONNRESET' || !socket.writable || answered) {
    socket.destroy()
    return
  }
  writeRaw(socket, unparsedProblem(error.code))
}

function unparsedProblem(code: string | undefined): ProblemDetails {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    const detail = `A request arrives whole within ${REQUEST_TIMEOUT_MS} ms.`
    return { status: 408, error: 'Request timeout', detail }
  }
  if (code === 'HPE_HEADER_OVERFLOW') {
    const detail = `Header fields have at most ${HEADER_BYTES_MAX} bytes together.`
    return { status: 431, error: 'Request header fields too large', detail }
  }
  return code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW' ? TOO_LARGE : badRequest('The request is not HTTP/1.1.')
}

function writeRaw(socket: Duplex, problem: ProblemDetails): void {
  const body = JSON.stringify(documentOf(problem))
  const headers = {
    ...problem.headers,
    'content-type': 'application/problem+json',
    'content-length': String(Buffer.byteLength(body)),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    connection: 'close',
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const words = `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n${lines.join('')}\r\n${body}`
  if (socket instanceof GuardedSocket) socket.leave(words)
  else socket.destroy()
}

/** What finds a request in our logs and traces. */
function namesOf(requestId: string): Record<string, string> {
  const traceId = currentTraceId()
  return { request_id: requestId, ...(traceId === undefined ? {} : { trace_id: traceId }) }
}

function documentOf({ status, error, detail }: ProblemDetails): Record<string, unknown> {
  return { type: 'about:blank', title: STATUS_CODES[status], status, detail, error }
}
