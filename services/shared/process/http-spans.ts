// Spans of HTTP, on both sides of it.
// opentelemetry.io/docs/specs/semconv/http/http-spans
import type { Attributes } from '@opentelemetry/api'
import {
  HTTP_METHOD,
  HTTP_ROUTE,
  HTTP_STATUS,
  SERVER_ADDRESS,
  SERVER_PORT,
  URL_SCHEME,
} from './semantic-names.ts'
import { inSpan, noteInSpan } from './telemetry.ts'

/**
 * Runs the answering of a request. `route` is the pattern, never the path: that has ids, and a
 * query may have secrets.
 * @param status asked when the work has ended.
 */
export function inServerSpan<T>(
  {
    method,
    route,
    attributes = {},
  }: {
    readonly method: string
    readonly route: string
    readonly attributes?: Attributes
  },
  status: () => number,
  work: () => Promise<T>,
): Promise<T> {
  const about = { [HTTP_METHOD]: method, [HTTP_ROUTE]: route, ...attributes }
  return inSpan(`${method} ${route}`, { kind: 'server', attributes: about }, async () => {
    const result = await work()
    // A refusal of a caller is no fault of the server.
    noteAnswer(status(), 500)
    return result
  })
}

/**
 * Runs a request to another. Its span lasts until the head of the answer is here. It has no
 * `url.full`, which the conventions want: paths at vendors name people.
 */
export function inClientSpan<T extends { readonly status: number }>(
  {
    method,
    url,
    attributes,
  }: {
    readonly method: string
    readonly url: URL
    readonly attributes: Attributes
  },
  work: () => Promise<T>,
): Promise<T> {
  const scheme = url.protocol.slice(0, -1)
  const port = url.port === '' ? (scheme === 'https' ? 443 : 80) : Number(url.port)
  const about = {
    [HTTP_METHOD]: method,
    [SERVER_ADDRESS]: url.hostname,
    [SERVER_PORT]: port,
    [URL_SCHEME]: scheme,
    ...attributes,
  }
  return inSpan(method, { kind: 'client', attributes: about }, async () => {
    const answer = await work()
    noteAnswer(answer.status, 400)
    return answer
  })
}

function noteAnswer(status: number, failsFrom: number): void {
  noteInSpan({ [HTTP_STATUS]: status }, status >= failsFrom ? String(status) : null)
}
