// A play Microsoft Graph, written from Microsoft's public documentation: a calendar holds the
// events that a read from the start shows and a log of what its delta tells; a case puts into both
// whatever it likes, as raw JSON. Source (read 2026-11-29):
// learn.microsoft.com/graph/delta-query-events, …/graph/api/resources/event,
// …/graph/change-notifications-delivery-webhooks,
// learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
import { randomUUID } from 'node:crypto'
import { PlayVendor, type Asked, type Told } from './server.ts'

export type Item = Record<string, unknown>

interface Subscription {
  readonly id: string
  readonly resource: string
  readonly notificationUrl: string
  readonly clientState: string
  expirationDateTime: string
}

const TOKEN_LIFE_S = 3599

/** The documented form of a refusal: learn.microsoft.com/graph/errors. */
export function graphError(status: number, code: string, message = 'No.', inner: Item = {}): Told {
  return {
    status,
    body: {
      error: {
        code,
        message,
        innerError: { date: '2026-11-29T10:00:00', 'request-id': randomUUID(), ...inner },
      },
    },
  }
}

/**
 * A refusal of the sign-in server:
 * learn.microsoft.com/entra/identity-platform/reference-error-codes.
 */
export function entraError(error: string, number: number, text: string, more: Item = {}): Told {
  return {
    status: 400,
    body: {
      error,
      error_description: `AADSTS${number}: ${text} Trace ID: 0 Correlation ID: 0 Timestamp: 2026-11-29 10:00:00Z`,
      error_codes: [number],
      timestamp: '2026-11-29 10:00:00Z',
      trace_id: randomUUID(),
      correlation_id: randomUUID(),
      error_uri: `https://login.microsoftonline.com/error?code=${number}`,
      ...more,
    },
  }
}

/** See PlayMicrosoft. */
export class GraphCalendar {
  /** Of the list of calendars; its id may change. */
  readonly entry: Item
  readonly items = new Map<string, Item>()
  readonly log: Item[] = []
  /** Of a page; Graph gives at most what is asked for, and fewer as it likes. */
  pageSize = 1000
  /** How many reads have begun. */
  reads = 0

  constructor(entry: Item) {
    this.entry = entry
  }

  get id(): string {
    return String(this.entry['id'])
  }

  /** Stands there now; the delta tells nothing of it. */
  holds(...items: readonly Item[]): this {
    for (const item of items) this.items.set(String(item['id']), item)
    return this
  }

  /** The delta tells of it, whatever stands there. */
  tells(...items: readonly Item[]): this {
    this.log.push(...items)
    return this
  }

  /** A person changes something: it stands there, and the delta tells so. */
  changes(...items: readonly Item[]): this {
    return this.holds(...items).tells(...items)
  }

  loses(...ids: readonly string[]): this {
    for (const id of ids) this.items.delete(id)
    return this
  }
}

export class GraphAccount {
  readonly name: string
  readonly calendars: GraphCalendar[] = []
  readonly subscriptions = new Map<string, Subscription>()
  readonly user: Item
  mailboxSettings: Item = { timeZone: 'UTC' }
  scope = 'Calendars.Read MailboxSettings.Read User.Read'
  issued = 0

  constructor(name: string) {
    this.name = name
    const address = `${name}@contoso.example`
    this.user = { id: randomUUID(), displayName: name, mail: address, userPrincipalName: address }
  }

  calendar(id: string, entry: Item = {}): GraphCalendar {
    const owner = { name: this.name, address: this.user['mail'] }
    const made = new GraphCalendar({
      id,
      name: id,
      canEdit: true,
      canShare: true,
      canViewPrivateItems: true,
      owner,
      isDefaultCalendar: false,
      ...entry,
    })
    this.calendars.push(made)
    return made
  }

  called(id: string): GraphCalendar | undefined {
    return this.calendars.find((calendar) => calendar.id === id)
  }
}

/** Plays Graph and the sign-in server for any number of accounts. */
export class PlayMicrosoft extends PlayVendor {
  readonly #accounts = new Map<string, GraphAccount>()
  readonly #codes = new Map<string, string>()

  account(name: string): GraphAccount {
    const made = new GraphAccount(name)
    this.#accounts.set(name, made)
    return made
  }

  /** A code for which the account's tokens are given, as the consent page sends it. */
  code(account: GraphAccount): string {
    const code = `M.C1_${account.name}.${this.#codes.size}!*`
    this.#codes.set(code, account.name)
    return code
  }

  /** One batch with a change of one calendar. @returns the statuses of the answers. */
  async ring(account: GraphAccount, calendar: GraphCalendar, more: Item = {}): Promise<readonly number[]> {
    const rung = [...account.subscriptions.values()].filter(({ resource }) =>
      decodeURIComponent(resource).includes(`/${calendar.id}/`),
    )
    return Promise.all(rung.map((subscription) => notify(subscription, more)))
  }

  protected override accountOf(path: string, authorization: string, body: string): string | null {
    if (!path.endsWith('/oauth2/v2.0/token'))
      return /^Bearer EwB\.(.+)\.\d+$/.exec(authorization)?.[1] ?? null
    const form = new URLSearchParams(body)
    const refresh = /^M\.R\.(.+)\.\d+$/.exec(form.get('refresh_token') ?? '')?.[1]
    return refresh ?? this.#codes.get(form.get('code') ?? '') ?? null
  }

  protected override async usual(asked: Asked): Promise<Told> {
    const account = this.#accounts.get(asked.account ?? '')
    if (asked.path.endsWith('/oauth2/v2.0/token'))
      return account === undefined
        ? entraError('invalid_grant', 9_002_313, 'Invalid request. Request is malformed or invalid.')
        : tokenOf(account)
    if (account === undefined)
      return graphError(401, 'InvalidAuthenticationToken', 'Lifetime validation failed.')
    const path = asked.path.replace(/^\/v1\.0/, '')
    if (path === '/me') return selected(account.user, asked)
    if (path === '/me/mailboxSettings' || path === '/me/mailboxSettings/timeZone')
      return {
        body: path.endsWith('timeZone')
          ? { value: account.mailboxSettings['timeZone'] }
          : account.mailboxSettings,
      }
    if (path === '/me/calendars')
      return { body: { value: account.calendars.map(({ entry }) => pick(entry, asked)) } }
    if (path.startsWith('/subscriptions')) return this.#subscriptions(account, asked, path)
    const [, id = '', rest = ''] = /^\/me\/calendars\/([^/]+)(.*)$/.exec(path) ?? []
    if (path.startsWith('/me/events/')) return anywhere(account, asked, path)
    const calendar =
      path === '/me/calendar'
        ? account.calendars.find(({ entry }) => entry['isDefaultCalendar'])
        : account.called(id)
    return calendar === undefined ? NOT_FOUND : inside(calendar, asked, rest)
  }

  async #subscriptions(account: GraphAccount, { method, body }: Asked, path: string): Promise<Told> {
    const id = path.slice('/subscriptions/'.length)
    if (method === 'POST') {
      const wanted = JSON.parse(body) as Omit<Subscription, 'id'>
      if (!(await answersValidation(wanted.notificationUrl)))
        return graphError(400, 'ValidationError', 'Subscription validation request failed.')
      const made = { ...wanted, id: randomUUID() }
      account.subscriptions.set(made.id, made)
      return { status: 201, body: made }
    }
    const known = account.subscriptions.get(id)
    if (known === undefined) return graphError(404, 'ResourceNotFound', 'The object was not found.')
    if (method === 'DELETE') {
      account.subscriptions.delete(id)
      return { status: 204 }
    }
    if (method === 'PATCH') Object.assign(known, JSON.parse(body) as Item)
    return { body: known }
  }
}

const NOT_FOUND = graphError(404, 'ErrorItemNotFound', 'The specified object was not found in the store.')

function tokenOf(account: GraphAccount): Told {
  account.issued += 1
  return {
    body: {
      token_type: 'Bearer',
      scope: account.scope,
      expires_in: TOKEN_LIFE_S,
      ext_expires_in: TOKEN_LIFE_S,
      access_token: `EwB.${account.name}.${account.issued}`,
      refresh_token: `M.R.${account.name}.${account.issued}`,
    },
  }
}

/** What is below one calendar. */
function inside(calendar: GraphCalendar, asked: Asked, rest: string): Told {
  if (rest === '') return { body: pick(calendar.entry, asked) }
  if (rest === '/calendarView/delta') return delta(calendar, asked)
  if (rest === '/calendarView') return view(calendar, asked)
  const [, id = '', instances] = /^\/events\/([^/]+)(\/instances)?$/.exec(rest) ?? []
  if (instances === undefined) return oneOf(calendar.items.get(id), asked)
  const rows = [...calendar.items.values()].filter((item) => item['seriesMasterId'] === id)
  return rows.length === 0 ? NOT_FOUND : { body: { value: rows.map((item) => pick(item, asked)) } }
}

/** An event by its id, in whichever calendar it lives. */
function anywhere(account: GraphAccount, asked: Asked, path: string): Told {
  const [, id = '', rest = ''] = /^\/me\/events\/([^/]+)(.*)$/.exec(path) ?? []
  const calendar = account.calendars.find(({ items }) => items.has(id))
  if (rest === '/calendar') return calendar === undefined ? NOT_FOUND : { body: pick(calendar.entry, asked) }
  return oneOf(calendar?.items.get(id), asked)
}

function oneOf(item: Item | undefined, asked: Asked): Told {
  return item === undefined ? NOT_FOUND : { body: pick(item, asked) }
}

/**
 * Pages of at most odata.maxpagesize;
 * each read has skip tokens of its own, a delta token is a place in the log.
 */
function delta(calendar: GraphCalendar, { query, headers, here }: Asked): Told {
  const [read, since, at] = query.get('$skiptoken')?.split('.') ?? [
    String((calendar.reads += 1)),
    query.get('$deltatoken') ?? 'start',
    '0',
  ]
  const all = since === 'start' ? [...calendar.items.values()] : calendar.log.slice(Number(since))
  const asked = Number(/odata\.maxpagesize=(\d+)/.exec(String(headers['prefer']))?.[1] ?? 10)
  const size = Math.min(calendar.pageSize, asked)
  const to = Number(at) + size
  const link =
    to >= all.length
      ? { '@odata.deltaLink': `${here}?$deltatoken=${calendar.log.length}` }
      : { '@odata.nextLink': `${here}?$skiptoken=${read}.${since}.${to}` }
  return { body: { '@odata.context': '#Collection(event)', value: all.slice(Number(at), to), ...link } }
}

/**
 * Pages of at most $top; the link to the next one repeats what was asked.
 * learn.microsoft.com/graph/paging
 */
function view(calendar: GraphCalendar, asked: Asked): Told {
  const all = windowed(calendar, asked)
  const { query, here } = asked
  const from = Number(query.get('$skip') ?? 0)
  const to = from + Math.min(calendar.pageSize, Number(query.get('$top') ?? 10))
  const next = new URLSearchParams(query)
  next.set('$skip', String(to))
  const link = to < all.length ? { '@odata.nextLink': `${here}?${next.toString()}` } : {}
  return { body: { value: all.slice(from, to).map((item) => pick(item, asked)), ...link } }
}

function windowed(calendar: GraphCalendar, { query }: Asked): readonly Item[] {
  const [from, to] = [query.get('startDateTime'), query.get('endDateTime')].map((text) =>
    Date.parse(text ?? ''),
  )
  const moment = (time: unknown) => Date.parse(`${(time as { dateTime?: string } | undefined)?.dateTime}Z`)
  return [...calendar.items.values()].filter(
    (item) => moment(item['end']) > from! && moment(item['start']) < to!,
  )
}

function selected(item: Item, asked: Asked): Told {
  return { body: pick(item, asked) }
}

/** $select names whole properties; annotations come along. */
function pick(item: Item, { query }: Asked): Item {
  const names = query.get('$select')?.split(',')
  if (names === undefined) return item
  return Object.fromEntries(
    Object.entries(item).filter(([name]) => name === 'id' || name.startsWith('@') || names.includes(name)),
  )
}

/** …/graph/change-notifications-delivery-webhooks#notificationurl-validation */
async function answersValidation(url: string): Promise<boolean> {
  const token = `Validation: Testing client application reachability ${randomUUID()}`
  const target = new URL(url)
  target.searchParams.set('validationToken', token)
  const response = await fetch(target, { method: 'POST', headers: { 'content-type': 'text/plain' } })
  return response.status === 200 && (await response.text()) === token
}

async function notify(subscription: Subscription, more: Item): Promise<number> {
  const id = randomUUID()
  const value = {
    subscriptionId: subscription.id,
    subscriptionExpirationDateTime: subscription.expirationDateTime,
    clientState: subscription.clientState,
    changeType: 'updated',
    resource: `Users/u/Events/${id}`,
    tenantId: randomUUID(),
    resourceData: {
      '@odata.type': '#Microsoft.Graph.Event',
      '@odata.id': `Users/u/Events/${id}`,
      '@odata.etag': `W/"${id}"`,
      id,
    },
    ...more,
  }
  const response = await fetch(subscription.notificationUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json; charset=utf-8' },
    body: JSON.stringify({ value: [value] }),
  })
  await response.arrayBuffer()
  return response.status
}
