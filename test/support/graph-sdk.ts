// A simulated Microsoft of a test's own, with the official Graph SDK as client. Nothing here knows
// our adapter: what these tests hold the simulator to is what learn.microsoft.com documents.
import { Client, type Context, GraphError } from '@microsoft/microsoft-graph-client'
import { expect } from 'vitest'
import type { SimulatorConfig } from '../../infra/simulator/config.ts'
import { startTestSimulator, type TestAccount, type TestSimulator } from './simulator.ts'

export interface Row {
  readonly id: string
  readonly type?: string
  readonly subject?: string | null
  readonly seriesMasterId?: string | null
  readonly start?: { readonly dateTime: string; readonly timeZone: string }
  readonly '@removed'?: { readonly reason: string }
  readonly '@odata.etag'?: string
  readonly [name: string]: unknown
}

interface Delta {
  readonly value: readonly Row[]
  readonly '@odata.nextLink'?: string
  readonly '@odata.deltaLink'?: string
}

export interface Refused {
  readonly status: number
  readonly code: string | null
  readonly headers: Headers
}

export interface OAuthAnswer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

export const DAY_MS = 86_400_000
export const IMMUTABLE = 'IdType="ImmutableId"'
const PREFER = `odata.maxpagesize=50, outlook.timezone="UTC", ${IMMUTABLE}`
const CALL_MS_MAX = 60_000
/** One today for a whole file, whatever midnight does. */
const TODAY = Date.now()

/** A time of day (UTC) so many days from today, as Graph writes it. */
export function at(days: number, hours = 10): { dateTime: string; timeZone: string } {
  const day = new Date(TODAY + days * DAY_MS).toISOString().slice(0, 10)
  return { dateTime: `${day}T${String(hours).padStart(2, '0')}:00:00`, timeZone: 'UTC' }
}

/** An hour so many days from today. */
export function hour(days: number): { start: object; end: object } {
  return { start: at(days), end: at(days, 11) }
}

/** One mailbox: its client, and what tests do with it again and again. */
export class Mailbox {
  readonly account: TestAccount
  readonly graph: Client
  readonly bearer: string
  readonly #origin: string

  constructor(origin: string, account: TestAccount, bearer: string) {
    this.#origin = origin
    this.account = account
    this.bearer = bearer
    this.graph = graphClient(origin, bearer)
  }

  /** The path of a calendar, the default one unless said otherwise. */
  calendar(index = 0): string {
    return `/me/calendars/${encodeURIComponent(this.account.calendars[index]?.id ?? '')}`
  }

  create(event: object, index = 0): Promise<Row> {
    return this.graph.api(`${this.calendar(index)}/events`).post(event) as Promise<Row>
  }

  /** The id of an event in its immutable form. */
  async immutableId(id: string): Promise<string> {
    const event = (await this.graph.api(`/me/events/${id}`).header('Prefer', IMMUTABLE).get()) as Row
    return event.id
  }

  /** The SDK takes a whole address for one only when it is https. */
  pathOf(link: string): string {
    const base = `${this.#origin}/v1.0`
    expect(link.startsWith(base)).toBe(true)
    return link.slice(base.length)
  }

  /** A whole round of a delta: every page, and the delta link at its end. */
  async round(from?: string, index = 0): Promise<{ rows: readonly Row[]; link: string }> {
    const window = { startDateTime: at(-10).dateTime, endDateTime: at(60).dateTime }
    const first = this.graph.api(`${this.calendar(index)}/calendarView/delta`).query(window)
    let page = await this.#page(from === undefined ? first : this.graph.api(this.pathOf(from)))
    const rows = [...page.value]
    while (page['@odata.nextLink'] !== undefined) {
      expect(page['@odata.deltaLink']).toBeUndefined()
      page = await this.#page(this.graph.api(this.pathOf(page['@odata.nextLink'])))
      rows.push(...page.value)
    }
    const link = page['@odata.deltaLink'] ?? expect.unreachable('a round ends with a delta link')
    expect(new URL(link).origin).toBe(this.#origin)
    return { rows, link }
  }

  #page(request: ReturnType<Client['api']>): Promise<Delta> {
    return request.header('Prefer', PREFER).get() as Promise<Delta>
  }
}

export interface GraphWorld extends AsyncDisposable {
  readonly simulator: TestSimulator
  readonly mailbox: Mailbox
  /** The mailbox of one more account. */
  join(body?: object): Promise<Mailbox>
  /** A new client of the same mailbox, for after its access token ended. */
  again(mailbox: Mailbox): Promise<Mailbox>
  /** A call of the token endpoint, with the client's secret. */
  token(form: Readonly<Record<string, string>>): Promise<OAuthAnswer>
  /** Turns knobs of Microsoft's. */
  knobs(knobs: object): Promise<void>
}

/** Opens a simulator with one mailbox of two calendars. */
export async function openGraph(config: Partial<SimulatorConfig> = {}): Promise<GraphWorld> {
  const simulator = await startTestSimulator({ seed: 'graph', ...config })
  const again = async (account: TestAccount) => {
    const form = { grant_type: 'refresh_token', refresh_token: account.refreshToken }
    const { body } = await tokenCall(simulator.microsoftUrl, account, form)
    return new Mailbox(simulator.microsoftUrl, account, String(body['access_token']))
  }
  const join = async (body: object = {}) =>
    again(await simulator.addAccount({ vendor: 'microsoft', calendars: 2, eventsPerCalendar: 0, ...body }))
  const mailbox = await join()
  return {
    simulator,
    mailbox,
    join,
    again: ({ account }) => again(account),
    token: (form) => tokenCall(simulator.microsoftUrl, mailbox.account, form),
    knobs: (knobs) => simulator.admin('POST', '/admin/microsoft', knobs),
    [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose](),
  }
}

/**
 * The SDK's own chain gives a token to https addresses only, and the simulator is loopback http.
 */
export function graphClient(origin: string, bearer: string): Client {
  return Client.initWithMiddleware({
    baseUrl: origin,
    defaultVersion: 'v1.0',
    middleware: {
      async execute(context: Context) {
        const headers = new Headers(context.options?.headers as Record<string, string>)
        headers.set('Authorization', `Bearer ${bearer}`)
        const signal = AbortSignal.timeout(CALL_MS_MAX)
        const options = { ...context.options, headers, signal } as RequestInit
        context.response = await fetch(String(context.request), options)
      },
    },
  })
}

/** The refusal of a call, as the SDK gives it; fails when the call was not refused. */
export async function refusal(work: Promise<unknown>): Promise<Refused> {
  const error = await work.then(
    () => expect.unreachable('the call should have been refused'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(GraphError)
  const { statusCode: status, code, headers } = error as GraphError
  return { status, code, headers: new Headers(headers) }
}

/** Status and code of a refusal in one word, to be compared. */
export async function refusedAs(work: Promise<unknown>): Promise<string> {
  const { status, code } = await refusal(work)
  return `${status} ${code}`
}

async function tokenCall(
  origin: string,
  { clientId, clientSecret }: TestAccount,
  form: Readonly<Record<string, string>>,
): Promise<OAuthAnswer> {
  const response = await fetch(`${origin}/common/oauth2/v2.0/token`, {
    method: 'POST',
    body: new URLSearchParams({ client_id: clientId, client_secret: clientSecret, ...form }),
    signal: AbortSignal.timeout(CALL_MS_MAX),
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}
