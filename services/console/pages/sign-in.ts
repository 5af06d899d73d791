// The page of the sign-in.
import type { FastifyReply } from 'fastify'
import { html } from '../html.ts'
import { page, type Frame } from '../layout.ts'
import { SIGN_IN } from '../http/sign-in.ts'
import { sendHtml } from './pages.ts'

/** Answers with the form; `to`: where a person goes afterwards. */
export function sendSignIn(
  frame: Frame,
  reply: FastifyReply,
  { to, problem }: { readonly to: string; readonly problem: string | null },
): FastifyReply {
  const body = html`<form class="sign-in" method="post" action="${SIGN_IN}">
    ${problem !== null && html`<p class="problem" role="alert"><span aria-hidden="true">✕</span> ${problem}</p>`}
    <p class="quiet">
      Make a token where the installation's settings are, and paste it here. It stays good for an hour unless
      you say otherwise.
    </p>
    <pre><code>calstream token --operator --name you</code></pre>
    <input type="hidden" name="to" value="${to}" />
    <label for="token">Token of an operator</label>
    <input
      id="token"
      type="password"
      name="token"
      required
      autofocus
      autocomplete="off"
      spellcheck="false"
      maxlength="8192"
      ${problem !== null && html` aria-invalid="true"`}
    />
    <button>Sign in</button>
    <p class="quiet">A token made with <code>--viewer</code> reads and changes nothing.</p>
  </form>`
  return sendHtml(reply, page({ ...frame, person: null }, { title: 'Calstream console', at: '', body }))
}
