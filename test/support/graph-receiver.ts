// An address that Graph sends notifications to: it echoes validation tokens as Graph wants them (or
// not), answers as it is told, and keeps what it was told.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Notice {
  readonly id?: string
  readonly subscriptionId: string
  readonly clientState: string
  readonly changeType?: string
  readonly lifecycleEvent?: string
  readonly resource?: string
  readonly resourceData?: { readonly id: string }
}

export interface GraphReceiver extends AsyncDisposable {
  readonly url: string
  /** The posts that came, each with its items; validations are not among them. */
  readonly posts: { readonly path: string; readonly items: readonly Notice[] }[]
  /** The items of all posts. */
  readonly notices: readonly Notice[]
  readonly validations: string[]
  /** What is answered from now on. */
  status: number
  /** What answers wait for from now on. */
  gate: Promise<void>
  /** How a validation is answered: the decoded token is right. */
  echo: 'decoded' | 'encoded' | 'html' | 'forbidden'
}

export async function startGraphReceiver(): Promise<GraphReceiver> {
  const posts: GraphReceiver['posts'] = []
  const validations: string[] = []
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://here')
    const token = url.searchParams.get('validationToken')
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      if (token !== null) {
        validations.push(url.pathname + url.search)
        const type = receiver.echo === 'html' ? 'text/html' : 'text/plain'
        response.writeHead(receiver.echo === 'forbidden' ? 403 : 200, { 'content-type': type })
        return void response.end(receiver.echo === 'encoded' ? encodeURIComponent(token) : token)
      }
      posts.push({ path: url.pathname + url.search, items: (JSON.parse(body) as { value: Notice[] }).value })
      const { status } = receiver
      void receiver.gate.then(() => response.writeHead(status).end())
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const receiver: GraphReceiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/graph?tenant=1`,
    posts,
    get notices() {
      return posts.flatMap(({ items }) => items)
    },
    validations,
    status: 202,
    gate: Promise.resolve(),
    echo: 'decoded',
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return receiver
}
