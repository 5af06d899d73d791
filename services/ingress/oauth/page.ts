// What a person reads in the browser: one small page, plain HTML without scripts, pictures or
// anything from elsewhere. Invariants: whatever is not ours is escaped; the address of the page,
// which may hold a code, is told to no one and kept nowhere (no-referrer, no-store); a program that
// does not take HTML gets the same words as a problem document.
import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { escape } from 'html-escaper'
import { sendProblem, type ProblemDetails } from '../server.ts'

export interface Action {
  readonly label: string
  readonly href: string
}

/** One button that asks our own server for something (POST). */
export interface Form {
  readonly action: string
  readonly fields: Readonly<Record<string, string>>
  readonly button: string
  /**
   * Where the answer may send the browser besides https: origins of this machine, as a rule none.
   */
  readonly targets: readonly string[]
}

export interface Page {
  readonly status: 200 | ProblemDetails['status']
  readonly title: string
  readonly paragraphs: readonly string[]
  /** The first one is what most people want; none as if left out. */
  readonly actions?: readonly Action[]
  readonly form?: Form | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
}

const STYLE = `:root{color-scheme:light dark}
body{font:1.0625rem/1.6 system-ui,sans-serif;margin:0;padding:2rem 1rem;overflow-wrap:anywhere}
main{max-width:34rem;margin:0 auto}
h1{font-size:1.5rem;line-height:1.25}
a{display:inline-block;margin:.5rem 1rem .5rem 0;padding:.5rem 0}
a:first-of-type{padding:.5rem 1rem;border:2px solid currentcolor;border-radius:.375rem}
button{font:inherit;font-weight:600;margin:.5rem 0;padding:.5rem 1rem;border:2px solid;border-radius:.375rem;cursor:pointer}
:focus-visible{outline:3px solid currentcolor;outline-offset:3px}`

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64')

/** For every answer of a flow, redirects too: the address holds a link, a state or a code. */
export const FLOW_HEADERS = {
  'referrer-policy': 'no-referrer',
  'content-security-policy': contentPolicy("'none'"),
  'x-frame-options': 'DENY',
} as const

function contentPolicy(formAction: string): string {
  return `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action ${formAction}; frame-ancestors 'none'`
}

/**
 * Chrome holds every redirect after a form against form-action (w3c/webappsec-csp issue 8):
 * the vendor, an organization's own sign-in behind it, our callback and the app. All are https
 * but on one's own machine.
 */
function formPolicy({ targets }: Form): string {
  const origins = targets.map((target) => new URL(target).origin)
  const inClear = new Set(origins.filter((origin) => origin.startsWith('http:')))
  return contentPolicy(["'self'", 'https:', ...inClear].join(' '))
}

/** Answers with a page, or with a problem document where HTML is not taken. */
export function sendPage(request: FastifyRequest, reply: FastifyReply, page: Page): FastifyReply {
  const { status } = page
  const policy = page.form === undefined ? {} : { 'content-security-policy': formPolicy(page.form) }
  void reply.headers({ ...FLOW_HEADERS, ...policy, ...page.headers })
  if (status !== 200 && !takesHtml(request)) {
    return sendProblem(reply, { status, error: page.title, detail: page.paragraphs.join(' ') })
  }
  return reply.code(status).type('text/html; charset=utf-8').send(render(page))
}

/** A closed gate, for the person in front of it. */
const CLOSED = 'Nothing was connected. Tell the people behind the app that you came from.'

/** A problem of a route that people and programs ask. */
export function sendProblemPage(
  request: FastifyRequest,
  reply: FastifyReply,
  problem: ProblemDetails,
): FastifyReply {
  const { status, error, detail, headers } = problem
  const paragraphs = status === 403 ? [detail, CLOSED] : [detail]
  return sendPage(request, reply, { status, title: error, paragraphs, headers })
}

function takesHtml(request: FastifyRequest): boolean {
  return request.headers.accept?.includes('text/html') ?? false
}

function render({ title, paragraphs, actions = [], form }: Page): string {
  const links = actions.map(({ label, href }) => `<a href="${escape(href)}">${escape(label)}</a>`)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escape(title)}</h1>
${paragraphs.map((text) => `<p>${escape(text)}</p>`).join('\n')}
${form === undefined ? '' : `${renderForm(form)}\n`}${links.length === 0 ? '' : `<p>${links.join('\n')}</p>\n`}</main>
</body>
</html>
`
}

function renderForm({ action, fields, button }: Form): string {
  const hidden = Object.entries(fields).map(
    ([name, value]) => `<input type="hidden" name="${escape(name)}" value="${escape(value)}">`,
  )
  return `<form method="post" action="${escape(action)}">${hidden.join('')}<button>${escape(button)}</button></form>`
}
