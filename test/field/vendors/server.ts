// What both play vendors are made of: a real HTTP server, a record of what it was asked, and
// answers that a case puts in front of the usual ones. It knows a vendor's wire and a case's words,
// and nothing of the product.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** One request that arrived. */
export interface Asked {
  /** ms since 1970, by the clock of the play vendor. */
  readonly at: number
  readonly method: string
  /** Decoded. */
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
  readonly body: string
  /** Origin and path as they were asked for: the beginning of a link to the same resource. */
  readonly here: string
  /** The account whose token came along; null for none that is known. */
  readonly account: string | null
}

export interface Told {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** A text is sent as HTML, everything else as JSON, undefined as nothing. */
  readonly body?: unknown
}

/** When it answers undefined, the usual answer is given. */
export type Answer = (asked: Asked) => Told | undefined

/** The clock of a case; it jumps when time passes. */
export interface FieldClock {
  /** ms since 1970. */
  now(): number
}

const BODY_MAX = 1_048_576

/** The part of a play vendor that does not know which vendor it plays. */
export abstract class PlayVendor implements AsyncDisposable {
  readonly clock: FieldClock
  readonly asked: Asked[] = []
  url = ''
  /** Asked before everything else; the first that says something wins. */
  readonly #answers: Answer[] = []
  readonly #server = createServer((request, response) => void this.#serve(request, response))
  #open = 0

  constructor(clock: FieldClock) {
    this.clock = clock
  }

  /** Takes a free port of this machine. */
  async open(): Promise<this> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
    return this
  }

  /** "When it is asked …, then it answers …". @returns how to take that back. */
  when(answer: Answer): () => void {
    this.#answers.push(answer)
    return () => {
      const at = this.#answers.indexOf(answer)
      if (at >= 0) this.#answers.splice(at, 1)
    }
  }

  /** Whether a call is being answered now. */
  get isBusy(): boolean {
    return this.#open > 0
  }

  /**
   * What an account asked for below a path, oldest first; `since` in ms of the play vendor's clock.
   */
  calls(account: { readonly name: string }, part: string, since = 0): readonly Asked[] {
    return this.asked.filter(
      (one) => one.account === account.name && one.at >= since && one.path.includes(part),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  /** The name of the account that a token or a refresh token belongs to. */
  protected abstract accountOf(path: string, authorization: string, body: string): string | null

  protected abstract usual(asked: Asked): Told | Promise<Told>

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#open += 1
    try {
      const asked = await this.#read(request)
      this.asked.push(asked)
      let told: Told | undefined
      for (const answer of this.#answers) told ??= answer(asked)
      send(response, told ?? (await this.usual(asked)))
    } catch (error) {
      send(response, { status: 599, body: `the case is broken: ${String(error)}` })
    } finally {
      this.#open -= 1
    }
  }

  async #read(request: IncomingMessage): Promise<Asked> {
    let body = ''
    for await (const piece of request) {
      body += String(piece)
      if (body.length > BODY_MAX) throw new Error('a request is larger than any vendor takes')
    }
    const url = new URL(request.url ?? '/', this.url)
    const path = decodeURIComponent(url.pathname)
    return {
      at: this.clock.now(),
      method: request.method ?? '',
      path,
      query: url.searchParams,
      headers: request.headers,
      body,
      here: `${this.url}${url.pathname}`,
      account: this.accountOf(path, request.headers.authorization ?? '', body),
    }
  }
}

function send(response: ServerResponse, { status = 200, headers = {}, body }: Told): void {
  const isText = typeof body === 'string'
  response.writeHead(status, {
    'content-type': isText ? 'text/html; charset=UTF-8' : 'application/json; charset=UTF-8',
    ...headers,
  })
  response.end(body === undefined ? '' : isText ? body : JSON.stringify(body))
}
