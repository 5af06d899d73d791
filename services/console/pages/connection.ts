// One connection: why it is as it is, what happened to it, and its calendars.
import { calendarWords, connectionWords } from '#shared/domain/connection-words.ts'
import { connectionId, isUuid } from '#shared/domain/ids.ts'
import { isoOf } from '#shared/domain/instant.ts'
import type { WhyDocument } from '#shared/domain/why-document.ts'
import { readCalendarStates } from '#shared/store/connection-status.ts'
import { readChannels, readMoments, type ChannelLine, type Moment } from '#shared/store/console.ts'
import { PageTrouble } from '../http/server.ts'
import { html, type Html, type Part } from '../html.ts'
import { empty, section, table } from '../layout.ts'
import { badge, count, counted, stateBadge, vendorName, when, wordsOf } from '../words.ts'
import { gateOf } from '../gate-of.ts'
import { readWhy, whyView } from '../why.ts'
import type { Asked, Page, PageDeps } from './pages.ts'

interface OneConnection {
  readonly as_of: string
  readonly id: string
  readonly provider: string
  readonly vendor: string
  readonly account: string | null
  readonly status: string
  readonly state: string
  readonly summary: string
  readonly next_step: string
  readonly why: WhyDocument
  readonly connected_at: string
  readonly last_synced_at: string | null
  readonly next_try_at: string | null
  readonly next_probe_at: string | null
  readonly grant_ends_at: string | null
  readonly failures: number
  readonly last_error: { readonly code: string; readonly message: string; readonly at: string } | null
  readonly calendars: readonly Calendar[]
  readonly timeline: readonly TimelineEntry[]
}

interface Calendar {
  readonly id: string
  readonly name: string | null
  readonly state: string
  readonly summary: string
  readonly why: WhyDocument | null
  readonly last_read_at: string | null
  readonly read_by: 'changes' | 'plain listing'
  readonly code: string | null
  readonly next_try_at: string | null
  readonly channels: readonly { readonly status: string; readonly expires_at: string | null }[]
}

interface TimelineEntry {
  readonly at: string
  readonly kind: Moment['kind']
  readonly text: string
  readonly trace_id: string | null
}

/** Of one account; Google lists up to 10 000, people have a few. */
const CALENDARS_MAX = 1000

export function connectionPage(deps: PageDeps): Page<OneConnection> {
  return {
    path: '/connections/:id',
    at: '/connections',
    read: (asked) => read(deps, asked),
    view: (one, { person }) => ({
      title: one.account ?? 'Erased account',
      aside: html`<p>${stateBadge(one.state)} ${vendorName(one.vendor)}</p>`,
      body: view(one, person.role === 'operator'),
    }),
  }
}

async function read({ db, gates }: PageDeps, { params }: Asked): Promise<OneConnection> {
  const { id: asked = '' } = params
  const id = connectionId(asked)
  const seen = isUuid(asked) ? await readWhy(db, gates.standing(), id) : null
  if (seen === null)
    throw new PageTrouble({
      status: 404,
      title: 'There is no such connection',
      detail:
        'It may have been erased after its account was disconnected. Search for the account among the connections.',
    })
  const [calendars, channels, moments] = await Promise.all([
    readCalendarStates(db, id, CALENDARS_MAX),
    readChannels(db, id),
    readMoments(db, id),
  ])
  const found = seen.rows.connection
  const gate = gateOf(found, gates.standing())
  return {
    as_of: isoOf(found.now),
    id,
    provider: found.providerId,
    vendor: found.vendor,
    account: found.account,
    status: found.status,
    ...connectionWords(found, gate, seen.around),
    why: seen.why,
    connected_at: isoOf(found.connectedAt),
    last_synced_at: isoOf(found.lastSyncedAt),
    next_try_at: isoOf(found.backoffUntil),
    next_probe_at: isoOf(found.probeAt),
    grant_ends_at: isoOf(found.grantEndsAt),
    failures: found.errorCount,
    last_error: found.lastError && {
      code: found.lastError.code,
      message: found.lastError.message,
      at: found.lastError.at,
    },
    calendars: calendars.map((calendar) => ({
      id: calendar.id,
      name: calendar.name,
      ...calendarWords(calendar, found, gate),
      why: seen.calendars.get(calendar.id) ?? null,
      last_read_at: isoOf(calendar.lastReadAt),
      read_by: calendar.plain === null ? 'changes' : 'plain listing',
      code: calendar.ill?.code ?? null,
      next_try_at: isoOf(calendar.ill?.nextTryAt ?? null),
      channels: channels.filter(({ calendarId }) => calendarId === calendar.id).map(channelOf),
    })),
    timeline: moments.map((moment) => ({
      at: isoOf(moment.at),
      kind: moment.kind,
      text: textOf(moment),
      trace_id: moment.traceId,
    })),
  }
}

function channelOf({ status, expiresAt }: ChannelLine): Calendar['channels'][number] {
  return { status, expires_at: isoOf(expiresAt) }
}

/** What a moment was, in a sentence. */
function textOf({ kind, what, count: number, version }: Moment): string {
  const named = what === null || what === '' ? 'a calendar' : what
  switch (kind) {
    case 'connected':
      return 'The account was connected.'
    case 'disconnected':
      return 'The account was disconnected.'
    case 'notification':
      return 'A notification of the vendor was answered by a unit.'
    case 'notice':
      return `The vendor told of a channel: ${what === 'seen' ? 'it rings' : wordsOf(what ?? '')}.`
    case 'unit':
      return 'A unit ended: all calendars were in sync.'
    case 'commit':
      return `${count(number ?? 0, 'event')} of ${named} changed in one commit, up to version ${counted(version ?? 0)}.`
    case 'publish_waits':
      return `${count(number ?? 0, 'message')} ${number === 1 ? 'waits' : 'wait'} to be published${version === null ? '' : `, up to version ${counted(version)}`}.`
    case 'failure':
      return `Failed with ${what ?? 'an unknown code'}, ${count(number ?? 0, 'time')} in a row.`
    case 'held':
      return `A sync request met the closed gate ${what ?? ''}, and is kept until it opens.`
    case 'channel_opened':
      return `A channel of ${named} was opened.`
    case 'dead_letter':
      return `A sync request was given up with ${what ?? 'an unknown code'} after ${count(number ?? 0, 'attempt')}.`
    case 'full_read':
      return `${named} was read whole.`
    case 'next_try':
      return `Is tried again${what === null ? '' : ` (${what})`}.`
    case 'channel_ends':
      return `The channel of ${named} ends, and is renewed before.`
    case 'probe':
      return 'The vendor is asked whether the account is let in again.'
    default:
      return kind satisfies never
  }
}

function view(one: OneConnection, mayAct: boolean): Html {
  return html`${whyView(one.why, one.as_of)} ${mayAct && actsView(one)} ${section('Facts', facts(one))}
  ${section(`Calendars (${one.calendars.length})`, calendarsView(one))}
  ${section('Timeline', timelineView(one))}`
}

/** What an operator may do; each is counted and confirmed on the next page. */
const ACTS: readonly (readonly [kind: string, words: string, isFor: (one: OneConnection) => boolean])[] = [
  ['sync_now', 'Sync now', ({ status }) => status === 'active'],
  ['full_read', 'Read all from the beginning', ({ status }) => status === 'active'],
  ['probe', 'Ask the vendor again', ({ status }) => status === 'needs_reauth'],
  ['pause', 'Pause', ({ status }) => status === 'active' || status === 'needs_reauth'],
  ['resume', 'Resume', ({ status }) => status === 'disabled'],
]

function actsView(one: OneConnection): Part {
  const acts = ACTS.filter(([, , isFor]) => isFor(one))
  return (
    acts.length > 0 &&
    html`<p class="acts">
      ${acts.map(([kind, words]) => html`<a class="button plain" href="/repairs/new?kind=${kind}&amp;connection=${one.id}">${words}…</a>`)}
    </p>`
  )
}

function facts(one: OneConnection): Html {
  const { as_of: asOf } = one
  const lines: readonly (readonly [string, Part])[] = [
    ['Connection', html`<code>${one.id}</code>`],
    ['Provider', html`<a href="/connections?provider=${one.provider}"><code>${one.provider}</code></a>`],
    ['Connected', when(one.connected_at, asOf)],
    ['In sync', when(one.last_synced_at, asOf)],
    [
      'Published',
      one.timeline.find(({ kind }) => kind === 'publish_waits')?.text ?? 'All that was committed.',
    ],
    ...(one.next_try_at === null ? [] : [['Next try', when(one.next_try_at, asOf)] as const]),
    ...(one.next_probe_at === null ? [] : [['Next probe', when(one.next_probe_at, asOf)] as const]),
    ...(one.grant_ends_at === null ? [] : [['Grant ends', when(one.grant_ends_at, asOf)] as const]),
    ...(one.last_error === null
      ? []
      : [['Last error', html`<code>${one.last_error.code}</code> ${one.last_error.message}`] as const]),
  ]
  return html`<dl class="facts">
    ${lines.map(
      ([name, value]) =>
        html`<div>
          <dt>${name}</dt>
          <dd>${value}</dd>
        </div>`,
    )}
  </dl>`
}

function calendarsView({ calendars, as_of: asOf }: OneConnection): Html {
  if (calendars.length === 0) return empty('It has no calendars.')
  const rows = calendars.map(
    (one) =>
      html`<tr>
        <th scope="row">${one.name ?? '(without a name)'}</th>
        <td>${stateBadge(one.state)}</td>
        <td class="wide">${one.summary}</td>
        <td>${channelWords(one, asOf)}</td>
        <td>${when(one.last_read_at, asOf)}</td>
        <td>
          ${one.next_try_at === null ? html`<span class="quiet">–</span>` : when(one.next_try_at, asOf)}
        </td>
      </tr>`,
  )
  return table('Calendars', ['Calendar', 'State', 'Why', 'Channel', 'Last read', 'Next try'], rows)
}

function channelWords({ channels, state }: Calendar, asOf: string): Part {
  const open = channels.find(({ status }) => status === 'open')
  if (open !== undefined)
    return html`${badge('good', 'open')} <small>ends ${when(open.expires_at, asOf)}</small>`
  if (['removed', 'not_selected', 'disconnected'].includes(state)) return html`<span class="quiet">–</span>`
  const [other] = channels
  return other === undefined ? badge('off', 'none, polled') : badge('busy', other.status)
}

function timelineView({ timeline, as_of: asOf }: OneConnection): Html {
  if (timeline.length === 0) return empty('Nothing is known to have happened yet.')
  return html`<ol class="timeline">
    ${timeline.map(
      ({ at, kind, text, trace_id: trace }) =>
        html`<li class="${kind}${at > asOf && ' ahead'}">
          <span class="at">${when(at, asOf)}</span
          ><span>${text}${trace !== null && html` <small>trace <code>${trace}</code></small>`}</span>
        </li>`,
    )}
  </ol>`
}
