// Who consents to what: the decision behind both vendors' consent pages. A knob or a login hint
// makes it at once; without either a person gets a page with one link per account and answer.
import { escape } from 'html-escaper'
import type { ConsentKnobs, ConsentMode } from '../control/knobs.ts'
import type { Account } from '../world/entries.ts'
import type { World } from '../world/world.ts'

export type Decision =
  | { readonly kind: 'refused' }
  | { readonly kind: 'granted'; readonly account: Account; readonly scope: string }
  | { readonly kind: 'asked'; readonly html: string }

export interface ConsentQuestion {
  readonly world: World
  readonly knobs: ConsentKnobs
  /** The accounts of this vendor. */
  readonly accounts: readonly Account[]
  /** The address as it was called, for the links of the page. */
  readonly path: string
  readonly query: URLSearchParams
  /** The scopes without which the grant is only a part of what was asked for. */
  readonly essential: (scope: string) => boolean
  /** What is granted when nothing else is left: a grant always says who the person is. */
  readonly identityScope: string
  readonly newAccount: (email: string) => Account
}

/**
 * Decides: the knob's account before the hint's (a person may sign in as somebody else than was
 * hinted), an unknown hint makes a new account; `simulate=grant|deny|partial` in the query, which
 * the page's links carry, before the knob's mode.
 */
export function decideConsent(question: ConsentQuestion): Decision {
  const { knobs, accounts, query } = question
  const mode = modeOf(query.get('simulate')) ?? knobs.mode
  if (mode === 'deny') return { kind: 'refused' }
  const hint = query.get('login_hint')
  const wanted = knobs.account ?? hint
  if (wanted === null) return { kind: 'asked', html: page(question) }
  const known = accounts.find(({ id, email }) => email === wanted || id === wanted)
  const account = known ?? question.newAccount(wanted)
  return { kind: 'granted', account, scope: grantedScope(question, mode) }
}

function grantedScope(question: ConsentQuestion, mode: ConsentMode): string {
  const asked = (question.query.get('scope') ?? '').split(' ').filter((scope) => scope !== '')
  if (mode === 'grant') return asked.join(' ')
  if (question.knobs.scope !== null) return question.knobs.scope
  const left = asked.filter((scope) => !question.essential(scope))
  return left.length > 0 ? left.join(' ') : question.identityScope
}

function modeOf(text: string | null): ConsentMode | null {
  return text === 'grant' || text === 'deny' || text === 'partial' ? text : null
}

function page({ accounts, path, query, world }: ConsentQuestion): string {
  const link = (email: string, mode: ConsentMode, text: string) => {
    const target = new URLSearchParams(query)
    target.set('login_hint', email)
    target.set('simulate', mode)
    return `<a href="${escape(`${path}?${target.toString()}`)}">${escape(text)}</a>`
  }
  const rows = [
    ...accounts.slice(0, 100).map(({ email }) => email),
    `person${world.accountCount + 1}@example.com`,
  ]
  const items = rows.map((email, index) => {
    const name = index < rows.length - 1 ? email : `a new account, ${email}`
    return `<li>${link(email, 'grant', name)} (${link(email, 'partial', 'only a part')}, ${link(email, 'deny', 'refuse')})</li>`
  })
  return `<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Simulated consent</title><h1>Who are you?</h1><p>Asked for: ${escape(query.get('scope') ?? 'nothing')}</p><ul>${items.join('')}</ul></html>`
}
