// A play Google Calendar, written from Google's public documentation: a calendar holds the items
// that a full read shows and a log of what its changes tell; a case puts into both whatever it
// likes, as raw JSON. Source (read 2026-11-29):
// developers.google.com/workspace/calendar/api/v3/reference, …/guides/sync, …/guides/push,
// …/guides/performance#partial-response, developers.google.com/identity/protocols/oauth2/web-server
import { fieldsNamed, masked } from './field-mask.ts'
import { PlayVendor, type Asked, type Told } from './server.ts'

export type Item = Record<string, unknown>

interface Channel {
  readonly id: string
  readonly address: string
  readonly token: string
  readonly resourceId: string
  readonly expiration: number
  number: number
}

const LIST = '/calendar/v3/users/me/calendarList'
const TOKEN_LIFE_S = 3599
/** developers.google.com/workspace/calendar/api/guides/push#understanding-the-notification-message-format */
const CHANNEL_LIFE_S = 604_800

/** The documented form of a refusal: …/guides/errors. */
export function googleError(status: number, reason: string, message = reason, domain = 'global'): Told {
  return { status, body: { error: { code: status, message, errors: [{ domain, reason, message }] } } }
}

/** See PlayGoogle. */
export class GoogleCalendar {
  /** Of the calendar list. */
  readonly entry: Item
  /** By id: what a read from the start shows. */
  readonly items = new Map<string, Item>()
  /** What the changes tell, in order; a sync token is a place in it. */
  readonly log: Item[] = []
  readonly channels: Channel[] = []
  /** Of a page; Google decides this by itself and gives at most what is asked for. */
  pageSize = 2500
  /** How many reads have begun; each has page tokens of its own. */
  reads = 0
  /** Ids under which the calendar answers beside its own. */
  readonly aliases = new Set<string>()

  constructor(entry: Item) {
    this.entry = entry
  }

  get id(): string {
    return String(this.entry['id'])
  }

  isCalled(id: string): boolean {
    return this.id === id || this.aliases.has(id) || (id === 'primary' && this.entry['primary'] === true)
  }

  /** Stands there now; the changes tell nothing of it. */
  holds(...items: readonly Item[]): this {
    for (const item of items) this.items.set(String(item['id']), item)
    return this
  }

  /** The changes tell of it, whatever stands there. */
  tells(...items: readonly Item[]): this {
    this.log.push(...items)
    return this
  }

  /** A person changes something: it stands there, and the changes tell so. */
  changes(...items: readonly Item[]): this {
    return this.holds(...items).tells(...items)
  }

  /** It does not stand there any more; the changes tell nothing of that. */
  loses(...ids: readonly string[]): this {
    for (const id of ids) this.items.delete(id)
    return this
  }
}

export class GoogleAccount {
  readonly name: string
  readonly calendars: GoogleCalendar[] = []
  scope = 'openid https://www.googleapis.com/auth/calendar.readonly'
  /** The account's own id, which outlives its addresses; OpenID Connect Core §2. */
  readonly sub: string
  /** More members of the answer to a code. */
  grantExtra: Item = {}
  issued = 0

  constructor(name: string, sub: string) {
    this.name = name
    this.sub = sub
  }

  get address(): string {
    return this.calendars.find(({ entry }) => entry['primary'] === true)?.id ?? `${this.name}@example.com`
  }

  calendar(id: string, entry: Item = {}): GoogleCalendar {
    const made = new GoogleCalendar({
      kind: 'calendar#calendarListEntry',
      etag: '"1"',
      id,
      summary: id,
      timeZone: 'UTC',
      accessRole: 'owner',
      selected: true,
      ...entry,
    })
    this.calendars.push(made)
    return made
  }

  called(id: string): GoogleCalendar | undefined {
    return this.calendars.find((calendar) => calendar.isCalled(id))
  }
}

/** Plays Google for any number of accounts. */
export class PlayGoogle extends PlayVendor {
  readonly #accounts = new Map<string, GoogleAccount>()
  readonly #codes = new Map<string, string>()

  account(name: string): GoogleAccount {
    const made = new GoogleAccount(name, `10${String(this.#accounts.size + 1).padStart(19, '7')}`)
    this.#accounts.set(name, made)
    return made
  }

  /**
   * A code for which the account's tokens are given, as the consent page sends it. Codes have
   * slashes and may have more.
   */
  code(account: GoogleAccount): string {
    const code = `4/0AX4+${account.name}=${this.#codes.size}/z`
    this.#codes.set(code, account.name)
    return code
  }

  /** One notification for each channel of a calendar. @returns the statuses of the answers. */
  async ring(calendar: GoogleCalendar, state = 'exists'): Promise<readonly number[]> {
    return Promise.all(calendar.channels.map((channel) => notify(calendar, channel, state)))
  }

  protected override accountOf(path: string, authorization: string, body: string): string | null {
    if (path !== '/token') return /^Bearer ya29\.(.+)-\d+$/.exec(authorization)?.[1] ?? null
    const form = new URLSearchParams(body)
    const refresh = /^1\/\/(.+)#\d+$/.exec(form.get('refresh_token') ?? '')?.[1]
    return refresh ?? this.#codes.get(form.get('code') ?? '') ?? null
  }

  protected override usual(asked: Asked): Told {
    if (asked.path === '/revoke') return { body: {} }
    const account = this.#accounts.get(asked.account ?? '')
    if (asked.path === '/token')
      return account === undefined
        ? { status: 400, body: { error: 'invalid_grant', error_description: 'Bad Request' } }
        : tokenOf(account, asked)
    if (account === undefined) return googleError(401, 'authError', 'Invalid Credentials')
    const told = this.#calendarApi(account, asked)
    const mask = asked.query.get('fields')
    return mask === null || (told.status ?? 200) !== 200
      ? told
      : { ...told, body: masked(told.body, fieldsNamed(mask)) }
  }

  #calendarApi(account: GoogleAccount, asked: Asked): Told {
    if (asked.path === LIST) return { body: listOf(account, asked) }
    if (asked.path.startsWith(`${LIST}/`)) {
      const found = account.called(asked.path.slice(LIST.length + 1))
      return found === undefined ? NOT_FOUND : { body: found.entry }
    }
    if (asked.path === '/calendar/v3/channels/stop') return stop(account, asked)
    const match = /^\/calendar\/v3\/calendars\/(.+)\/events(?:\/(.+?))?(\/instances)?$/.exec(asked.path)
    const calendar = match === null ? undefined : account.called(match[1] ?? '')
    if (match === null || calendar === undefined) return NOT_FOUND
    const [, , event, instances] = match
    if (event === 'watch') return this.#watch(calendar, asked)
    if (event === undefined) return eventsOf(calendar, asked)
    return instances === undefined ? oneOf(calendar, event) : instancesOf(calendar, event, asked)
  }

  #watch(calendar: GoogleCalendar, { body }: Asked): Told {
    const { id, address, token, params } = JSON.parse(body) as {
      id: string
      address: string
      token: string
      params?: { ttl?: string }
    }
    const lifeS = Number(params?.ttl ?? CHANNEL_LIFE_S)
    const expiration = this.clock.now() + lifeS * 1000
    const resourceId = `res-${calendar.id.replaceAll(/[^a-z0-9]/gi, '')}`
    calendar.channels.push({ id, address, token, resourceId, expiration, number: 1 })
    const answer = { kind: 'api#channel', id, resourceId, resourceUri: uriOf(calendar), token }
    return { body: { ...answer, expiration: String(expiration) } }
  }
}

const NOT_FOUND = googleError(404, 'notFound', 'Not Found')

function tokenOf(account: GoogleAccount, { body }: Asked): Told {
  account.issued += 1
  const isCode = new URLSearchParams(body).get('grant_type') === 'authorization_code'
  const claims = { iss: 'https://accounts.google.com', sub: account.sub, email: account.address }
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const grant = {
    access_token: `ya29.${account.name}-${account.issued}`,
    expires_in: TOKEN_LIFE_S,
    scope: account.scope,
    token_type: 'Bearer',
    id_token: `${part({ alg: 'RS256', kid: '1', typ: 'JWT' })}.${part(claims)}.c2ln`,
  }
  const lasting = { refresh_token: `1//${account.name}#${account.issued}`, ...account.grantExtra }
  return { body: isCode ? { ...grant, ...lasting } : grant }
}

/** Hidden entries come when they are asked for: …/v3/reference/calendarList/list. */
function listOf(account: GoogleAccount, { query }: Asked): object {
  const items = account.calendars
    .map(({ entry }) => entry)
    .filter((entry) => entry['hidden'] !== true || query.get('showHidden') === 'true')
  return { kind: 'calendar#calendarList', etag: '"l"', nextSyncToken: 'CPDAlvWDx70CEPDAlvWDx', items }
}

function stop(account: GoogleAccount, { body }: Asked): Told {
  const { id } = JSON.parse(body) as { id: string }
  for (const { channels } of account.calendars) {
    const at = channels.findIndex((channel) => channel.id === id)
    if (at < 0) continue
    channels.splice(at, 1)
    return { status: 204 }
  }
  return googleError(404, 'channelIdNotFound', 'Channel not found')
}

/** A full read within the window, or what the log tells since a token. */
function eventsOf(calendar: GoogleCalendar, { query }: Asked): Told {
  const token = query.get('syncToken')
  const [read, at] = query.get('pageToken')?.split('-') ?? [String((calendar.reads += 1)), '0']
  const from = Number(at)
  const all =
    token === null
      ? [...calendar.items.values()].filter((item) => isInside(item, query))
      : calendar.log.slice(Number(token))
  const size = Math.min(calendar.pageSize, Number(query.get('maxResults') ?? 250))
  const isLast = from + size >= all.length
  return {
    body: {
      ...headOf(calendar),
      items: all.slice(from, from + size).map((item) => withAttendees(item, query)),
      ...(isLast
        ? { nextSyncToken: String(calendar.log.length) }
        : { nextPageToken: `${read}-${from + size}` }),
    },
  }
}

function instancesOf(calendar: GoogleCalendar, series: string, { query }: Asked): Told {
  const items = [...calendar.items.values()].filter((item) => item['recurringEventId'] === series)
  if (items.length === 0) return NOT_FOUND
  const shown = items.filter((item) => isInside(item, query)).map((item) => withAttendees(item, query))
  return { body: { ...headOf(calendar), items: shown } }
}

function oneOf(calendar: GoogleCalendar, id: string): Told {
  const item = calendar.items.get(id)
  return item === undefined ? NOT_FOUND : { body: item }
}

function headOf({ entry }: GoogleCalendar): object {
  const { summary, timeZone, accessRole } = entry
  return { kind: 'calendar#events', etag: '"p"', summary, timeZone, accessRole, defaultReminders: [] }
}

/**
 * timeMin bounds the end, timeMax the start, both without the bound itself:
 * …/v3/reference/events/list.
 */
function isInside(item: Item, query: URLSearchParams): boolean {
  const [min, max] = [query.get('timeMin'), query.get('timeMax')].map((text) => Date.parse(text ?? ''))
  const after = Number.isNaN(min) || !(momentOf(item['end']) <= min!)
  return after && (Number.isNaN(max) || !(momentOf(item['start']) >= max!))
}

function momentOf(time: unknown): number {
  const { dateTime, date } = (time ?? {}) as { dateTime?: string; date?: string }
  return Date.parse(dateTime ?? date ?? '')
}

/** maxAttendees leaves the person alone in the list: …/v3/reference/events/list. */
function withAttendees(item: Item, query: URLSearchParams): Item {
  const all = item['attendees']
  const max = Number(query.get('maxAttendees') ?? Number.POSITIVE_INFINITY)
  if (!Array.isArray(all) || all.length <= max) return item
  const own = all.filter((one: { self?: boolean }) => one.self === true)
  return { ...item, attendees: own, attendeesOmitted: true }
}

function uriOf({ id }: GoogleCalendar): string {
  return `https://www.googleapis.com/calendar/v3/calendars/${encodeURIComponent(id)}/events?alt=json`
}

async function notify(calendar: GoogleCalendar, channel: Channel, state: string): Promise<number> {
  channel.number += 7
  const response = await fetch(channel.address, {
    method: 'POST',
    headers: {
      'content-type': 'application/json; utf-8',
      'x-goog-channel-id': channel.id,
      'x-goog-channel-token': channel.token,
      'x-goog-channel-expiration': new Date(channel.expiration).toUTCString(),
      'x-goog-message-number': String(channel.number),
      'x-goog-resource-id': channel.resourceId,
      'x-goog-resource-state': state,
      'x-goog-resource-uri': uriOf(calendar),
    },
  })
  await response.arrayBuffer()
  return response.status
}
