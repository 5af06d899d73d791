// OAuth as tests use it: links, accounts at the play vendor,
// and everything that a flow leaves behind.
import { expect } from 'vitest'
import { openIngressWorld, Person, type IngressWorld, type Step } from './ingress-world.ts'
import type { TestAccount } from './simulator.ts'

export type VendorName = 'google' | 'microsoft'

export const RETURN_ORIGIN = 'https://app.example.com'

export interface Asked {
  readonly vendor: VendorName
  readonly provider: string
  readonly return_to?: string
  readonly app_name?: string
  readonly connection_id?: string
}

export interface Row {
  readonly id: string
  readonly status: string
  readonly sync_needed: boolean
  readonly error_count: number
  readonly last_error: unknown
  readonly backoff_until: Date | null
  readonly disconnected_at: Date | null
  readonly account_label: string
  readonly sync_epoch: number
}

export interface Traces {
  readonly connections: readonly Row[]
  readonly outbox: readonly { readonly count: number }[]
  readonly credentials: readonly { readonly version: number }[]
}

/** Two instances of the ingress and what people do with them. */
export class OAuthWorld implements AsyncDisposable {
  readonly world: IngressWorld
  /** The address of the second instance. */
  readonly second: string

  constructor(world: IngressWorld, second: string) {
    this.world = world
    this.second = second
  }

  static async open(label: string): Promise<OAuthWorld> {
    const world = await openIngressWorld(label, { OAUTH_RETURN_ORIGINS: RETURN_ORIGIN })
    return new OAuthWorld(world, await world.another())
  }

  /** Gates on, faults gone: as every test finds it. */
  async calm(): Promise<void> {
    this.world.said.oauth = () => ({ state: 'on' })
    this.world.said.sync = () => ({ state: 'on' })
    await this.world.simulator.admin('DELETE', '/admin/faults')
  }

  askForLink({ provider, ...body }: Asked): Promise<Response> {
    return this.world.api('POST', '/api/calendar/connect-links', { provider, body })
  }

  async linkFor(asked: Asked): Promise<string> {
    const answer = await this.askForLink(asked)
    const body = (await answer.json()) as { url: string }
    expect(answer.status, JSON.stringify(body)).toBe(201)
    return body.url
  }

  anAccount(vendor: VendorName): Promise<TestAccount> {
    const account = { calendars: 2, eventsPerCalendar: 3 }
    return this.world.simulator.addAccount(vendor === 'google' ? account : { ...account, vendor })
  }

  /** A person who has consented: the address at which their browser comes back. */
  async atCallback(vendor: VendorName, provider: string) {
    const person = new Person()
    const account = await this.anAccount(vendor)
    const consent = await person.toConsent(await this.linkFor({ vendor, provider }))
    return { person, account, back: await person.consent(consent, account.email) }
  }

  connectionsOf(provider: string): Promise<Row[]> {
    return this.world.look<Row>(
      `select id, status, sync_needed, error_count, last_error, backoff_until, disconnected_at, account_label,
         sync_epoch::int from external_calendar_connections where provider_id = $1 order by created_at`,
      [provider],
    )
  }

  /** Everything that a flow could leave behind for a provider. */
  async traces(provider: string): Promise<Traces> {
    const connections = await this.connectionsOf(provider)
    const ids = connections.map(({ id }) => id)
    const outbox = await this.world.look<{ count: number }>(
      'select count(*)::int from outbox where key = any($1::text[])',
      [ids],
    )
    const credentials = await this.world.look<{ version: number }>(
      'select version::int from connection_credentials where connection_id = any($1::uuid[]) order by connection_id',
      [ids],
    )
    return { connections, outbox, credentials }
  }

  /** How often a token endpoint was asked. */
  async tokenCalls(): Promise<number> {
    const { requests } = await this.world.simulator.admin<{ requests: { path: string }[] }>(
      'GET',
      '/admin/requests',
    )
    return requests.filter(({ path }) => path.endsWith('/token')).length
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]()
  }
}

export function problemOf(step: Step): { error: string; status: number; detail: string } {
  return JSON.parse(step.text) as { error: string; status: number; detail: string }
}
