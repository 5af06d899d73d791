// The admin API in words: one entry for each of its routes. The page at `/` and docs/simulator.md
// are made from it, and a test holds it against the routes and the bodies that they take.
import { z } from 'zod'
import { BODY_OF } from './bodies.ts'

export interface ManualEntry {
  /** METHOD and path, as the route has it. */
  readonly route: string
  /** One or two sentences for a person. */
  readonly about: string
  /** A body that works, where the route takes one. */
  readonly body?: unknown
  /** A query that helps, with its question mark. */
  readonly query?: string
}

export interface ManualGroup {
  readonly title: string
  readonly entries: readonly ManualEntry[]
}

const ACCOUNT = '/admin/accounts/:accountId'
const CALENDAR = `${ACCOUNT}/calendars/:calendarId`

export const MANUAL: readonly ManualGroup[] = [
  {
    title: 'People and their calendars',
    entries: [
      { route: 'GET /admin/accounts', about: 'All accounts with their ids, calendars and refresh tokens.' },
      {
        route: 'POST /admin/accounts',
        about:
          'A new person at google or microsoft, with generated events; with `claims` of every answer and kind.',
        body: { vendor: 'google', email: 'ada@example.com', calendars: 2, eventsPerCalendar: 20 },
      },
      {
        route: `PATCH ${ACCOUNT}`,
        about:
          'The person gets another address; who they are stays the same, and the old address is an alias.',
        body: { email: 'ada.lovelace@example.com' },
      },
      {
        route: `POST ${ACCOUNT}/revoke`,
        about: 'The person takes the grant back: the connection becomes needs_reauth.',
      },
      {
        route: `POST ${ACCOUNT}/calendars`,
        about: 'One more calendar for this person.',
        body: { name: 'Holidays' },
      },
      {
        route: `PATCH ${CALENDAR}`,
        about:
          'Renames a calendar, hides it, leaves it out of the list (unlisted), or changes the access; its cursors end with its access.',
        body: { name: 'Work' },
      },
      {
        route: `POST ${CALENDAR}/rename`,
        about:
          'The calendar gets another id, as when an address changes. With alias the old id answers on, else it is unknown.',
        body: { id: 'ada.lovelace@example.com', alias: true },
      },
      { route: `DELETE ${CALENDAR}`, about: 'The person deletes this calendar.' },
    ],
  },
  {
    title: 'Events',
    entries: [
      {
        route: `POST ${CALENDAR}/events`,
        about: 'A new event in the fields of Google Calendar v3; what you leave out is generated.',
        body: {
          summary: 'Lunch',
          start: { dateTime: '2027-03-01T12:00:00Z' },
          end: { dateTime: '2027-03-01T13:00:00Z' },
        },
      },
      {
        route: `PATCH ${CALENDAR}/events/:eventId`,
        about: 'Changes an event; an empty body changes something at random.',
        body: { location: 'Garden' },
      },
      { route: `DELETE ${CALENDAR}/events/:eventId`, about: 'Deletes an event, an occurrence or a series.' },
      {
        route: `POST ${CALENDAR}/events/:eventId/move`,
        about: 'Moves a single event or a whole series to another calendar of the person.',
        body: { calendarId: 'the other calendar' },
      },
      {
        route: 'POST /admin/events/change',
        about: 'Random changes at once, over all accounts or some.',
        body: { count: 10 },
      },
      {
        route: 'POST /admin/load',
        about: 'Random changes at a steady rate for a while; it answers the id of the load.',
        body: { changesPerSecond: 10, durationMs: 60_000 },
      },
      {
        route: 'GET /admin/load/:loadId',
        about: 'How many changes a load has made, and whether it is done.',
      },
      { route: 'DELETE /admin/load/:loadId', about: 'Ends a load.' },
      { route: 'DELETE /admin/load', about: 'Ends all loads.' },
    ],
  },
  {
    title: 'Trouble',
    entries: [
      {
        route: 'POST /admin/faults',
        about:
          'What matching requests meet instead of the real answer; until it is spent, over or deleted. With `onePlace` it is a place of each calendar that is dead, while a fresh start is well; with `goesOn` a list that never ends.',
        body: {
          match: { vendor: 'google', operation: 'list' },
          respond: { status: 503 },
          forMs: 120_000,
        },
      },
      {
        route: 'POST /admin/refusals',
        about:
          'Refuses everybody, an account or a calendar: unauthorized (401 to good tokens), project (our app), suspended (no calendar), tenant (words of an organization; number: AADSTS) or token-rate (403 of the sign-in; form: html or json).',
        body: { vendor: 'google', kind: 'unauthorized', forMs: 120_000 },
      },
      { route: 'GET /admin/faults', about: 'The faults, and how often each was met.' },
      { route: 'DELETE /admin/faults/:faultId', about: 'Takes one fault away.' },
      { route: 'DELETE /admin/faults', about: 'Takes all faults away.' },
      {
        route: 'POST /admin/cursors/expire',
        about: 'All cursors of an account, a calendar or everybody are lost: the next read answers 410.',
        body: {},
      },
      {
        route: 'POST /admin/webhooks/send',
        about: 'Sends a Google notification again, or one that is forged.',
        body: { channelId: 'of GET /admin/channels', copies: 2 },
      },
      {
        route: 'POST /admin/notifications/forged',
        about: 'Sends a Graph notification as it stands, to wherever.',
        body: { url: 'http://127.0.0.1:1/', items: [{}] },
      },
      {
        route: 'POST /admin/subscriptions/lose',
        about: 'Graph loses a subscription without a word.',
        body: { id: 'of GET /admin/subscriptions' },
      },
      {
        route: 'POST /admin/lifecycle',
        about: 'Graph sends a lifecycle notification, to all subscriptions or those that you name.',
        body: { event: 'missed' },
      },
    ],
  },
  {
    title: 'Knobs: how the vendors behave',
    entries: [
      { route: 'GET /admin/knobs', about: 'All knobs as they stand.' },
      {
        route: 'POST /admin/notifications',
        about: 'Drops, repeats, delays or pauses notifications; {"drop": 1} is a vendor that fell silent.',
        body: { drop: 1 },
      },
      {
        route: 'POST /admin/latency',
        about: 'How long each call of the vendors takes, in milliseconds.',
        body: { ms: 200 },
      },
      {
        route: 'POST /admin/quota',
        about: 'Google refuses calls above these budgets; null is no budget.',
        body: { perUserPerMinute: 60, answer: 429, retryAfter: true },
      },
      {
        route: 'POST /admin/consent',
        about: 'Who consents without being asked, and whether to all, a part or nothing.',
        body: { mode: 'partial' },
      },
      {
        route: 'POST /admin/grants',
        about: 'How long refresh tokens live, and whether they change with each use.',
        body: { rotate: true },
      },
      {
        route: 'POST /admin/access-tokens',
        about: 'How long access tokens live, in seconds.',
        body: { seconds: 60 },
      },
      {
        route: 'POST /admin/cursors',
        about: 'How long Google sync tokens live, and what they keep.',
        body: { lifeSeconds: 3600 },
      },
      {
        route: 'POST /admin/series',
        about: 'How much Google tells of occurrences that ended with a change of their series.',
        body: { toldShare: 0.5, tombstones: 'sparse' },
      },
      {
        route: 'POST /admin/channels',
        about: 'How long Google channels live, what watch says of it, and how they stop.',
        body: { lifeSecondsMax: 3600 },
      },
      {
        route: 'POST /admin/paging',
        about: 'Short and empty pages, and the largest page.',
        body: { pageSizeMax: 50 },
      },
      {
        route: 'POST /admin/microsoft',
        about:
          'What Graph does in more than one way, or documents in none: limits, delays, words, notifications without clientState.',
        body: { concurrencyMax: 2 },
      },
    ],
  },
  {
    title: 'Time',
    entries: [
      { route: 'GET /admin/clock', about: 'The time of the vendors.' },
      { route: 'POST /admin/clock', about: 'Moves it on; it never goes back.', body: { advanceMs: 60_000 } },
      {
        route: 'POST /admin/scenario',
        about: 'A timeline of calls of this API.',
        body: {
          name: 'two people',
          seed: 1,
          steps: [{ do: 'POST /admin/accounts', with: { email: 'bob@example.com' }, as: 'bob' }],
        },
      },
      { route: 'GET /admin/scenario', about: 'How far the scenario is.' },
      { route: 'DELETE /admin/scenario', about: 'Ends the scenario.' },
    ],
  },
  {
    title: 'What really happened',
    entries: [
      { route: 'GET /', about: 'This page.' },
      {
        route: 'GET /admin/health',
        about: 'Whether it runs, how many accounts it has and how many notifications wait.',
      },
      {
        route: 'GET /admin/truth',
        about: 'What every calendar holds; narrowed by accountId, timeMin and timeMax.',
        query: '?accountId=c1',
      },
      { route: 'GET /admin/changes', about: 'Every change of an event, oldest first.', query: '?after=0' },
      {
        route: 'GET /admin/requests',
        about: 'Every request to the vendors; path is a regular expression.',
        query: '?after=0&path=events',
      },
      { route: 'GET /admin/webhooks', about: 'Every attempt to notify.', query: '?after=0' },
      { route: 'GET /admin/channels', about: 'The open channels of Google.' },
      { route: 'GET /admin/subscriptions', about: 'The open subscriptions of Graph.' },
      { route: 'POST /admin/reset', about: 'Forgets everything: an empty world and healthy vendors.' },
    ],
  },
]

/** The line that makes this call, for a shell; `:names` stay where `ids` has no value for them. */
export function curlOf(
  entry: ManualEntry,
  origin: string,
  ids: Readonly<Record<string, string>> = {},
): string {
  const [method = '', path = ''] = entry.route.split(' ')
  const filled = path.replaceAll(/:([a-zA-Z]+)/g, (name, key: string) =>
    ids[key] === undefined ? name : encodeURIComponent(ids[key]).replaceAll("'", '%27'),
  )
  const url = `${origin}${filled}${entry.query ?? ''}`
  const verb = method === 'GET' ? '' : ` -X ${method}`
  const data = entry.body === undefined ? '' : ` -d '${JSON.stringify(entry.body)}'`
  return `curl -s${verb} '${url}'${data}`
}

/** What a body may have, as `name: what`; empty where a route takes none or any. */
export function fieldsOf({ route }: ManualEntry): readonly string[] {
  const schema = BODY_OF[route]
  return schema === undefined ? [] : named(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }))
}

interface JsonSchema {
  readonly type?: string | readonly string[] | undefined
  readonly enum?: readonly unknown[] | undefined
  readonly const?: unknown
  readonly properties?: Readonly<Record<string, JsonSchema>> | undefined
  readonly anyOf?: readonly JsonSchema[] | undefined
  readonly items?: JsonSchema | undefined
}

function named(schema: unknown): readonly string[] {
  const { properties, anyOf } = schema as JsonSchema
  if (anyOf) return anyOf.flatMap(named)
  return Object.entries(properties ?? {}).map(([name, field]) => `${name}: ${typeOf(field)}`)
}

function typeOf(field: JsonSchema): string {
  if (field.const !== undefined) return JSON.stringify(field.const)
  if (field.enum) return field.enum.map((value) => JSON.stringify(value)).join(' or ')
  if (field.anyOf) return [...new Set(field.anyOf.map(typeOf))].join(' or ')
  if (field.type === 'array') return `[${field.items ? typeOf(field.items) : 'any'} …]`
  if (field.properties) return `{ ${named(field).join(', ')} }`
  return [field.type ?? 'any'].flat().join(' or ')
}

/** The manual as a page of Markdown. */
export function manualPage(): string {
  const origin = 'http://127.0.0.1:PORT'
  const sections = MANUAL.map(({ title, entries }) => {
    const parts = entries.map((entry) => {
      const fields = fieldsOf(entry)
      const takes =
        fields.length === 0 ? '' : `\nIt takes ${fields.map((field) => `\`${field}\``).join(' · ')}.\n`
      return `### ${entry.route}\n\n${entry.about}\n${takes}\n\`\`\`bash\n${curlOf(entry, origin)}\n\`\`\`\n`
    })
    return `## ${title}\n\n${parts.join('\n')}`
  })
  return `# The play vendors and their switches

Generated by \`npm run gen\` from [manual.ts](../infra/simulator/control/manual.ts).

The simulator plays Google Calendar, Microsoft Graph and the sign-in of both over real HTTP. It keeps its accounts over
restarts. \`npm start\` prints its address as \`simulator\`; the page there lists the same calls with ids that exist.
A body is JSON. A field that is not known is refused. Times are milliseconds unless the name says otherwise.

${sections.join('\n')}`
}
