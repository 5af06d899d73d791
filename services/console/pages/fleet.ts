// The fleet: what needs a look, and the figures of the whole installation, live.
import { html, type Html } from '../html.ts'
import { empty, section, table } from '../layout.ts'
import { CAUSE_CODES } from '#shared/domain/causes.ts'
import { causeBadge } from '../why.ts'
import { badge, counted, span, stateBadge, vendorName, when, wordsOf, type Tone } from '../words.ts'
import type { Fleet, ServiceFigures } from '../fleet/fleet.ts'
import type { Point } from '../fleet/history.ts'
import type { Page, PageDeps } from './pages.ts'

export const FLEET_LIVE = '/fleet/live'

export function fleetPage({ watch }: PageDeps): Page<Fleet> {
  return {
    path: '/fleet',
    at: '/fleet',
    read: () => watch.read(),
    view: (fleet) => ({
      title: 'Fleet',
      aside: html`<p class="live" data-live role="status">
        <span class="dot" aria-hidden="true"></span><span data-live-words>live</span>
      </p>`,
      isLive: true,
      hasCharts: true,
      body: html`<div id="fleet" hx-sse:connect="${FLEET_LIVE}" hx-swap="innerMorph">
          ${fleetView(fleet, watch.history.last())}
        </div>
        ${section('Backlog, last hour', html`<div class="chart" data-chart data-points="${JSON.stringify(watch.history.all())}" role="img" aria-label="Seconds that the oldest unpublished change waited, over the last hour"></div>`)}`,
    }),
  }
}

/** What is sent again and again. `last`: the newest point of the chart. */
export function fleetView(fleet: Fleet, last: Point | null): Html {
  return html`${verdict(fleet)} ${tiles(fleet)}
    <div class="columns">
      ${section('Connections', statesView(fleet))} ${section('Why not up to date', causesView(fleet))}
      ${section('Services', servicesView(fleet))} ${section('Vendors', vendorsView(fleet))}
      ${section('Gates', gatesView(fleet))}
      ${fleet.failures.length > 0 && section('What fails', failuresView(fleet))}
    </div>
    <p class="quiet">
      As of ${when(fleet.as_of, new Date().toISOString())}.
      ${fleet.holds !== null && html`${counted(fleet.holds.calendars)} calendars and ${counted(fleet.holds.events)} events are stored.`}
    </p>
    <data id="point" hidden value="${last === null ? '' : JSON.stringify(last)}"></data>`
}

function verdict({ is_well: isWell, findings }: Fleet): Html {
  if (isWell)
    return html`<div class="verdict good">
      <p>
        <span aria-hidden="true">✓</span> All is well. Every gate is open, and every connection is in sync or
        on its way.
      </p>
    </div>`
  return html`<div class="verdict ${findings[0]?.level ?? 'warn'}">
    <h2>${findings.length === 1 ? 'One thing needs' : `${findings.length} things need`} a look</h2>
    <ul>
      ${findings.map(
        ({ level, text, href }) =>
          html`<li>
            <span class="sign ${level}" aria-hidden="true">${level === 'bad' ? '✕' : '▲'}</span
            ><span
              >${text}${href !== null && html` <a href="${href}">Show<span class="hidden"> ${text}</span></a>`}</span
            >
          </li>`,
      )}
    </ul>
  </div>`
}

function tiles({ connections, backlog, vendors }: Fleet): Html {
  const ages = vendors.flatMap(({ oldest_sync_seconds: age }) => age ?? [])
  const held = backlog?.held.reduce((total, one) => total + one.connections, 0) ?? null
  return html`<ul class="tiles">
    ${tile('In sync', html`${counted(connections.in_sync)}<small> of ${counted(connections.total)}</small>`, '/connections?state=in_sync')}
    ${tile('Oldest sync', ages.length === 0 ? '–' : span(Math.max(...ages)), null)}
    ${tile('Waits to be published', backlog === null ? '–' : backlog.outbox_rows === 0 ? html`0<small> changes</small>` : html`${span(backlog.outbox_oldest_seconds)}<small> · ${counted(backlog.outbox_rows)}</small>`, null)}
    ${tile('Held by gates', held === null ? '–' : counted(held), '/gates')}
    ${tile('Dead letters', backlog === null ? '–' : counted(backlog.dead_letters), '/dead-letters')}
  </ul>`
}

function tile(name: string, figure: Html | string, href: string | null): Html {
  const inner = html`<span class="name">${name}</span><strong>${figure}</strong>`
  return html`<li>
    ${href === null ? html`<span class="tile">${inner}</span>` : html`<a class="tile" href="${href}">${inner}</a>`}
  </li>`
}

function statesView({ connections }: Fleet): Html {
  const vendors = ['google', 'microsoft'] as const
  const states = [...new Set(connections.by_state.map(({ state }) => state))]
  if (states.length === 0)
    return empty('No account is connected yet.', 'An app asks for a link, and a person follows it.')
  const of = (state: string, vendor: string) =>
    connections.by_state.find((line) => line.state === state && line.vendor === vendor)
  const rows = states.toSorted(byWeight).map((state) => {
    const ages = vendors.flatMap((vendor) => of(state, vendor)?.oldest_sync_seconds ?? [])
    return html`<tr>
      <th scope="row"><a href="/connections?state=${state}">${stateBadge(state)}</a></th>
      ${vendors.map((vendor) => html`<td class="number">${counted(of(state, vendor)?.connections ?? 0)}</td>`)}
      <td class="number">${ages.length === 0 ? '–' : `${span(Math.max(0, ...ages))} ago`}</td>
    </tr>`
  })
  return table(
    'Connections by state',
    ['State', right('Google'), right('Microsoft'), right('Oldest sync')],
    rows,
  )
}

function right(words: string): Html {
  return html`<span class="right">${words}</span>`
}

const WEIGHT = [
  'needs_reauth',
  'late',
  'retrying',
  'partly_in_sync',
  'unknown',
  'paused',
  'disabled',
  'first_sync',
  'catching_up',
  'in_sync',
]

function byWeight(a: string, b: string): number {
  const at = (state: string) => (WEIGHT.includes(state) ? WEIGHT.indexOf(state) : WEIGHT.length)
  return at(a) - at(b)
}

function causesView({ causes, as_of: asOf }: Fleet): Html {
  if (causes.length === 0) return empty('Every connection is up to date.')
  const codes = CAUSE_CODES.filter((code) => causes.some(({ cause }) => cause === code))
  const rows = codes.map((code) => {
    const own = causes.filter(({ cause }) => cause === code)
    const since = own.flatMap(({ oldest_since: one }) => one ?? []).toSorted()[0] ?? null
    const number = own.reduce((sum, { connections }) => sum + connections, 0)
    return html`<tr>
      <th scope="row"><a href="/connections?cause=${code}">${causeBadge(code)}</a></th>
      <td class="number">${counted(number)}</td>
      <td>${when(since, asOf, 'not known')}</td>
    </tr>`
  })
  return table('Causes', ['Cause', right('Connections'), 'Oldest since'], rows)
}

const SERVICE_TONES: Readonly<Record<ServiceFigures['state'], Tone>> = {
  alive: 'good',
  not_ready: 'warn',
  short: 'warn',
  restarting: 'bad',
  lost: 'bad',
}

function servicesView({ services, as_of: asOf }: Fleet): Html {
  const rows = services.map(
    ({ service, state, processes, versions, since, problems, last_progress_at: at }) =>
      html`<tr>
        <th scope="row">${service}</th>
        <td>
          ${badge(SERVICE_TONES[state], wordsOf(state))}
          ${since !== null && html`<small>since ${when(since, asOf)}</small>`}
          ${problems.map((problem) => html`<br /><small>${problem}</small>`)}
        </td>
        <td class="number">${processes}</td>
        <td>${versions.length === 0 ? '–' : versions.join(', ')}</td>
        <td>${when(at, asOf, '–')}</td>
      </tr>`,
  )
  return table('Services', ['Service', 'State', right('Processes'), 'Version', 'Last work'], rows)
}

function vendorsView({ vendors, as_of: asOf }: Fleet): Html {
  const rows = vendors.map(
    (one) =>
      html`<tr>
        <th scope="row"><a href="/connections?vendor=${one.vendor}">${vendorName(one.vendor)}</a></th>
        <td class="number">${counted(one.connections)}</td>
        <td class="number">
          ${counted(one.open_channels)}${one.channels_ending > 0 && html` <small>(${counted(one.channels_ending)} end within 6 h)</small>`}
        </td>
        <td>${when(one.last_notification_at, asOf, 'not of late')}</td>
      </tr>`,
  )
  return table('Vendors', ['Vendor', right('Connections'), right('Open channels'), 'Last notification'], rows)
}

function gatesView({ gates }: Fleet): Html {
  if (gates === null) return html`<p>${badge('warn', 'unknown')} Unleash does not answer.</p>`
  const rows = gates.map(
    ({ gate, state, open }) =>
      html`<tr>
        <th scope="row"><a href="/gates">${shortGate(gate)}</a></th>
        <td>${badge(open ? 'good' : 'off', state)}</td>
      </tr>`,
  )
  return table('Gates', ['Gate', 'State'], rows)
}

/** `CALENDAR_ALLOWLIST_PROVIDER_IDS` as "allowlist provider". */
export function shortGate(gate: string): string {
  return wordsOf(
    gate
      .replace(/^CALENDAR_/, '')
      .replace(/_(?:ENABLED|IDS)$/, '')
      .toLowerCase(),
  )
}

function failuresView({ failures }: Fleet): Html {
  const rows = failures.map(
    ({ vendor, code, connections }) =>
      html`<tr>
        <th scope="row"><code>${code}</code></th>
        <td>${vendorName(vendor)}</td>
        <td class="number">${counted(connections)}</td>
      </tr>`,
  )
  return table('What fails', ['Code', 'Vendor', right('Connections')], rows)
}
