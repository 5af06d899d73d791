// The dead letters: what was given up, and why.
import { isUuid } from '#shared/domain/ids.ts'
import { listDeadLetters, type DeadLetterRow } from '#shared/store/dead-letters.ts'
import { PageTrouble } from '../http/server.ts'
import { html, type Html, type Part } from '../html.ts'
import { empty, table } from '../layout.ts'
import { when } from '../words.ts'
import type { Asked, Page, PageDeps } from './pages.ts'

interface Letters {
  readonly as_of: string
  readonly filter: {
    readonly code: string
    readonly vendor: string
    readonly connection: string
    readonly all: boolean
  }
  readonly dead_letters: readonly Letter[]
  /** There are more than are shown. */
  readonly more: boolean
}

interface Letter {
  readonly id: string
  readonly code: string
  readonly attempts: number
  readonly connection: string | null
  readonly topic: string
  readonly first_failed_at: string | null
  readonly last_failed_at: string
  readonly replayed_at: string | null
}

const SHOWN_MAX = 200

export function deadLettersPage({ db }: PageDeps): Page<Letters> {
  return {
    path: '/dead-letters',
    at: '/dead-letters',
    async read({ query }) {
      const filter = filterOf(query)
      const named = (value: string) => (value === '' ? undefined : value)
      const rows = await listDeadLetters(
        db,
        {
          code: named(filter.code),
          vendor: named(filter.vendor),
          connection: named(filter.connection),
          replayed: filter.all,
          ids: null,
        },
        SHOWN_MAX + 1,
      )
      return {
        as_of: new Date().toISOString(),
        filter,
        dead_letters: rows.slice(0, SHOWN_MAX).map(letterOf),
        more: rows.length > SHOWN_MAX,
      }
    },
    view: (letters, { person }) => ({
      title: 'Dead letters',
      aside: person.role === 'operator' && letters.dead_letters.length > 0 && replayLink(letters.filter),
      body: view(letters),
    }),
  }
}

/** To a repair that puts back those that are shown. */
function replayLink({ code, vendor, connection }: Letters['filter']): Html {
  const named = Object.entries({ code, vendor, connection }).filter(([, value]) => value !== '')
  const which: [string, string][] = named.length === 0 ? [['all', 'yes']] : named
  const query = new URLSearchParams([['kind', 'replay_dead_letters'], ...which])
  return html`<p><a class="button" href="/repairs/new?${query.toString()}">Replay these…</a></p>`
}

function filterOf({ code = '', vendor = '', connection = '', all = '' }: Asked['query']): Letters['filter'] {
  if (connection !== '' && !isUuid(connection))
    throw new PageTrouble({
      status: 400,
      title: 'This filter makes no sense',
      detail: 'A connection is named by its uuid.',
    })
  return { code: code.slice(0, 80), vendor: vendor.slice(0, 20), connection, all: all === 'yes' }
}

function letterOf(row: DeadLetterRow): Letter {
  return {
    id: row.id,
    code: row.code,
    attempts: row.attempts,
    connection: row.connectionId,
    topic: row.originTopic,
    first_failed_at: row.firstFailedAt?.toISOString() ?? null,
    last_failed_at: row.lastFailedAt.toISOString(),
    replayed_at: row.replayedAt?.toISOString() ?? null,
  }
}

function view({ dead_letters: letters, filter, more, as_of: asOf }: Letters): Html {
  return html`<form class="filters" method="get" action="/dead-letters">
      <label
        >Code
        <input name="code" value="${filter.code}" placeholder="vendor/…" maxlength="80" autocomplete="off"
      /></label>
      <label
        >Vendor
        <select name="vendor">
          ${['', 'google', 'microsoft'].map((one) => html`<option value="${one}" ${one === filter.vendor && html` selected`}>${one === '' ? 'any' : one}</option>`)}
        </select></label
      >
      <label
        >Those that came back
        <select name="all">
          <option value="">left out</option>
          <option value="yes" ${filter.all && html` selected`}>shown too</option>
        </select></label
      >
      <button>Show</button>
    </form>
    <div id="results">${listView(letters, asOf)}</div>
    ${more && html`<p class="quiet">These are the oldest ${SHOWN_MAX}. Narrow them down, or list more with <code>calstream dead-letters list --limit 1000</code>.</p>`}`
}

function listView(letters: readonly Letter[], asOf: string): Part {
  if (letters.length === 0)
    return empty('No dead letter.', 'What could be neither read nor done would stand here.')
  const rows = letters.map(
    (one) =>
      html`<tr>
        <th scope="row"><code>${one.id}</code></th>
        <td><code>${one.code}</code></td>
        <td class="number">${one.attempts}</td>
        <td>${one.topic}</td>
        <td>
          ${one.connection === null ? html`<span class="quiet">–</span>` : html`<a href="/connections/${one.connection}"><code>${one.connection.slice(0, 8)}</code><span class="hidden"> connection ${one.connection}</span></a>`}
        </td>
        <td>${when(one.last_failed_at, asOf)}</td>
        <td>${when(one.replayed_at, asOf, 'no')}</td>
      </tr>`,
  )
  return table(
    'Dead letters',
    ['Id', 'Code', html`<span class="right">Attempts</span>`, 'Topic', 'Connection', 'Failed', 'Came back'],
    rows,
  )
}
