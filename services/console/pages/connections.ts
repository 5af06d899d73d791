// The connected accounts: search, filters and pages by key.
import { CONNECTION_STATES, STALE_AFTER_MS } from '#shared/domain/connection-facts.ts'
import { connectionWords } from '#shared/domain/connection-words.ts'
import { isUuid } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import { admissionOf, type Toggles, syncGate } from '#shared/gates/toggles.ts'
import type { GateDecision } from '#shared/domain/gates.ts'
import { listAccounts, type AccountLine, type AccountPlace } from '#shared/store/console.ts'
import { PageTrouble } from '../http/server.ts'
import { html, type Html, type Part } from '../html.ts'
import { empty, table } from '../layout.ts'
import { stateBadge, vendorName, when, wordsOf } from '../words.ts'
import type { Asked, Page, PageDeps } from './pages.ts'

export interface Accounts {
  readonly as_of: string
  readonly filter: {
    readonly q: string
    readonly state: string
    readonly vendor: string
    readonly provider: string
  }
  readonly connections: readonly Account[]
  /** `after` of the next page; null on the last. */
  readonly next: string | null
}

interface Account {
  readonly id: string
  readonly provider: string
  readonly vendor: string
  readonly account: string
  readonly state: string
  readonly summary: string
  readonly next_step: string
  readonly last_synced_at: string | null
  readonly next_try_at: string | null
  readonly errors: number
  readonly code: string | null
  readonly failing_calendars: number
}

const PAGE = 50
const SEARCH_MAX = 200

export function connectionsPage(deps: PageDeps): Page<Accounts> {
  return {
    path: '/connections',
    at: '/connections',
    read: (asked) => read(deps, asked),
    view: (accounts, { person }) => ({
      title: 'Connections',
      aside: person.role === 'operator' && repairLink(accounts.filter),
      body: view(accounts),
    }),
  }
}

async function read({ db, gates }: PageDeps, { query }: Asked): Promise<Accounts> {
  const filter = filterOf(query)
  const standing = gates.standing()
  const rows = await listAccounts(
    db,
    { admission: admissionOf(standing), staleAfterMs: STALE_AFTER_MS },
    {
      search: filter.q === '' ? null : filter.q,
      states: filter.state === '' ? null : [filter.state],
      vendor: filter.vendor === '' ? null : filter.vendor,
      provider: filter.provider === '' ? null : filter.provider,
      after: placeOf(query['after']),
      limit: PAGE + 1,
    },
  )
  const shown = rows.slice(0, PAGE)
  const last = shown.at(-1)
  return {
    as_of: isoOf(shown[0]?.now ?? Date.now() * 1000),
    filter,
    connections: shown.map((line) => accountOf(line, standing)),
    next: rows.length > PAGE && last !== undefined ? cursorOf(last) : null,
  }
}

/** Throws PageTrouble for a filter that makes no sense. */
function filterOf({ q = '', state = '', vendor = '', provider = '' }: Asked['query']): Accounts['filter'] {
  const trouble = (detail: string) =>
    new PageTrouble({ status: 400, title: 'This filter makes no sense', detail })
  if (q.length > SEARCH_MAX) throw trouble(`A search has at most ${SEARCH_MAX} characters.`)
  if (state !== '' && !CONNECTION_STATES.some((one) => one === state))
    throw trouble(`A state is one of ${CONNECTION_STATES.join(', ')}.`)
  if (!['', 'google', 'microsoft'].includes(vendor)) throw trouble('A vendor is google or microsoft.')
  if (provider !== '' && !isUuid(provider)) throw trouble('A provider is named by its uuid.')
  return { q: q.trim(), state, vendor, provider }
}

function cursorOf({ place, id }: AccountLine): string {
  return Buffer.from(JSON.stringify([place, id])).toString('base64url')
}

/** Throws PageTrouble for what is no place that a page gave. */
function placeOf(after: string | undefined): AccountPlace | null {
  if (after === undefined || after === '') return null
  try {
    const [account, id] = JSON.parse(Buffer.from(after, 'base64url').toString()) as unknown[]
    if (typeof account === 'string' && typeof id === 'string' && isUuid(id)) return { account, id }
  } catch {
    // Told below.
  }
  throw new PageTrouble({
    status: 400,
    title: 'This page is not there',
    detail: 'Begin at the first page: what stands after "after" was none of our places.',
  })
}

/** Whether a connection may sync; unknown while the flag server does not answer. */
export function gateOf(line: Pick<AccountLine, 'providerId' | 'id'>, standing: Toggles | null): GateDecision {
  if (standing === null) return { state: 'unknown', gate: 'CALENDAR_SYNC_ENABLED' }
  return syncGate(standing, line.providerId, line.id)
}

function accountOf(line: AccountLine, standing: Toggles | null): Account {
  const tries = [line.backoffUntil, ...line.illCalendars.map(({ nextTryAt }) => nextTryAt)]
  const ahead = tries.flatMap((at) => (at !== null && at > line.now ? [at] : []))
  return {
    id: line.id,
    provider: line.providerId,
    vendor: line.vendor,
    account: line.account,
    ...connectionWords(line, gateOf(line, standing)),
    last_synced_at: isoOf(line.lastSyncedAt),
    next_try_at: ahead.length === 0 ? null : isoOf(Math.min(...ahead)),
    errors: line.errorCount,
    code: line.lastError?.code ?? line.illCalendars[0]?.code ?? null,
    failing_calendars: line.illCount,
  }
}

function view(accounts: Accounts): Html {
  return html`${filters(accounts.filter)}
    <div id="results" aria-live="polite">${results(accounts)}</div>`
}

/** To a repair of those that are shown; without a filter there is none. */
function repairLink({ state, vendor, provider, q }: Accounts['filter']): Part {
  const named = Object.entries({ state, vendor, provider }).filter(([, value]) => value !== '')
  if (named.length === 0 || q !== '') return null
  return html`<p><a href="/repairs/new?${new URLSearchParams(named).toString()}">Repair these…</a></p>`
}

function filters({ q, state, vendor, provider }: Accounts['filter']): Html {
  const option = (value: string, words: string, chosen: string): Html =>
    html`<option value="${value}" ${value === chosen && html` selected`}>${words}</option>`
  return html`<form
    class="filters"
    role="search"
    method="get"
    action="/connections"
    hx-get="/connections"
    hx-trigger="input delay:250ms, submit"
    hx-target="#results"
    hx-select="#results"
    hx-swap="outerHTML"
    hx-push-url="true"
  >
    <label
      >Account or id
      <input
        type="search"
        name="q"
        value="${q}"
        maxlength="${SEARCH_MAX}"
        placeholder="ada@example.com"
        autocomplete="off"
        spellcheck="false"
    /></label>
    <label
      >State
      <select name="state">
        ${option('', 'any', state)}${CONNECTION_STATES.map((one) => option(one, wordsOf(one), state))}
      </select></label
    >
    <label
      >Vendor
      <select name="vendor">
        ${option('', 'any', vendor)}${option('google', 'Google', vendor)}${option('microsoft', 'Microsoft', vendor)}
      </select></label
    >
    ${provider !== '' && html`<label>Provider <input name="provider" value="${provider}" size="36" /></label>`}
    <button>Search</button>
  </form>`
}

function results({ connections, next, filter, as_of: asOf }: Accounts): Html {
  if (connections.length === 0)
    return Object.values(filter).every((value) => value === '')
      ? empty('No account is connected yet.', 'An app asks for a link, and a person follows it.')
      : empty('No connection is like that.', html`<a href="/connections">Show all of them</a>`)
  const rows = connections.map(
    (one) =>
      html`<tr>
        <th scope="row"><a href="/connections/${one.id}">${one.account}</a></th>
        <td>${vendorName(one.vendor)}</td>
        <td>${stateBadge(one.state)}</td>
        <td class="wide">${one.summary}</td>
        <td>${when(one.last_synced_at, asOf)}</td>
        <td>
          ${one.next_try_at === null ? html`<span class="quiet">–</span>` : when(one.next_try_at, asOf)}
        </td>
      </tr>`,
  )
  return html`${table('Connections', ['Account', 'Vendor', 'State', 'Why', 'In sync', 'Next try'], rows)}
  ${pager(filter, next, connections.length)}`
}

function pager(filter: Accounts['filter'], next: string | null, shown: number): Html {
  const address = (after: string): string => {
    const query = new URLSearchParams(
      Object.entries({ ...filter, after }).filter(([, value]) => value !== ''),
    )
    return `/connections?${query.toString()}`
  }
  return html`<nav class="pager" aria-label="Pages of connections">
    <span class="quiet">${shown} shown</span>
    <a href="${address('')}">First page</a>
    ${next !== null && html`<a class="button" href="${address(next)}" rel="next">Next page</a>`}
  </nav>`
}
