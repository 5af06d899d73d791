// The frame of every page: head, navigation, and who is signed in.
import type { Person } from './http/sessions.ts'
import type { Assets } from './http/assets.ts'
import { html, type Html, type Part } from './html.ts'

export interface Frame {
  readonly assets: Pick<Assets, 'pathOf'>
  /** null before the sign-in. */
  readonly person: Person | null
  /** Pages that exist here, in the order of the navigation. */
  readonly links: readonly { readonly path: string; readonly label: string }[]
}

interface Shown {
  readonly title: string
  /** The path of the page among `links`. */
  readonly at: string
  /** Beside the heading. */
  readonly aside?: Part
  readonly body: Part
  /** Whether the page updates itself. */
  readonly isLive?: boolean
  /** Whether it draws charts. */
  readonly hasCharts?: boolean
}

/** A whole document. */
export function page(
  frame: Frame,
  { title, at, aside, body, isLive = false, hasCharts = false }: Shown,
): Html {
  const { assets, person } = frame
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        <meta name="color-scheme" content="light dark" />
        <meta name="htmx-config" content='{"includeIndicatorCSS":false}' />
        <title>${title} · Calstream</title>
        <link rel="icon" href="${assets.pathOf('icon.svg')}" type="image/svg+xml" />
        ${hasCharts && html`<link rel="stylesheet" href="${assets.pathOf('uplot.css')}" />`}
        <link rel="stylesheet" href="${assets.pathOf('console.css')}" />
        ${person !== null && html`<script defer src="${assets.pathOf('htmx.js')}"></script>`}
        ${isLive && html`<script defer src="${assets.pathOf('htmx-sse.js')}"></script>`}
        ${hasCharts && html`<script defer src="${assets.pathOf('uplot.js')}"></script>`}
        ${person !== null && html`<script defer src="${assets.pathOf('console.js')}"></script>`}
      </head>
      <body class="${person === null ? 'alone' : 'framed'}">
        ${person !== null && html`<a class="skip" href="#content">Skip to the content</a>`}
        ${person !== null && navigation(frame, person, at)}
        <main id="content" tabindex="-1">
          <header class="top">
            <h1>${title}</h1>
            ${aside}
          </header>
          ${body}
        </main>
      </body>
    </html> `
}

function navigation({ links }: Frame, person: Person, at: string): Html {
  return html`<header class="side">
    <a class="brand" href="/fleet"><span class="mark" aria-hidden="true"></span>Calstream</a>
    <nav aria-label="Pages">
      <ul>
        ${links.map(
          ({ path, label }) =>
            html`<li><a href="${path}" ${path === at && html` aria-current="page"`}>${label}</a></li>`,
        )}
      </ul>
    </nav>
    <form class="who" method="post" action="/sign-out">
      <p>
        <span class="quiet">Signed in as</span><br /><strong>${person.name}</strong
        >${person.role === 'viewer' && html`<br /><span class="quiet">may read only</span>`}
      </p>
      <button class="plain">Sign out</button>
    </form>
  </header>`
}

/** A section with a heading. */
export function section(title: string, body: Part, more: Part = null): Html {
  return html`<section>
    <h2>${title}</h2>
    ${more}${body}
  </section>`
}

/** What stands where a list is empty. */
export function empty(words: string, hint: Part = null): Html {
  return html`<div class="empty">
    <p>${words}</p>
    ${hint !== null && html`<p class="quiet">${hint}</p>`}
  </div>`
}

/**
 * A table that scrolls on its own where it is wider than the page.
 * @param name what it lists, for those who cannot see it.
 */
export function table(name: string, heads: readonly Part[], rows: readonly Html[]): Html {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${name}">
    <table>
      <thead>
        <tr>
          ${heads.map((head) => html`<th scope="col">${head}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows}
      </tbody>
    </table>
  </div>`
}
