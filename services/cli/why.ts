// `calstream why`: why an account is not up to date, until when, and who can do what. Everything is
// looked at side by side; a part that does not answer is itself a cause.
import { inOrder } from '#shared/domain/cause.ts'
import { causesOfInstallation, type Installation, type Part } from '#shared/domain/causes-of-installation.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import {
  causeDocument,
  whyDocument,
  type CauseDocument,
  type WhyDocument,
} from '#shared/domain/why-document.ts'
import { whyOfCalendar, whyOfConnection, type WhyFacts } from '#shared/domain/why.ts'
import { kafkaTrouble } from '#shared/kafka/open.ts'
import { UserError } from '#shared/process/user-error.ts'
import type { Database } from '#shared/store/database.ts'
import { readInstallation } from '#shared/store/installation.ts'
import { findConnections, placeOf, readWhyFacts } from '#shared/store/why.ts'
import { lookWithin, problemOf, seenOf } from './look.ts'
import { kafkaOf, openDatabaseOf } from './open.ts'
import type { Output } from './output.ts'
import { gateOf } from './status.ts'
import { switchesOf, type Toggles } from '#shared/gates/toggles.ts'
import { readToggles } from './toggles.ts'

/** An address may be connected to several providers. */
const MATCHES_MAX = 20

interface Told {
  readonly id: ConnectionId
  readonly provider: string
  readonly vendor: string
  readonly account: string | null
  readonly why: WhyDocument
  readonly calendars: readonly {
    readonly id: string
    readonly name: string | null
    readonly why: WhyDocument
  }[]
}

/**
 * Prints why each connection that a text names is as it is. Without a database it says that, and
 * what else is away. Throws UserError when no connection is named so.
 */
export async function showWhy(text: string, env: NodeJS.ProcessEnv, output: Output): Promise<void> {
  const looking = lookWithin(async () => lookAround(env))
  const toggling = lookWithin(() => readToggles(env))
  const opened = await lookWithin(async () => openDatabaseOf(env))
  const found =
    'problem' in opened
      ? opened
      : await lookWithin(() => findConnections(opened.seen, text.trim(), MATCHES_MAX + 1))
  const [around, toggles] = [seenOf(await looking) ?? {}, seenOf(await toggling)]
  const problem = problemOf(found)
  if (problem !== null) return tellWithoutRows({ ...around, postgres: problem }, output)
  const database = seenOf(opened)
  const ids = seenOf(found) ?? []
  if (database === null || ids.length === 0) throw new UserError(unknownWords(text))
  const told = await lookWithin(() => tellEach(database, ids.slice(0, MATCHES_MAX), { toggles, around }))
  const lost = problemOf(told)
  if (lost !== null) return tellWithoutRows({ ...around, postgres: lost }, output)
  output.report(() => linesOf(seenOf(told) ?? [], ids.length > MATCHES_MAX), { connections: seenOf(told) })
}

function unknownWords(text: string): string {
  return `No connection has the id or the account "${text}". List them: calstream connections list.`
}

type Away = Readonly<Partial<Record<Part, string>>>

/** What no process tells of, since none may be alive: whether the broker answers. */
async function lookAround(env: NodeJS.ProcessEnv): Promise<Away> {
  const kafka = await lookWithin(() => kafkaTrouble(kafkaOf(env)))
  const problem = problemOf(kafka) ?? seenOf(kafka)?.message
  return problem === undefined ? {} : { kafka: problem }
}

async function tellEach(
  database: Database,
  ids: readonly ConnectionId[],
  { toggles, around }: { readonly toggles: Toggles | null; readonly around: Away },
): Promise<readonly Told[]> {
  const installation = { ...(await readInstallation(database, switchesOf(toggles))), away: around }
  const told = await Promise.all(ids.map((id) => tellOne(database, id, { toggles, installation })))
  return told.flatMap((one) => one ?? [])
}

async function tellOne(
  database: Database,
  id: ConnectionId,
  { toggles, installation }: { readonly toggles: Toggles | null; readonly installation: Installation },
): Promise<Told | null> {
  const rows = await readWhyFacts(database, id)
  if (rows === null) return null
  const { connection, calendars } = rows
  const facts: WhyFacts = {
    connection,
    calendars,
    gate: gateOf(connection, toggles),
    installation,
    place: placeOf(rows, installation),
  }
  return {
    id,
    provider: connection.providerId,
    vendor: connection.vendor,
    account: connection.account,
    why: whyDocument(whyOfConnection(facts)),
    calendars: calendars.flatMap((calendar) => {
      const why = whyOfCalendar(facts, calendar.id)
      return why === null ? [] : [{ id: calendar.id, name: calendar.name, why: whyDocument(why) }]
    }),
  }
}

/** Nothing is known of the connection; what is away explains that. */
function tellWithoutRows(away: Away, output: Output): void {
  const causes = inOrder(causesOfInstallation({ processes: null, away })).map(causeDocument)
  process.exitCode = 1
  output.report(() => ['Nothing is known of the connections at the moment.', ...causes.flatMap(causeLines)], {
    connections: null,
    causes,
  })
}

function linesOf(told: readonly Told[], isMore: boolean): readonly string[] {
  const lines = told.flatMap((one, at) => [...(at === 0 ? [] : ['']), ...connectionLines(one)])
  return isMore ? [...lines, '', `These are the first ${MATCHES_MAX}; name one by its id.`] : lines
}

function connectionLines({ id, provider, vendor, account, why, calendars }: Told): readonly string[] {
  const head = `${account ?? '(erased)'}  ${vendor}  ${id}  of provider ${provider}`
  const asOf = why.up_to_date_as_of === null ? '' : ` as of ${why.up_to_date_as_of}`
  const state = why.is_up_to_date
    ? `Up to date${asOf}.`
    : `Not up to date${asOf === '' ? '' : `; it was${asOf}`}.`
  const ownOnly = calendars.filter((calendar) =>
    calendar.why.causes.some(({ code }) => !why.causes.some((one) => one.code === code)),
  )
  return [
    head,
    state,
    ...why.causes.flatMap(causeLines),
    ...ownOnly.flatMap((calendar) => [
      `  ${calendar.name ?? 'a calendar without a name'}  ${calendar.id}`,
      ...calendar.why.causes.flatMap(causeLines),
    ]),
  ]
}

function causeLines({
  code,
  text,
  actor,
  effect,
  since,
  until,
  next,
  action,
}: CauseDocument): readonly string[] {
  const times = [since === null ? '' : `since ${since}`, until === null ? '' : `until ${until}`].filter(
    Boolean,
  )
  return [
    `  ${effect === 'warns' ? '!' : '✗'} ${code}: ${text}${times.length === 0 ? '' : ` (${times.join(', ')})`}`,
    ...(next === '' ? [] : [`      next: ${next}`]),
    ...(action === '' ? [] : [`      → ${actor}: ${action}`]),
  ]
}
