// A small HTTP server over node:http for the simulator's two ports. It reads bodies whole (capped),
// routes by method and path, and leaves the raw response to callers that must break it on purpose.
// It listens on 127.0.0.1 unless told otherwise.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

const BODY_BYTES_MAX = 1_048_576

export interface Call {
  readonly method: string
  /** Percent-encoded, as it came. */
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
  readonly body: string
  readonly raw: { readonly request: IncomingMessage; readonly response: ServerResponse }
}

export interface Answer {
  readonly status: number
  /** An object is sent as JSON, a string as it is, undefined as an empty body. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** For the request log; never sent. */
  readonly note?: { readonly items?: number; readonly syncTokenOut?: string }
}

export interface Listening extends AsyncDisposable {
  readonly url: string
}

/** The kinds of calls that faults are aimed at, alike for both vendors. */
export type Operation =
  | 'authorize'
  | 'token'
  | 'revoke'
  | 'calendars'
  | 'list'
  | 'read'
  | 'write'
  | 'watch'
  | 'renew'
  | 'stop'
  | 'busy'
  | 'batch'

export interface Route<C> {
  readonly method: string
  /** Segments; `:name` takes one segment, percent-decoded. */
  readonly path: string
  /** Absent on admin routes. */
  readonly operation?: Operation
  readonly handle: (context: C, params: Readonly<Record<string, string>>) => Answer | Promise<Answer>
}

/** Listens (port 0 = a free one) and answers with what `handle` does to the raw response. */
export async function listen(
  { port, host = '127.0.0.1' }: { readonly port: number; readonly host?: string | undefined },
  handle: (call: Call) => Promise<void>,
): Promise<Listening> {
  const server = createServer((request, response) => {
    void serve(request, response, handle)
  })
  server.keepAliveTimeout = 60_000
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  const address = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${address.port}`, [Symbol.asyncDispose]: () => close(server) }
}

/** Writes an answer to the socket. */
export function send(response: ServerResponse, answer: Answer): void {
  const { payload, type } = render(answer)
  response.writeHead(answer.status, {
    ...(type ? { 'content-type': type } : {}),
    ...(answer.status === 204 ? {} : { 'content-length': String(payload.length) }),
    ...answer.headers,
  })
  response.end(answer.status === 204 ? undefined : payload)
}

/** The bytes of an answer and their content type. */
export function render(answer: Answer): { readonly payload: Buffer; readonly type: string | null } {
  if (answer.body === undefined) return { payload: Buffer.alloc(0), type: null }
  if (typeof answer.body === 'string')
    return { payload: Buffer.from(answer.body), type: 'text/html; charset=UTF-8' }
  return { payload: Buffer.from(JSON.stringify(answer.body)), type: 'application/json; charset=UTF-8' }
}

/** A body as a JSON object (an empty one counts as `{}`); null when it is none. */
export function readObject(body: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(body === '' ? '{}' : body)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}

/** A lookup over routes; undefined when no route has this method and path. */
export function router<C>(routes: readonly Route<C>[]) {
  const table = routes.map((route) => ({ route, segments: route.path.split('/') }))
  return (method: string, path: string) => {
    const segments = path.split('/')
    for (const { route, segments: pattern } of table) {
      if (route.method !== method || pattern.length !== segments.length) continue
      const params = matchSegments(pattern, segments)
      if (params) return { route, params }
    }
    return undefined
  }
}

function matchSegments(
  pattern: readonly string[],
  segments: readonly string[],
): Record<string, string> | null {
  const params: Record<string, string> = {}
  for (const [index, part] of pattern.entries()) {
    const segment = segments[index] ?? ''
    if (part.startsWith(':')) params[part.slice(1)] = decode(segment)
    else if (part !== segment) return null
  }
  return params
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  handle: (call: Call) => Promise<void>,
): Promise<void> {
  try {
    const body = await readBody(request)
    if (body === null)
      return send(response, { status: 413, body: { error: 'The body is larger than 1 MiB.' } })
    const url = new URL(request.url ?? '/', 'http://simulator')
    const { method = 'GET', headers } = request
    const raw = { request, response }
    await handle({ method, path: url.pathname, query: url.searchParams, headers, body, raw })
  } catch (error) {
    if (response.headersSent || response.destroyed) return void response.destroy()
    const message = error instanceof Error ? error.message : 'unknown'
    send(response, { status: 500, body: { error: `The simulator failed: ${message}` } })
  }
}

async function readBody(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > BODY_BYTES_MAX) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
