// What a page is: an address, what is read for it, and how that is shown. The same data is the
// page's JSON, so the two cannot differ.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Database } from '#shared/store/database.ts'
import type { Toggles } from '#shared/gates/toggles.ts'
import type { Assets } from '../http/assets.ts'
import { wantsJson, type Trouble } from '../http/server.ts'
import type { Person } from '../http/sessions.ts'
import { personOf } from '../http/sign-in.ts'
import type { Html, Part } from '../html.ts'
import { page, type Frame } from '../layout.ts'
import { html } from '../html.ts'
import type { Watch } from '../fleet/facts.ts'

export interface PageDeps {
  readonly db: Database
  readonly gates: { standing(): Toggles | null }
  readonly watch: Watch
  readonly assets: Assets
  readonly links: Frame['links']
}

/** What a page is asked for. */
export interface Asked {
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, string>>
}

export interface Page<Data extends object> {
  /** With the slots of its parameters, as `/connections/:id`. */
  readonly path: string
  /** The path among the navigation's. */
  readonly at: string
  /** Throws PageTrouble, or Failure `store/*`. */
  readonly read: (asked: Asked) => Promise<Data>
  readonly view: (data: Data, asked: Asked & { readonly person: Person }) => View
}

interface View {
  readonly title: string
  readonly aside?: Part
  readonly body: Html
  readonly isLive?: boolean
  readonly hasCharts?: boolean
}

/** Registers a page and its JSON. */
export function registerPage<Data extends object>(
  app: FastifyInstance,
  deps: PageDeps,
  { path, at, read, view }: Page<Data>,
): void {
  app.get(path, async (request, reply) => {
    const asked = askedOf(request)
    const data = await read(asked)
    if (wantsJson(request)) return reply.type('application/json; charset=utf-8').send(data)
    const person = personOf(request)
    const shown = view(data, { ...asked, person })
    return sendHtml(reply, page({ ...deps, person }, { ...shown, at }))
  })
}

/** A query may name a thing twice; the last one counts. */
function askedOf(request: FastifyRequest): Asked {
  const query = request.query as Readonly<Record<string, string | readonly string[]>>
  const flat = Object.entries(query).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.at(-1) : value,
  ])
  return {
    params: request.params as Readonly<Record<string, string>>,
    query: Object.fromEntries(flat) as Record<string, string>,
  }
}

export function sendHtml(reply: FastifyReply, document: Html): FastifyReply {
  return reply.type('text/html; charset=utf-8').send(document.text)
}

/** Answers a refusal: a page where HTML is taken, else a problem document (RFC 9457). */
export function sendTrouble(
  frame: Frame,
  request: FastifyRequest,
  reply: FastifyReply,
  { status, title, detail }: Trouble,
): FastifyReply {
  void reply.code(status)
  if (wantsJson(request) || request.headers.authorization !== undefined)
    return reply
      .type('application/problem+json')
      .send(JSON.stringify({ type: 'about:blank', title, status, detail, error: title }))
  const way =
    frame.person === null
      ? html`<a class="button" href="/sign-in">Sign in</a>`
      : html`<a class="button" href="/fleet">To the fleet</a>`
  return sendHtml(
    reply,
    page(frame, {
      title,
      at: '',
      body: html`<div class="trouble" role="alert">
        <p>${detail}</p>
        <p>${way}</p>
      </div>`,
    }),
  )
}
