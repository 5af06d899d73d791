// Repairs: what operators let be done to many connections at once. First the count, then the act;
// what was asked for stays as the audit.
import type { FastifyInstance, FastifyReply } from 'fastify'
import { CONNECTION_STATES } from '#shared/domain/connection-facts.ts'
import { isUuid } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import {
  DEFAULT_RATES,
  filterProblem,
  RATE_MAX,
  REPAIR_KINDS,
  type RepairFilter,
  type RepairKind,
} from '#shared/domain/repair.ts'
import { admissionOf } from '#shared/gates/toggles.ts'
import { abortRepair, readRepairs, startRepair, type Repair } from '#shared/store/repairs.ts'
import { countMatches } from '#shared/store/repair-matches.ts'
import { PageTrouble, wantsJson } from '../http/server.ts'
import { personOf } from '../http/sign-in.ts'
import type { Person } from '../http/sessions.ts'
import { html, type Html, type Part } from '../html.ts'
import { empty, section, table } from '../layout.ts'
import { badge, count, counted, span, when, wordsOf, type Tone } from '../words.ts'
import type { Page, PageDeps } from './pages.ts'

interface Repairs {
  readonly as_of: string
  readonly repairs: readonly RepairLine[]
}

interface RepairLine {
  readonly id: string
  readonly kind: RepairKind
  readonly filter: RepairFilter
  readonly by: string
  readonly asked_at: string
  readonly state: string
  readonly total: number
  readonly done: number
  readonly failed: number
  readonly rate_per_s: number
  readonly last_error: string | null
  readonly waits_for: string | null
  readonly ended_at: string | null
  readonly ended_by: string | null
}

interface DryRun {
  readonly kind: RepairKind
  readonly filter: RepairFilter
  readonly rate_per_s: number
  /** How many connections or dead letters it would touch. */
  readonly matches: number
  /** At this rate. */
  readonly lasts_seconds: number
}

const SHOWN_MAX = 100

/** What each does, as a sentence without its subject. */
const ACTS: Readonly<Record<RepairKind, string>> = {
  sync_now: 'asks for a sync now',
  full_read: 'reads all calendars from the beginning',
  pause: 'stops all work until it is resumed',
  resume: 'lets what was paused or disabled work again',
  probe: 'asks the vendor now whether a parked account is let in again',
  replay_dead_letters: 'puts dead letters back into their topics',
}

export function repairsPage({ db }: PageDeps): Page<Repairs> {
  return {
    path: '/repairs',
    at: '/repairs',
    async read() {
      const rows = await readRepairs(db, { limit: SHOWN_MAX })
      return { as_of: isoOf(rows[0]?.now ?? Date.now() * 1000), repairs: rows.map(lineOf) }
    },
    view: (repairs, { person }) => ({
      title: 'Repairs',
      aside: person.role === 'operator' && html`<p><a class="button" href="/repairs/new">New repair</a></p>`,
      body: listView(repairs, person),
    }),
  }
}

/** The dry run: how many it would touch. Nothing is done. */
export function newRepairPage({
  db,
  gates,
}: PageDeps): Page<DryRun | { readonly kinds: typeof REPAIR_KINDS }> {
  return {
    path: '/repairs/new',
    at: '/repairs',
    async read({ query }) {
      if (query['kind'] === undefined || query['kind'] === '') return { kinds: REPAIR_KINDS }
      const { kind, filter, ratePerS } = askedOf(query)
      const matches = await countMatches(db, kind, filter, admissionOf(gates.standing()))
      return { kind, filter, rate_per_s: ratePerS, matches, lasts_seconds: Math.ceil(matches / ratePerS) }
    },
    view: (seen, { query, person }) =>
      'kinds' in seen
        ? { title: 'New repair', body: formView(query) }
        : { title: 'New repair', body: html`${dryRunView(seen, query, person)}${formView(query)}` },
  }
}

/** What changes something: starting and ending a repair. */
export function registerRepairs(app: FastifyInstance, { db, gates }: PageDeps): void {
  app.post('/repairs', async (request, reply) => {
    const { kind, filter, ratePerS } = askedOf((request.body ?? {}) as Readonly<Record<string, string>>)
    const by = personOf(request).name
    const started = await startRepair(db, { kind, filter, by, ratePerS }, admissionOf(gates.standing()))
    switch (started.kind) {
      case 'started':
      case 'running':
        return answer(reply, wantsJson(request), lineOf(started.repair))
      case 'nothing':
        throw trouble('Nothing is like that, so nothing was begun.')
      case 'too-many':
        throw trouble(`${counted(started.running)} repairs run already. Wait for one to end, or abort one.`)
      default:
        return started satisfies never
    }
  })
  app.post('/repairs/:id/abort', async (request, reply) => {
    const { id } = request.params as { id: string }
    const ended = isUuid(id) ? await abortRepair(db, id, personOf(request).name) : null
    if (ended === null)
      throw new PageTrouble({
        status: 404,
        title: 'There is no such repair',
        detail: 'Look at the list of repairs.',
      })
    return answer(reply, wantsJson(request), lineOf(ended))
  })
}

function answer(reply: FastifyReply, isJson: boolean, line: RepairLine): FastifyReply {
  return isJson ? reply.type('application/json; charset=utf-8').send(line) : reply.redirect('/repairs', 303)
}

function trouble(detail: string): PageTrouble {
  return new PageTrouble({ status: 400, title: 'This repair was not begun', detail })
}

const FIELDS = ['connection', 'provider', 'vendor', 'state', 'code'] as const

/** The repair that fields ask for. Throws PageTrouble for one that makes no sense. */
function askedOf(fields: Readonly<Record<string, string>>): {
  readonly kind: RepairKind
  readonly filter: RepairFilter
  readonly ratePerS: number
} {
  const kind = REPAIR_KINDS.find((one) => one === fields['kind'])
  if (kind === undefined) throw trouble(`A repair is one of ${REPAIR_KINDS.join(', ')}.`)
  const named = FIELDS.flatMap((name) => {
    const value = (fields[name] ?? '').trim()
    return value === '' ? [] : [[name, value] as const]
  })
  const filter: RepairFilter = {
    ...Object.fromEntries(named),
    ...sinceOf(fields['since'] ?? ''),
    ...(fields['all'] === 'yes' ? { all: true as const } : {}),
  }
  const problem = filterProblem(kind, filter)
  if (problem !== null) throw trouble(problem)
  return { kind, filter, ratePerS: rateOf(fields['rate'] ?? '', kind) }
}

/** An instant as a form or a program gives it, in UTC. */
function sinceOf(text: string): Pick<RepairFilter, 'since'> {
  if (text === '') return {}
  const at = Date.parse(/Z|[+-]\d\d:\d\d$/.test(text) ? text : `${text}Z`)
  if (Number.isNaN(at)) throw trouble('Since when is a time in UTC, like 2026-11-30T14:00.')
  return { since: at * 1000 }
}

function rateOf(text: string, kind: RepairKind): number {
  if (text.trim() === '') return DEFAULT_RATES[kind]
  const rate = Number(text)
  if (!(rate > 0 && rate <= RATE_MAX))
    throw trouble(`A rate is a number of them a second, at most ${RATE_MAX}.`)
  return rate
}

function lineOf(repair: Repair): RepairLine {
  return {
    id: repair.id,
    kind: repair.kind,
    filter: repair.filter,
    by: repair.by,
    asked_at: isoOf(repair.askedAt),
    state: repair.state,
    total: repair.total,
    done: repair.done,
    failed: repair.failed,
    rate_per_s: repair.ratePerS,
    last_error: repair.lastError,
    waits_for: repair.waitsFor,
    ended_at: isoOf(repair.endedAt),
    ended_by: repair.endedBy,
  }
}

const TONES: Readonly<Record<string, Tone>> = { running: 'busy', done: 'good', aborted: 'off', failed: 'bad' }

function listView({ repairs, as_of: asOf }: Repairs, person: Person): Html {
  if (repairs.length === 0)
    return html`<section>
      ${empty('No repair was ever asked for.', 'What is begun here stays in this list, with who asked for it.')}
    </section>`
  const isRunning = repairs.some(({ state }) => state === 'running')
  const rows = repairs.map(
    (one) =>
      html`<tr>
        <th scope="row">${wordsOf(one.kind)}</th>
        <td>${filterWords(one.filter)}</td>
        <td>${badge(TONES[one.state] ?? 'warn', one.state)}</td>
        <td class="wide">${progressView(one)}</td>
        <td>
          ${one.by},
          ${when(one.asked_at, asOf)}${one.ended_by !== null && html`<br /><small>ended by ${one.ended_by}</small>`}
        </td>
        <td>
          ${one.state === 'running' && person.role === 'operator' ? abortForm(one) : when(one.ended_at, asOf, '–')}
        </td>
      </tr>`,
  )
  const again =
    isRunning && html` hx-get="/repairs" hx-trigger="every 2s" hx-select="#repairs" hx-swap="outerMorph"`
  return html`<div id="repairs" ${again}>
    <section>${table('Repairs', ['What', 'Which', 'State', 'Progress', 'Asked by', 'Ended'], rows)}</section>
  </div>`
}

function progressView({
  total,
  done,
  failed,
  waits_for: waits,
  last_error: error,
  rate_per_s: rate,
  state,
}: RepairLine): Part {
  const left = Math.max(0, total - done - failed)
  const words = `${counted(done)} of ${counted(total)}${failed > 0 ? `, ${counted(failed)} failed` : ''}`
  return html`<progress max="${Math.max(1, total)}" value="${done + failed}" aria-label="${words}"></progress>
    ${words}${state === 'running' && left > 0 && html`<small>, about ${span(left / rate)} left</small>`}
    ${waits !== null && html`<br />${badge('warn', 'waits')} ${waits}`}${error !== null && html`<br /><small>${error}</small>`}`
}

function abortForm({ id, kind }: RepairLine): Html {
  return html`<form method="post" action="/repairs/${id}/abort">
    <button class="danger">Abort<span class="hidden"> ${wordsOf(kind)}</span></button>
  </form>`
}

function filterWords({ since, all, anyway, ...named }: RepairFilter): Part {
  const parts: Part[] = Object.entries(named).map(
    ([name, value]) =>
      html`${name} ${isUuid(value) ? html`<code>${value.slice(0, 8)}</code>` : wordsOf(value)}`,
  )
  if (all) parts.push('all of them')
  if (since !== undefined) parts.push(html`since ${isoOf(since).slice(0, 16)}`)
  if (anyway) parts.push('also those that no reader understood')
  return parts.map((part, index) => html`${index > 0 && ', '}${part}`)
}

function dryRunView(seen: DryRun, query: Readonly<Record<string, string>>, person: Person): Html {
  const what = seen.kind === 'replay_dead_letters' ? 'dead letter' : 'connection'
  if (seen.matches === 0)
    return html`<div class="verdict warn" role="status">
      <p>Nothing is like that: this repair would touch no ${what}.</p>
    </div>`
  const hidden = Object.entries(query).filter(([, value]) => value !== '')
  return html`<div class="verdict warn" role="status">
    <h2>This would touch ${count(seen.matches, what)}</h2>
    <p>
      It ${ACTS[seen.kind]}, for ${filterWords(seen.filter)}. At ${seen.rate_per_s} a second it lasts about
      ${span(seen.lasts_seconds)}, and can be aborted meanwhile. Nothing has been done yet.
    </p>
    ${person.role === 'operator' ? html`<form method="post" action="/repairs">${hidden.map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}" />`)}<button>Begin, for ${count(seen.matches, what)}</button></form>` : html`<p>You may read only.</p>`}
  </div>`
}

function formView(query: Readonly<Record<string, string>>): Html {
  const given = (name: string): string => query[name] ?? ''
  const states = CONNECTION_STATES.filter((one) => one !== 'paused' && one !== 'unknown')
  const acts = REPAIR_KINDS.map((kind) => html`<br /><strong>${wordsOf(kind)}</strong> ${ACTS[kind]}.`)
  return section(
    'What, and for which',
    html`<form class="fields" method="get" action="/repairs/new">
        ${choice('What', 'kind', { values: REPAIR_KINDS, none: null, given: given('kind') })}
        ${choice('State', 'state', { values: states, none: 'any', given: given('state') })}
        ${choice('Vendor', 'vendor', { values: ['google', 'microsoft'], none: 'any', given: given('vendor') })}
        ${entry('Connection', 'connection', given('connection'), 'uuid')}
        ${entry('Provider', 'provider', given('provider'), 'uuid')}
        ${entry('In trouble since (UTC)', 'since', given('since'), '2026-11-30T14:00')}
        ${entry('Code, of dead letters', 'code', given('code'), 'vendor/…')}
        ${entry('So many a second', 'rate', given('rate'), 'usual')}
        <label class="check">
          <input type="checkbox" name="all" value="yes" ${given('all') === 'yes' && html`checked`} />
          All of them, whatever they are
        </label>
        <button class="plain">Count them</button>
      </form>
      <p class="quiet">Counting changes nothing. ${acts}</p>`,
  )
}

function entry(words: string, name: string, value: string, placeholder: string): Html {
  return html`<label>
    ${words}
    <input
      name="${name}"
      value="${value}"
      placeholder="${placeholder}"
      autocomplete="off"
      spellcheck="false"
    />
  </label>`
}

interface Choice {
  readonly values: readonly string[]
  /** The words of no choice; null: there has to be one. */
  readonly none: string | null
  readonly given: string
}

function choice(words: string, name: string, { values, none, given }: Choice): Html {
  const options = values.map(
    (one) => html`<option value="${one}" ${one === given && html`selected`}>${wordsOf(one)}</option>`,
  )
  return html`<label>
    ${words}
    <select name="${name}">
      ${none !== null && html`<option value="">${none}</option>`} ${options}
    </select>
  </label>`
}
