// How the schema registry is reached, by all who ask it: who we are there, whose certificate is
// believed, and what a refusal means.
import { request as requestHttp } from 'node:http'
import { Agent as TlsAgent, request as requestHttps } from 'node:https'
import { Failure } from '#shared/domain/failure.ts'
import type { Secret } from '#shared/process/secret.ts'
import { tlsTroubleIn } from '#shared/process/tls-words.ts'

export interface RegistryAccess {
  readonly login:
    | { readonly kind: 'basic'; readonly username: string; readonly password: Secret }
    | { readonly kind: 'bearer'; readonly token: Secret }
    | null
  /** PEM of authorities instead of those that Node brings; null: Node's. */
  readonly ca: Secret | null
}

/** Without a login, by the authorities that Node brings. */
export const NO_REGISTRY_LOGIN: RegistryAccess = { login: null, ca: null }

/** What a request carries of the login, as its file holds it now. */
export function loginHeaders({ login }: RegistryAccess): Record<string, string> {
  if (login === null) return {}
  const value =
    login.kind === 'bearer'
      ? `Bearer ${login.token.reveal()}`
      : `Basic ${Buffer.from(`${login.username}:${login.password.reveal()}`).toString('base64')}`
  return { authorization: value }
}

/** Of requests over TLS; undefined for an address in clear. */
export function agentOf(url: string, access: RegistryAccess): RegistryAgent | undefined {
  if (!url.startsWith('https:')) return undefined
  const agent = agents.get(access) ?? new RegistryAgent(access.ca)
  agents.set(access, agent)
  return agent
}

/** One each, since an agent keeps connections. */
const agents = new WeakMap<RegistryAccess, RegistryAgent>()

/** Reads the authorities again for each connection. */
class RegistryAgent extends TlsAgent {
  /** What broke a connection last: the library of the codec drops it. */
  broken: Error | null = null
  readonly #ca: Secret | null

  constructor(ca: Secret | null) {
    super({ keepAlive: true })
    this.#ca = ca
  }

  override createConnection(...[options, done]: Parameters<TlsAgent['createConnection']>) {
    const ca = this.#ca === null ? {} : { ca: this.#ca.reveal() }
    const socket = super.createConnection({ ...options, ...ca } as typeof options, done)
    socket?.on('error', (error) => {
      this.broken = error
    })
    return socket
  }
}

const REQUEST_TIMEOUT_MS = 10_000
/** A schema of ours has 10 kB. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024
const CONTENT_TYPE = 'application/vnd.schemaregistry.v1+json'

export interface RegistryAnswer {
  readonly status: number
  /** null where it is empty. */
  readonly body: unknown
}

/**
 * One request, at most 10 s and 4 MB; a redirect is an answer. Throws Failure `registry/*` for what
 * is no answer at all and for a refused login, or the reason of the signal.
 */
export async function askRegistry(
  {
    url,
    access,
    signal,
  }: { readonly url: string; readonly access: RegistryAccess; readonly signal: AbortSignal },
  asked: { readonly path: string; readonly method: string; readonly body?: unknown },
): Promise<RegistryAnswer> {
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)])
    const { status, text } = await send(`${url}${asked.path}`, { ...asked, access, signal: limit })
    const refusal = refusalOf(status)
    if (refusal !== null) throw refusal
    return { status, body: text === '' ? null : JSON.parse(text) }
  } catch (error) {
    signal.throwIfAborted()
    throw registryFailure(error, `The schema registry at ${new URL(url).host} does not answer.`)
  }
}

/** Any error of a request as a Failure; `otherwise` is what is said where it was the network. */
export function registryFailure(error: unknown, otherwise?: string): Failure {
  if (error instanceof Failure) return error
  const trouble = tlsTroubleIn(error)
  if (trouble === null) return new Failure('registry/unavailable', otherwise, { cause: error })
  const text = `The schema registry: ${trouble.words}. Correct SCHEMA_REGISTRY_URL, SCHEMA_REGISTRY_SSL_CA or the certificate.`
  return new Failure('registry/certificate-refused', text, { cause: error })
}

/** What a status says of login and rights; null when nothing. */
export function refusalOf(status: number | undefined): Failure | null {
  if (status === 401) return new Failure('registry/login-refused')
  return status === 403 ? new Failure('registry/right-missing') : null
}

interface Sending {
  readonly method: string
  readonly body?: unknown
  readonly access: RegistryAccess
  readonly signal: AbortSignal
}

/** By Node's own client, since `fetch` takes no authority for one request. */
async function send(
  url: string,
  { method, body, access, signal }: Sending,
): Promise<{ readonly status: number; readonly text: string }> {
  const text = body === undefined ? undefined : JSON.stringify(body)
  const headers = { 'content-type': CONTENT_TYPE, accept: CONTENT_TYPE, ...loginHeaders(access) }
  const options = { method, headers, signal }
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
  const request = url.startsWith('https:')
    ? requestHttps(url, { ...options, agent: agentOf(url, access) })
    : requestHttp(url, options)
  request.on('error', reject)
  request.on('response', (response) => {
    const parts: Buffer[] = []
    let bytes = 0
    response.on('data', (part: Buffer) => {
      bytes += part.length
      if (bytes > ANSWER_BYTES_MAX) response.destroy(new Error('The answer is too long.'))
      else parts.push(part)
    })
    response.on('error', reject)
    response.on('end', () =>
      resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString('utf8') }),
    )
  })
  request.end(text)
  return promise
}
