// One call of Microsoft Graph. The SDK builds the request; its retries, redirects and
// authentication are left out of the middleware chain (by default it repeats even a POST three
// times, and drops the token on http). The token goes to the configured origin only, and links that
// Graph gives are followed as they are, never rebuilt, but only to there.
// Source: https://learn.microsoft.com/graph/sdks/customize-client
import type { Client, Context, GraphRequest } from '@microsoft/microsoft-graph-client'
import { Failure } from '#shared/domain/failure.ts'
import { withoutEndSlashes } from '#shared/process/address.ts'
import type { Clock } from '#shared/process/clock.ts'
import { brokenLibrary, parseJson, type CallSubject, type Outcome } from '../answer.ts'
import { createBoundedFetch } from '../fetch.ts'
import { sendAtOnce, type EachCall } from '../vendor.ts'
import { failureOfAnswer } from './errors.ts'

const VERSION = 'v1.0'
/** Links have a few kB. */
const LINK_MAX = 16_384

interface GraphCall {
  readonly subject: CallSubject
  /** Without the version, each part encoded; or a link that `followable` accepted. */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  /** The whole Prefer header: the SDK keeps one. */
  readonly prefer?: string
  readonly method?: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  readonly body?: object
}

/** Graph for one method of the port: with its token and signal, through its `each`. */
export interface Graph {
  /** Throws Failure when no answer came, and the signal's reason when that aborts. */
  call(request: GraphCall): Promise<Outcome>
  /** The link if it leads to the configured Graph and nowhere else, else null. */
  followable(link: string): string | null
  /**
   * The same for a link that Graph has just sent.
   * Throws Failure `vendor/unreadable-answer` instead of null.
   */
  linkHere(link: string): string
}

/** Graph below this address; a path of the address is kept. */
export function createGraph(
  apiUrl: string,
  clock: Clock,
): (accessToken: string, signal: AbortSignal, each?: EachCall) => Graph {
  const base = new URL(`${withoutEndSlashes(apiUrl)}/${VERSION}/`)
  const send = createBoundedFetch({ vendor: 'microsoft' })
  return (accessToken, signal, each = sendAtOnce) => ({
    call: (request) =>
      each(async () => {
        signal.throwIfAborted()
        const response = await ask(send, base, request, { accessToken, signal })
        const data = parseJson(await response.text())
        if (response.ok) return { kind: 'ok', data }
        const answer = { status: response.status, headers: response.headers, data }
        return { kind: 'refused', answer, failure: failureOfAnswer(answer, request.subject, clock.now()) }
      }),
    followable,
    linkHere(link) {
      const here = followable(link)
      if (here !== null) return here
      throw new Failure(
        'vendor/unreadable-answer',
        'Microsoft sent a link that leads elsewhere, which is never followed.',
      )
    },
  })

  function followable(link: string): string | null {
    // Printable ASCII, as every URL on the wire: it can be stored and sent as it stands.
    const url = link.length <= LINK_MAX && /^[!-~]+$/.test(link) ? URL.parse(link) : null
    const leadsHere =
      url !== null &&
      url.origin === base.origin &&
      // A fetch refuses an address with either, and neither was ever part of a link.
      url.username === '' &&
      url.password === '' &&
      url.pathname.startsWith(base.pathname) &&
      url.hash === ''
    return leadsHere ? link : null
  }
}

type Send = ReturnType<typeof createBoundedFetch>

async function ask(
  send: Send,
  base: URL,
  request: GraphCall,
  { accessToken, signal }: { readonly accessToken: string; readonly signal: AbortSignal },
): Promise<Response> {
  const { Client, ResponseType } = await import('@microsoft/microsoft-graph-client')
  const { path, method = 'GET', body = {} } = request
  const isLink = /^https?:/i.test(path)
  let thrown: unknown
  const client: Client = Client.initWithMiddleware({
    baseUrl: base.href.slice(0, -`/${VERSION}/`.length),
    defaultVersion: VERSION,
    middleware: {
      async execute(context: Context) {
        try {
          // The SDK takes links apart and joins them in another order; they are opaque.
          const url = new URL(isLink ? path : String(context.request))
          if (url.origin !== base.origin) throw new Failure('internal/defect', 'A call would leave Graph.')
          const headers = new Headers(context.options?.headers as Record<string, string>)
          headers.set('Authorization', `Bearer ${accessToken}`)
          context.response = await send(isLink ? path : url, { ...context.options, headers, signal })
        } catch (error) {
          thrown = error
          throw error
        }
      },
    },
  })
  const call: GraphRequest = client.api(isLink ? '/' : path).responseType(ResponseType.RAW)
  if (request.query) call.query(encoded(request.query))
  if (request.prefer !== undefined) call.header('Prefer', request.prefer)
  try {
    return (await run(call, method, body)) as Response
  } catch (error) {
    if (signal.aborted) throw signal.reason
    // Its wrapper is not kept: it may hold the request with its token.
    throw thrown instanceof Failure ? thrown : brokenLibrary('The Microsoft Graph SDK', thrown ?? error)
  }
}

function run(call: GraphRequest, method: NonNullable<GraphCall['method']>, body: object): Promise<unknown> {
  switch (method) {
    case 'GET':
      return call.get()
    case 'POST':
      return call.post(body)
    case 'PATCH':
      return call.patch(body)
    case 'DELETE':
      return call.delete()
    default:
      return method satisfies never
  }
}

/** The SDK encodes nothing. */
function encoded(query: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(query).map(([name, value]) => [name, encodeURIComponent(value)]))
}
