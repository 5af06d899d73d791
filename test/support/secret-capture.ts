// Every secret that passes a play vendor of this process, in either direction: what comes in
// headers, forms and JSON, and what the vendor answers. Reads the wire, so it knows nothing of the
// adapters and misses no token that was really issued or used.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'

/** Names under which OAuth, PKCE, watches and subscriptions carry what nobody else may see. */
const NAMES =
  /^(?:access_token|refresh_token|id_token|code|code_verifier|client_secret|token|clientState|state)$/
const CALLBACK = 'http.server.request.start'
const LENGTH_MIN = 12

export interface SecretCapture extends Disposable {
  /** What was seen so far, by what it is called on the wire. */
  readonly found: ReadonlyMap<string, ReadonlySet<string>>
}

/** Listens to the servers of this process whose port is in `ports`. */
export function captureSecrets(ports: readonly number[]): SecretCapture {
  const found = new Map<string, Set<string>>()
  const note = (name: string, value: unknown) => {
    if (typeof value !== 'string' || value.length < LENGTH_MIN) return
    found.set(name, (found.get(name) ?? new Set()).add(value))
  }
  const started = (message: unknown) => {
    const { request, response } = message as { request: IncomingMessage; response: ServerResponse }
    if (!ports.includes(request.socket.localPort ?? 0)) return
    noteBearer(request.headers.authorization, note)
    noteQuery(request.url ?? '', note)
    collect(request, 'push', (text) => noteBody(text, note))
    collect(response, 'end', (text) => noteBody(text, note))
    response.once('finish', () => noteQuery(String(response.getHeader('location') ?? ''), note))
  }
  subscribe(CALLBACK, started)
  return { found, [Symbol.dispose]: () => void unsubscribe(CALLBACK, started) }
}

type Note = (name: string, value: unknown) => void

function noteBearer(header: string | undefined, note: Note): void {
  const [, scheme = '', value = ''] = /^(\w+)\s+(.+)$/.exec(header ?? '') ?? []
  if (scheme.toLowerCase() === 'bearer') note('access_token', value)
  if (scheme.toLowerCase() === 'basic')
    note('client_secret', decodeURIComponent(Buffer.from(value, 'base64').toString().split(':')[1] ?? ''))
}

function noteQuery(url: string, note: Note): void {
  for (const [name, value] of new URLSearchParams(url.split('?')[1] ?? ''))
    if (NAMES.test(name)) note(name, value)
}

function noteBody(text: string, note: Note): void {
  if (text.startsWith('{')) return noteJson(JSON.parse(text), note)
  noteQuery(`?${text}`, note)
}

function noteJson(value: unknown, note: Note): void {
  if (typeof value !== 'object' || value === null) return
  for (const [name, inner] of Object.entries(value)) {
    if (NAMES.test(name)) note(name, inner)
    noteJson(inner, note)
  }
}

/**
 * Hands over the whole body once it has passed; `push` is how a request gets its chunks, `end` and
 * `write` those of a response.
 */
function collect(
  stream: IncomingMessage | ServerResponse,
  kind: 'push' | 'end',
  whole: (text: string) => void,
): void {
  const chunks: Buffer[] = []
  const take = (chunk: unknown) => {
    if (typeof chunk === 'string') chunks.push(Buffer.from(chunk))
    else if (chunk instanceof Uint8Array) chunks.push(Buffer.from(chunk))
  }
  const finish = () => whole(Buffer.concat(chunks.splice(0)).toString('utf8'))
  const methods = kind === 'push' ? ['push'] : ['write', 'end']
  for (const name of methods) {
    const target = stream as unknown as Record<string, (...args: unknown[]) => unknown>
    const original = target[name]!.bind(stream)
    target[name] = (...args: unknown[]) => {
      take(args[0])
      if (name === 'end' || (name === 'push' && args[0] === null)) finish()
      return original(...args)
    }
  }
}
