// The connected accounts: search, filters and pages by key.
import { CONNECTION_STATES, STALE_AFTER_MS } from '#shared/domain/connection-facts.ts'
import { connectionWords } from '#shared/domain/connection-words.ts'
import type { Admission } from '#shared/domain/gates.ts'
import { connectionId, isUuid, providerId, type VendorName } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import { admissionOf, type Toggles } from '#shared/gates/toggles.ts'
import { listAccounts, type AccountLine, type AccountPlace } from '#shared/store/console.ts'
import { CAUSE_CODES, type CauseCode } from '#shared/domain/causes.ts'
import { listByCause } from '#shared/store/cause-counts.ts'
import { gateOf } from '../gate-of.ts'
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
    readonly cause: string
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
  const place = placeOf(query['after'])
  const standing = gates.standing()
  const admission = admissionOf(standing)
  const ids = filter.cause === '' ? null : await idsByCause(db, admission, { filter, place })
  const rows = await listAccounts(
    db,
    { admission, staleAfterMs: STALE_AFTER_MS },
    {
      search: filter.q === '' ? null : filter.q,
      state: filter.state === '' ? null : filter.state,
      vendor: filter.vendor === '' ? null : filter.vendor,
      provider: filter.provider === '' ? null : filter.provider,
      ids: ids === null ? null : ids.slice(0, PAGE),
      after: ids === null ? place : null,
      limit: PAGE + 1,
    },
  )
  const shown = rows.slice(0, PAGE)
  return {
    as_of: isoOf(shown[0]?.now ?? Date.now() * 1000),
    filter,
    connections: shown.map((line) => accountOf(line, standing)),
    next: ids === null ? nextOf(rows) : nextOfCause(ids),
  }
}

function nextOf(rows: readonly AccountLine[]): string | null {
  const last = rows.slice(0, PAGE).at(-1)
  return rows.length > PAGE && last !== undefined ? cursorOf(last.place, last.id) : null
}

/** Pages of a cause go by the ids. */
function nextOfCause(ids: readonly string[]): string | null {
  const last = ids.slice(0, PAGE).at(-1)
  return ids.length > PAGE && last !== undefined ? cursorOf('', last) : null
}

/** Those that have a cause, after a place by their ids, one more than a page. */
async function idsByCause(
  db: PageDeps['db'],
  admission: Admission,
  { filter, place }: { readonly filter: Accounts['filter']; readonly place: AccountPlace | null },
): Promise<readonly string[]> {
  const { cause, vendor, provider } = filter
  const found = await listByCause(db, admission, {
    cause: cause as CauseCode,
    vendor: vendor === '' ? null : (vendor as VendorName),
    provider: provider === '' ? null : providerId(provider),
    sinceBefore: null,
    after: place === null ? null : connectionId(place.id),
    limit: PAGE + 1,
  })
  return found.map(({ id }) => id)
}

/** Throws PageTrouble for a filter that makes no sense. */
function filterOf(query: Asked['query']): Accounts['filter'] {
  const { q = '', state = '', cause = '', vendor = '', provider = '' } = query
  const trouble = (detail: string) =>
    new PageTrouble({ status: 400, title: 'This filter makes no sense', detail })
  if (q.length > SEARCH_MAX) throw trouble(`A search has at most ${SEARCH_MAX} characters.`)
  if (state !== '' && !CONNECTION_STATES.some((one) => one === state))
    throw trouble(`A state is one of ${CONNECTION_STATES.join(', ')}.`)
  if (cause !== '' && !CAUSE_CODES.some((one) => one === cause))
    throw trouble(`A cause is one of ${CAUSE_CODES.join(', ')}.`)
  if (!['', 'google', 'microsoft'].includes(vendor)) throw trouble('A vendor is google or microsoft.')
  if (provider !== '' && !isUuid(provider)) throw trouble('A provider is named by its uuid.')
  return { q: q.trim(), state, cause, vendor, provider }
}

function cursorOf(place: string, id: string): string {
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

function filters({ q, state, cause, vendor, provider }: Accounts['filter']): Html {
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
    <label>
      Cause
      <select name="cause">
        ${option('', 'any', cause)}${CAUSE_CODES.map((one) => option(one, wordsOf(one), cause))}
      </select>
    </label>
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
