// HTML from templates. Invariant: a value becomes text and never markup, unless another template
// made it; templates write every attribute with quotes.
import { escape } from 'html-escaper'

/** Markup that a template of ours made. */
export class Html {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

/** What may stand in a template; null and false leave nothing. */
export type Part = Html | string | number | null | undefined | false | readonly Part[]

/** The tag of a template: html`<p>${anything}</p>`. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  let text = strings[0] ?? ''
  for (const [index, part] of parts.entries()) text += textOf(part) + (strings[index + 1] ?? '')
  return new Html(text)
}

function textOf(part: Part): string {
  if (part instanceof Html) return part.text
  if (typeof part === 'string') return escape(part)
  if (typeof part === 'number') return String(part)
  if (part === null || part === undefined || part === false) return ''
  return part.map(textOf).join('')
}
