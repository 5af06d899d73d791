// The gates: what each says, since when, and who switched it. They are switched at the flag server.
import type { GATES } from '#shared/domain/gates.ts'
import { readSwitched, type Switched } from '#shared/gates/switched.ts'
import { describeGates } from '#shared/gates/toggles.ts'
import type { Secret } from '#shared/process/secret.ts'
import { html, type Html } from '../html.ts'
import { table } from '../layout.ts'
import { badge, when } from '../words.ts'
import { shortGate } from './fleet.ts'
import type { Page, PageDeps } from './pages.ts'

/** Where the flag server is for people and for us. */
export interface FlagServer {
  /** Its pages, without /api. */
  readonly url: string
  /** May read its events; null: not given. */
  readonly token: Secret | null
  readonly project: string
  readonly environment: string
}

interface GatesSeen {
  readonly as_of: string
  /** null while the flag server does not answer. */
  readonly gates: readonly GateSeen[] | null
  /** Why it is not known who switched; null where it is. */
  readonly log_problem: string | null
  readonly console_url: string
}

interface GateSeen {
  readonly gate: string
  readonly state: string
  readonly open: boolean
  readonly last_act: { readonly at: string; readonly by: string; readonly what: string } | null
  readonly url: string
}

/** What stops while a gate is closed. */
const STOPS: Readonly<Record<(typeof GATES)[number], string>> = {
  CALENDAR_SYNC_ENABLED: 'all reading of calendars',
  CALENDAR_JOBS_ENABLED: 'the jobs: reconcile, channels, lists',
  CALENDAR_WEBHOOK_ENABLED: 'taking notifications of vendors',
  CALENDAR_OAUTH_ENABLED: 'connecting accounts',
  CALENDAR_ALLOWLIST_PROVIDER_IDS: 'providers that are not on the list',
  CALENDAR_ALLOWLIST_CONNECTION_IDS: 'connections that are not on the list',
}

const NO_TOKEN =
  'Who switched what is told once CONSOLE_UNLEASH_TOKEN names a token that may read the events of Unleash.'

export function gatesPage({ gates }: PageDeps, flags: FlagServer): Page<GatesSeen> {
  return {
    path: '/gates',
    at: '/gates',
    async read() {
      const standing = gates.standing()
      const log = await logOf(flags)
      return {
        as_of: new Date().toISOString(),
        gates:
          standing &&
          describeGates(standing).map(({ gate, state, isOpen }) => ({
            gate,
            state,
            open: isOpen,
            last_act: actOn(gate, log.acts),
            url: `${flags.url}/projects/${flags.project}/features/${gate}`,
          })),
        log_problem: log.problem,
        console_url: flags.url,
      }
    },
    view: (seen) => ({
      title: 'Gates',
      aside: html`<p><a href="${seen.console_url}" rel="noreferrer">Open Unleash</a></p>`,
      body: view(seen),
    }),
  }
}

async function logOf({
  url,
  token,
  environment,
}: FlagServer): Promise<{ readonly acts: readonly Switched[]; readonly problem: string | null }> {
  if (token === null) return { acts: [], problem: NO_TOKEN }
  try {
    const place = { console: url, token, environment }
    return { acts: await readSwitched(place, AbortSignal.timeout(3_000)), problem: null }
  } catch (error) {
    const why =
      error instanceof Error && error.message.startsWith('Unleash')
        ? error.message
        : 'Unleash does not answer.'
    return { acts: [], problem: `Who switched what is not known: ${why}` }
  }
}

function actOn(gate: string, acts: readonly Switched[]): GateSeen['last_act'] {
  const act = acts.find((one) => one.gate === gate)
  return act === undefined ? null : { at: act.at, by: act.by, what: act.what }
}

function view({ gates, log_problem: problem, as_of: asOf }: GatesSeen): Html {
  if (gates === null)
    return html`<div class="verdict bad" role="alert">
      <p>
        ${badge('warn', 'unknown')} Unleash does not answer, so whether anything may run is not known, and
        nothing is run. Start Unleash, or correct UNLEASH_URL and UNLEASH_TOKEN; work continues automatically.
      </p>
    </div>`
  const rows = gates.map(
    ({ gate, state, open, last_act: act, url }) =>
      html`<tr>
        <th scope="row">
          <a href="${url}" rel="noreferrer">${shortGate(gate)}</a><br /><small><code>${gate}</code></small>
        </th>
        <td>${badge(open ? 'good' : 'off', state)}</td>
        <td>
          ${act === null ? html`<span class="quiet">not known</span>` : html`${act.what} ${when(act.at, asOf)}`}
        </td>
        <td>${act === null ? html`<span class="quiet">–</span>` : act.by}</td>
        <td class="wide">
          ${open ? html`closed, it would stop ${STOPS[gate as keyof typeof STOPS]}` : html`it stops ${STOPS[gate as keyof typeof STOPS]}`}
        </td>
      </tr>`,
  )
  return html`<section>${table('Gates', ['Gate', 'State', 'Last act', 'By', 'What it stops'], rows)}</section>
    ${problem !== null && html`<p class="quiet">${problem}</p>`}
    <p class="quiet">
      Gates are switched in Unleash, or with <code>calstream gates open &lt;name&gt;</code>. Services follow
      within 2 s.
    </p>`
}
