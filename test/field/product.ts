// The whole product in front of the play vendors, for cases of real vendors that are told in plain
// words: given these calendars and answers, when …, then …. Broker, registry and database are real,
// the five services are the real ones on one clock that a case can move on
// (support/simulated-days.ts). A case sees what a person and an app see: pages, API.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { SignJWT } from 'jose'
import { expect } from 'vitest'
import { createBrowser, wordsOn, type Landing } from '../../infra/demo/browser.ts'
import { eventually } from '../support/eventually.ts'
import { openSimulatedDays, type SimulatedDays } from '../support/simulated-days.ts'
import { openPlace } from '../support/world.ts'
import { EventMaker } from './vendors/events.ts'
import { PlayGoogle, type GoogleAccount, type GoogleCalendar, type Item } from './vendors/google.ts'
import { PlayMicrosoft, type GraphAccount, type GraphCalendar } from './vendors/microsoft.ts'
import type { PlayVendor } from './vendors/server.ts'

export const MINUTE = 60_000
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

/** All cases of one file. */
const LIFE_MS = 20 * MINUTE
/** On a machine with load 20 a first read took some seconds. */
const SOON_MS = 45_000
/**
 * No call for this long and nothing to publish: the product has nothing to do now.
 * Only the pace hangs on it.
 */
const QUIET_MS = 120
const QUIET_WITHIN_MS = 4000
/** One turn of the product's clock; every backoff and beat that matters here is longer. */
const STEP_MS = 5 * MINUTE

type Account = GoogleAccount | GraphAccount

export interface BusyAnswer {
  readonly busy: readonly { readonly start: string; readonly end: string }[]
  readonly stale: boolean
  readonly calendars: readonly {
    readonly id: string
    readonly name: string | null
    readonly stale: boolean
    readonly stale_because: readonly { readonly code: string }[]
  }[]
}

export interface ConnectionAnswer {
  readonly id: string
  readonly status: string
  readonly account: string | null
  readonly last_error: { readonly code: string; readonly message: string } | null
  readonly calendars: readonly {
    readonly id: string
    readonly name: string | null
    readonly selected: boolean
    readonly last_synced_at: string | null
  }[]
}

/** See openProduct. */
export class Product implements AsyncDisposable {
  readonly google: PlayGoogle
  readonly microsoft: PlayMicrosoft
  readonly days: SimulatedDays
  readonly #env: Readonly<Record<string, string>>
  readonly #owned: AsyncDisposableStack

  constructor(parts: {
    google: PlayGoogle
    microsoft: PlayMicrosoft
    days: SimulatedDays
    env: Readonly<Record<string, string>>
    owned: AsyncDisposableStack
  }) {
    this.google = parts.google
    this.microsoft = parts.microsoft
    this.days = parts.days
    this.#env = parts.env
    this.#owned = parts.owned
  }

  /** A case of its own: a provider that nobody else has, and day 0. Its connections end with it. */
  async begin(): Promise<Case> {
    const provider = randomUUID()
    const bearer = await new SignJWT({ provider_id: provider })
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuedAt()
      .setExpirationTime('2h')
      .sign(new TextEncoder().encode(this.#env['API_JWT_SECRET'] ?? ''))
    return new Case(this, { provider, bearer, api: this.#env['PUBLIC_URL'] ?? '' })
  }

  /** The play vendor of an account. */
  vendorOf(account: Account): PlayVendor {
    return 'subscriptions' in account ? this.microsoft : this.google
  }

  /**
   * Runs the jobs that are due and waits until the product has nothing to do at
   * this moment of its clock.
   */
  async work(): Promise<void> {
    await this.days.work()
    const deadline = performance.now() + QUIET_WITHIN_MS
    for (let quiet = 0, before = -1; quiet < QUIET_MS && performance.now() < deadline; quiet += 20) {
      const calls = this.google.asked.length + this.microsoft.asked.length
      if (calls !== before || this.google.isBusy || this.microsoft.isBusy) quiet = 0
      before = calls
      await delay(20)
    }
  }

  /** Lets time pass, jobs and backoffs included; `after` is asked after each turn. */
  async pass(ms: number, { stepMs = STEP_MS, after = async () => {} } = {}): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      await this.days.advance(Math.min(left, stepMs))
      await this.work()
      await after()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync()
  }
}

/** One case: what its app asks, what its people do. */
export class Case implements AsyncDisposable {
  readonly provider: string
  readonly make: EventMaker
  readonly #product: Product
  readonly #bearer: string
  readonly #api: string
  readonly #undo: (() => void)[] = []

  constructor(product: Product, who: { provider: string; bearer: string; api: string }) {
    this.#product = product
    this.provider = who.provider
    this.make = new EventMaker(product.days.now())
    this.#bearer = who.bearer
    this.#api = who.api
  }

  /** "When this account asks …, then …", until the case ends or the returned function is called. */
  when(account: Account, answer: Parameters<PlayVendor['when']>[0]): () => void {
    const undo = this.#product
      .vendorOf(account)
      .when((asked) => (asked.account === account.name ? answer(asked) : undefined))
    this.#undo.push(undo)
    return undo
  }

  /** A person connects their account in a browser. @returns the id of the connection. */
  async connect(account: Account): Promise<string> {
    const known = new Set((await this.connections()).map(({ id }) => id))
    const page = await this.consent(account)
    expect(page, wordsOn(page)).toMatchObject({ status: 200 })
    const all = await this.connections()
    const made = all.find(({ id }) => !known.has(id)) ?? all[0]
    if (made === undefined) throw new Error(`a page said that it is connected: ${wordsOn(page)}`)
    return made.id
  }

  /** Connects and waits until everything was read once and channels are open. */
  async connected(account: Account): Promise<string> {
    const id = await this.connect(account)
    await this.until('the first read has ended', async () => {
      await this.#product.work()
      const { calendars } = await this.connection(id)
      return calendars.every((one) => !one.selected || one.last_synced_at !== null)
    })
    await this.#product.work()
    return id
  }

  /**
   * A person follows a link and comes back from the vendor with `query`;
   * with a good code when there is none.
   */
  async consent(
    account: Account,
    { query, reconnects }: { query?: Readonly<Record<string, string>>; reconnects?: string } = {},
  ): Promise<Landing> {
    const vendor = this.#product.vendorOf(account)
    const isGoogle = vendor instanceof PlayGoogle
    const { url } = await this.api<{ url: string }>('POST', '/api/calendar/connect-links', {
      vendor: isGoogle ? 'google' : 'microsoft',
      app_name: 'Field',
      ...(reconnects === undefined ? {} : { connection_id: reconnects }),
    })
    const browser = createBrowser(AbortSignal.timeout(SOON_MS))
    const away = vendor.when(({ path }) =>
      /\/auth$|\/authorize$/.test(path) ? { body: '<h1>Who is there?</h1>' } : undefined,
    )
    const asking = await browser.open(url)
    const consent = (await browser.press(asking, 'Continue')) ?? asking
    away()
    const back = new URL(consent.url.searchParams.get('redirect_uri') ?? '')
    back.searchParams.set('state', consent.url.searchParams.get('state') ?? '')
    const code =
      'subscriptions' in account ? this.#product.microsoft.code(account) : this.#product.google.code(account)
    for (const [name, value] of Object.entries(query ?? { code, scope: account.scope }))
      back.searchParams.set(name, value)
    return browser.open(back)
  }

  /** One call of the app; throws with the answer's text unless it is 2xx. */
  async api<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(`${this.#api}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#bearer}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(SOON_MS),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`)
    return (text === '' ? null : JSON.parse(text)) as T
  }

  async connections(): Promise<readonly { readonly id: string; readonly status: string }[]> {
    const { connections } = await this.api<{ connections: { id: string; status: string }[] }>(
      'GET',
      '/api/calendar/connections',
    )
    return connections
  }

  connection(id: string): Promise<ConnectionAnswer> {
    return this.api('GET', `/api/calendar/connections/${id}`)
  }

  /** The answer about busy times of whole days, counted from day 0. */
  busyAnswer(fromDay = 0, toDay = 60): Promise<BusyAnswer> {
    const [from, to] = [fromDay, toDay].map((day) => new Date(this.make.at(day)).toISOString())
    return this.api('GET', `/api/calendar/busy?from=${from}&to=${to}`)
  }

  /** Busy times as `+<day> <from>-<to>`. */
  async busy(fromDay = 0, toDay = 60): Promise<readonly string[]> {
    const { busy } = await this.busyAnswer(fromDay, toDay)
    return busy.map((span) => this.make.told(span))
  }

  /** Waits until busy times are these; the difference is what fails. */
  async busyBecomes(expected: readonly string[], fromDay = 0, toDay = 60): Promise<void> {
    await expect.poll(() => this.busy(fromDay, toDay), { timeout: SOON_MS, interval: 50 }).toEqual(expected)
  }

  /** The vendor ids that are held, sorted. */
  async held(connection: string): Promise<readonly string[]> {
    const rows = await this.#product.days.query<{ id: string }>(
      'select vendor_event_id as id from external_calendar_events where connection_id = $1 order by 1',
      [connection],
    )
    return rows.map(({ id }) => id)
  }

  /** A calendar of Google rings once it has a channel, and the ingress takes it. */
  async ring(calendar: GoogleCalendar): Promise<void> {
    await this.until(`${calendar.id} has a channel`, async () => {
      if (calendar.channels.length === 0) await this.#product.work()
      return calendar.channels.length > 0
    })
    const statuses = await this.#product.google.ring(calendar)
    expect(statuses, 'answers to the notification').toEqual(statuses.map(() => 202))
  }

  /** The same at Graph; `more` alters the item of the notification. */
  async ringGraph(account: GraphAccount, calendar: GraphCalendar, more: Item = {}): Promise<void> {
    const channels = () =>
      [...account.subscriptions.values()].map(({ resource }) => decodeURIComponent(resource))
    await this.until(`${calendar.id} has a subscription`, async () => {
      if (!channels().some((one) => one.includes(`/${calendar.id}/`))) await this.#product.work()
      return channels().some((one) => one.includes(`/${calendar.id}/`))
    })
    const statuses = await this.#product.microsoft.ring(account, calendar, more)
    expect(statuses, 'answers to the notification').toEqual(statuses.map(() => 202))
  }

  until<T>(what: string, ask: () => T | Promise<T>): Promise<Exclude<T, null | undefined | false>> {
    return eventually(what, ask, SOON_MS)
  }

  /** Nobody's calls stay behind for the next case. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const undo of this.#undo) undo()
    for (const { id, status } of await this.connections())
      if (status !== 'disconnected') await this.api('DELETE', `/api/calendar/connections/${id}`)
    await this.#product.work()
  }
}

/** Starts play vendors and product for one test file. `label` names its database. */
export async function openProduct(label: string): Promise<Product> {
  const owned = new AsyncDisposableStack()
  const clock = { shiftMs: 0, now: () => Date.now() + clock.shiftMs }
  const google = owned.use(await new PlayGoogle(clock).open())
  const microsoft = owned.use(await new PlayMicrosoft(clock).open())
  const { env } = await openPlace({ label }, { google: google.url, microsoft: microsoft.url }, owned)
  const moveVendors = async (ms: number) => void (clock.shiftMs += ms)
  const days = owned.use(await openSimulatedDays({ env, moveVendors }, AbortSignal.timeout(LIFE_MS)))
  return new Product({ google, microsoft, days, env, owned })
}
