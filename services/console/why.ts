// Why connections are as they are, for the pages: what `calstream why` and the API say.
import type { Cause } from '#shared/domain/cause.ts'
import type { Effect } from '#shared/domain/cause-entry.ts'
import { causesAround } from '#shared/domain/causes-of-installation.ts'
import { entryOf, type CauseCode } from '#shared/domain/causes.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import { whyDocument, type WhyDocument } from '#shared/domain/why-document.ts'
import { whyOfCalendar, whyOfConnection } from '#shared/domain/why.ts'
import { switchesOf, type Toggles } from '#shared/gates/toggles.ts'
import type { Queryable } from '#shared/store/database.ts'
import { readInstallation } from '#shared/store/installation.ts'
import { placeOf, readWhyFacts, type WhyRows } from '#shared/store/why.ts'
import { html, type Html, type Part } from './html.ts'
import { badge, when, wordsOf, type Tone } from './words.ts'
import { gateOf } from './gate-of.ts'

export interface WhySeen {
  readonly rows: WhyRows
  readonly why: WhyDocument
  /** What holds for its place; the state of the API has it too. */
  readonly around: readonly Cause[]
  /** By calendar id. */
  readonly calendars: ReadonlyMap<string, WhyDocument>
}

/** Why of one connection and its calendars; null when there is none. Throws Failure `store/*`. */
export async function readWhy(
  db: Queryable,
  standing: Toggles | null,
  id: ConnectionId,
): Promise<WhySeen | null> {
  const [rows, installation] = await Promise.all([
    readWhyFacts(db, id),
    readInstallation(db, switchesOf(standing)),
  ])
  if (rows === null) return null
  const { connection, calendars } = rows
  const gate = gateOf(connection, standing)
  const place = placeOf(rows, installation)
  const facts = { connection, calendars, gate, installation, place }
  const told = calendars.flatMap((calendar) => {
    const why = whyOfCalendar(facts, calendar.id)
    return why === null ? [] : [[calendar.id, whyDocument(why)] as const]
  })
  return {
    rows,
    why: whyDocument(whyOfConnection(facts)),
    around: causesAround(installation, place),
    calendars: new Map(told),
  }
}

const ACTORS: Readonly<Record<string, string>> = {
  owner: 'the owner of the account',
  app: 'the app',
  operator: 'you, the operator',
  vendor: 'the vendor',
}

const TONES: Readonly<Record<Effect, Tone>> = { stops: 'bad', delays: 'warn', warns: 'off' }

/** A cause in words, with the tone of its effect. */
export function causeBadge(code: CauseCode): Html {
  return badge(TONES[entryOf(code).effect], wordsOf(code))
}

/** Whether it is up to date, and every cause why not, the first to act on first. */
export function whyView(
  { is_up_to_date: isUpToDate, up_to_date_as_of: asOf, causes }: WhyDocument,
  now: string,
): Html {
  const tone = isUpToDate ? 'good' : causes.some(({ effect }) => effect === 'stops') ? 'bad' : 'warn'
  return html`<div class="verdict ${tone}">
    <h2>${isUpToDate ? 'Up to date' : 'Not up to date'}</h2>
    <p class="quiet">
      ${asOf === null ? 'Nothing was read to its end yet.' : html`What the vendor had ${when(asOf, now)} is stored.`}
    </p>
    ${
      causes.length > 0 &&
      html`<ol class="causes">
        ${causes.map((cause) => causeView(cause, now))}
      </ol>`
    }
  </div>`
}

function causeView(cause: WhyDocument['causes'][number], now: string): Html {
  const { code, text, since, until, next, action, actor } = cause
  const who = ACTORS[actor]
  const times: readonly Part[] = [
    since !== null && html`since ${when(since, now)}`,
    until !== null && html`next ${when(until, now)}`,
  ].filter((one) => one !== false)
  return html`<li>
    <p>${causeBadge(code)} ${text} <small>${times.map((one, at) => html`${at > 0 && ', '}${one}`)}</small></p>
    ${next !== '' && html`<p class="quiet">${next}</p>`}
    ${action !== '' && html`<p><strong>${who === undefined ? 'To do' : `For ${who}`}:</strong> ${action}</p>`}
  </li>`
}
