// People who do not get through, gates, and connecting again: what is said in the browser, and that
// nothing is left behind. Each refusal has its control: the same step, done right, succeeds.
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { GateDecision } from '#shared/domain/gates.ts'
import { connectionId } from '#shared/domain/ids.ts'
import { Secret } from '#shared/process/secret.ts'
import { openDatabase } from '#shared/store/database.ts'
import { erasableConnections, eraseAccount } from '#shared/store/erasure.ts'
import { eventually } from '../../support/eventually.ts'
import { actionOn, Person, type IngressWorld } from '../../support/ingress-world.ts'
import { quiet } from '../../support/outbox.ts'
import { OAuthWorld, RETURN_ORIGIN, type VendorName } from '../../support/oauth-world.ts'

let oauth: OAuthWorld
let world: IngressWorld

beforeAll(async () => {
  oauth = await OAuthWorld.open('ingress_oauth_people')
  world = oauth.world
})
afterAll(() => oauth[Symbol.asyncDispose]())
beforeEach(() => oauth.calm())

const ON = { state: 'on' } as const
const OFF = {
  state: 'off',
  gate: 'CALENDAR_OAUTH_ENABLED',
  text: 'Calendar OAuth not enabled',
} as const
const NOT_LISTED = {
  state: 'off',
  gate: 'CALENDAR_ALLOWLIST_PROVIDER_IDS',
  text: 'Provider not allowed',
} as const

const VENDORS: readonly VendorName[] = ['google', 'microsoft']

describe.each(VENDORS)('a person who does not get through to %s', (vendor) => {
  async function afterAnswer(answer: 'deny' | 'partial', return_to?: string) {
    const provider = randomUUID()
    const account = await oauth.anAccount(vendor)
    const person = new Person()
    const asked =
      return_to === undefined ? ({ vendor, provider } as const) : ({ vendor, provider, return_to } as const)
    const page = await person.toConsent(await oauth.linkFor(asked))
    return {
      provider,
      account,
      person,
      step: await person.go(await person.consent(page, account.email, answer)),
    }
  }

  test.each([
    ['deny', 'You did not allow access'],
    ['partial', 'One permission is missing'],
  ] as const)(
    'because of their answer "%s" is told why, and can try again from the page',
    async (answer, title) => {
      const { provider, account, person, step } = await afterAnswer(answer, `${RETURN_ORIGIN}/back`)
      expect(step.status).toBe(403)
      expect(step.text).toContain(`<h1>${title}</h1>`)
      expect(step.text).toContain('<html lang="en">')
      expect(step.text).toMatch(/<title>[^<]+<\/title>/)
      expect(step.text).not.toMatch(/<script|<img|<link|http-equiv/)
      expect(step.headers.get('content-security-policy')).toMatch(/^default-src 'none'; style-src 'sha256-/)
      expect(step.headers.get('referrer-policy')).toBe('no-referrer')
      expect(step.headers.get('cache-control')).toBe('no-store')
      expect((await oauth.traces(provider)).connections).toEqual([])
      expect(actionOn(step, 'Go back to app.example.com')).toBe(
        `${RETURN_ORIGIN}/back?calendar_status=not_connected`,
      )
      const done = await person.connect(actionOn(step, 'Try again') ?? '', account.email)
      expect(done.location?.origin).toBe(RETURN_ORIGIN)
      expect((await oauth.traces(provider)).connections).toHaveLength(1)
    },
  )

  test('is never shown what the address says', async () => {
    const person = new Person()
    const consent = await person.toConsent(await oauth.linkFor({ vendor, provider: randomUUID() }))
    const back = new URL(`${world.url}/api/auth/${vendor}/calendar/callback`)
    back.searchParams.set('state', consent.searchParams.get('state') ?? '')
    back.searchParams.set('error', '<script>alert(1)</script>')
    back.searchParams.set('error_description', 'call 555-0100 now')
    const step = await person.go(back)
    expect(step.status).toBe(400)
    expect(step.text).not.toMatch(/alert|555/)
  })

  test.each([
    ['the token endpoint', { google: '/token$', microsoft: '/token$' }],
    ['the calendar list', { google: '/calendarList$', microsoft: '/me/calendars' }],
  ])('because %s is down is told to wait, and can try again', async (_what, paths) => {
    const provider = randomUUID()
    const account = await oauth.anAccount(vendor)
    const person = new Person()
    const back = await person.consent(
      await person.toConsent(await oauth.linkFor({ vendor, provider })),
      account.email,
    )
    await world.simulator.admin('POST', '/admin/faults', {
      match: { path: paths[vendor] },
      respond: { status: 503 },
    })
    const step = await person.go(back)
    expect([step.status, step.headers.get('retry-after')]).toEqual([503, '5'])
    expect((await oauth.traces(provider)).connections).toEqual([])
    await world.simulator.admin('DELETE', '/admin/faults')
    expect((await person.connect(actionOn(step, 'Try again') ?? '', account.email)).status).toBe(200)
  })

  test('because the vendor refuses the code is told so', async () => {
    const provider = randomUUID()
    const person = new Person()
    const back = await person.consent(
      await person.toConsent(await oauth.linkFor({ vendor, provider })),
      (await oauth.anAccount(vendor)).email,
    )
    back.searchParams.set('code', 'made-up')
    const step = await person.go(back)
    expect(step.status).toBe(400)
    expect(step.text).toContain('The consent could not be used')
    expect((await oauth.traces(provider)).connections).toEqual([])
  })
})

describe.each(VENDORS)('the gate of %s', (vendor) => {
  const start = `/api/auth/${vendor}/calendar`

  test.each([
    ['GET', start],
    ['POST', start],
    ['GET', `${start}/callback`],
    ['POST', '/api/calendar/connect-links'],
  ])('switched off is said to strangers at %s %s, unknown is 503', async (method, route) => {
    world.said.oauth = () => OFF
    const refused = await world.api(method, route, { claims: null })
    expect(refused.status).toBe(403)
    expect(await refused.json()).toMatchObject({ error: 'Calendar OAuth not enabled', status: 403 })
    world.said.oauth = () => ({ state: 'unknown', gate: 'CALENDAR_OAUTH_ENABLED' })
    const unknown = await world.api(method, route, { claims: null })
    expect([unknown.status, unknown.headers.get('retry-after')]).toEqual([503, '5'])
    world.said.oauth = () => ON
    expect((await world.api(method, route, { claims: null })).status).toBe(401)
  })

  test('closed in the middle spends nothing: opened again, link and state work', async () => {
    const provider = randomUUID()
    const account = await oauth.anAccount(vendor)
    const person = new Person()
    const link = await oauth.linkFor({ vendor, provider })
    const page = await person.go(link)
    world.said.oauth = () => OFF
    const refused = await person.go(link)
    expect(refused.status).toBe(403)
    expect(refused.text).toContain('<h1>Calendar OAuth not enabled</h1>')
    expect((await person.press(page)).status).toBe(403)
    world.said.oauth = (named) => (named === undefined ? ON : NOT_LISTED)
    expect((await oauth.askForLink({ vendor, provider })).status).toBe(403)
    const notListed = await person.go(link, 'application/json')
    expect(notListed.status).toBe(403)
    expect(notListed.text).toContain('not on CALENDAR_ALLOWLIST_PROVIDER_IDS; an operator adds it')
    expect((await person.press(page)).status).toBe(403)
    world.said.oauth = () => ON
    const back = await person.consent(await person.toConsent(link), account.email)
    const calls = await oauth.tokenCalls()
    for (const gate of [() => OFF, (named?: string) => (named === undefined ? ON : NOT_LISTED)]) {
      world.said.oauth = gate
      expect((await person.go(back)).status).toBe(403)
    }
    expect(await oauth.tokenCalls()).toBe(calls)
    world.said.oauth = () => ON
    expect((await person.go(back)).status).toBe(200)
  })

  test('closed between two calls to the vendor stops the flow there, and nothing is saved', async () => {
    const provider = randomUUID()
    const person = new Person()
    const link = await oauth.linkFor({ vendor, provider })
    const back = await person.consent(await person.toConsent(link), (await oauth.anAccount(vendor)).email)
    const calls = await oauth.tokenCalls()
    let asked = 0
    // At the door, for the provider, and then before the account is looked at.
    world.said.oauth = () => ((asked += 1) >= 3 ? OFF : ON)
    expect((await person.go(back)).status).toBe(403)
    expect((await oauth.tokenCalls()) - calls).toBe(1)
    expect((await oauth.traces(provider)).connections).toEqual([])
  })
})

describe.each(VENDORS)('connecting again at %s', (vendor) => {
  test.each(['needs_reauth', 'disabled', 'disconnected'])(
    'heals the same connection from %s',
    async (status) => {
      const provider = randomUUID()
      const account = await oauth.anAccount(vendor)
      await new Person().connect(await oauth.linkFor({ vendor, provider }), account.email)
      const [first] = await oauth.connectionsOf(provider)
      await world.look(
        `update external_calendar_connections
          set status = $2, error_count = 7, last_error = '{"code": "vendor/grant-revoked"}', sync_epoch = 41, unfinished = 5,
              backoff_until = calstream_now() + interval '1 hour',
              disconnected_at = case when $2 = 'disconnected' then calstream_now() end
        where id = $1`,
        [first?.id, status],
      )
      const person = new Person()
      const consent = await person.toConsent(
        await oauth.linkFor({ vendor, provider, connection_id: first?.id ?? '' }),
      )
      expect(consent.searchParams.get('login_hint')).toBe(account.email)
      const done = await person.go(await person.consent(consent, account.email))
      expect(done.text).toContain('Your calendar is connected')
      const after = await oauth.traces(provider)
      expect(after.connections).toEqual([
        {
          id: first?.id,
          status: 'active',
          sync_needed: true,
          error_count: 0,
          last_error: null,
          backoff_until: null,
          disconnected_at: null,
          account_label: account.email,
          sync_epoch: 42,
        },
      ])
      expect(after.credentials).toEqual([{ version: 2 }])
      expect(after.outbox).toEqual([{ count: 4 }])
    },
  )

  test.each(['before', 'after'])(
    'by a link of %s it was erased is connecting anew: the old one keeps its end, and no page speaks of another',
    async (asked) => {
      const provider = randomUUID()
      const account = await oauth.anAccount(vendor)
      await new Person().connect(await oauth.linkFor({ vendor, provider }), account.email)
      const [first] = await oauth.connectionsOf(provider)
      const id = connectionId(first?.id ?? '')
      expect((await world.api('DELETE', `/api/calendar/connections/${id}`, { provider })).status).toBe(204)
      const early = await oauth.linkFor({ vendor, provider, connection_id: id })
      await using db = openDatabase(
        {
          url: new Secret(world.database.url('calstream_scheduler')),
          applicationName: 'erasure',
          poolMax: 1,
        },
        quiet,
      )
      const [erasable] = (await erasableConnections(db, 100)).filter((one) => one.connectionId === id)
      expect(await eraseAccount(db, erasable!)).toBe(true)

      const read = async () => {
        const answer = await world.api('GET', '/api/calendar/connections', { provider })
        const { connections } = (await answer.json()) as {
          connections: readonly { id: string; account: string | null; status: string }[]
        }
        return connections.map(({ account: name, status }) => ({ name, status }))
      }
      expect(await read()).toEqual([{ name: null, status: 'disconnected' }])

      const person = new Person()
      const link = asked === 'before' ? early : await oauth.linkFor({ vendor, provider, connection_id: id })
      const consent = await person.toConsent(link)
      expect(consent.searchParams.get('login_hint')).toBeNull()
      const done = await person.go(await person.consent(consent, account.email))
      expect(done.text).toContain('Your calendar is connected')
      expect((await read()).toSorted((a, b) => a.status.localeCompare(b.status))).toEqual([
        { name: account.email, status: 'active' },
        { name: null, status: 'disconnected' },
      ])
    },
  )

  test('waits for a unit that holds the connection, instead of asking the person again', async () => {
    const provider = randomUUID()
    const { person, back, account } = await oauth.atCallback(vendor, provider)
    await person.go(back)
    const [first] = await oauth.connectionsOf(provider)
    const again = await person.consent(
      await person.toConsent(await oauth.linkFor({ vendor, provider })),
      account.email,
    )
    const unit = new pg.Client({ connectionString: world.database.url() })
    await unit.connect()
    await unit.query('begin')
    await unit.query('select 1 from external_calendar_connections where id = $1 for update', [first?.id])
    const done = person.go(again)
    // It has tried once and is trying again: the role's lock_timeout is a second.
    const waits = new Set<string>()
    await eventually('a second wait for the row', async () => {
      const now = await world.look<{ began: string }>(
        `select query_start::text as began from pg_stat_activity
          where application_name = 'calstream-ingress' and wait_event_type = 'Lock' and datname = current_database()`,
      )
      for (const { began } of now) waits.add(began)
      return waits.size > 1
    })
    await unit.end()
    expect((await done).status).toBe(200)
    expect((await oauth.connectionsOf(provider)).map(({ sync_epoch: epoch }) => epoch)).toEqual([1])
  })

  test('whose gate is closed is told when it is read, and not that it is', async () => {
    const read = async (decision: GateDecision) => {
      world.said.sync = () => decision
      const { person, back } = await oauth.atCallback(vendor, randomUUID())
      const done = await person.go(back)
      expect(done.status).toBe(200)
      return done.text
    }
    const kept = await read({
      state: 'off',
      gate: 'CALENDAR_ALLOWLIST_CONNECTION_IDS',
      text: 'Connection not allowed',
    })
    expect(kept).toContain('is connected. It is read as soon as an operator lets it in.')
    expect(kept).not.toContain('read next')
    expect(await read({ state: 'unknown', gate: 'CALENDAR_SYNC_ENABLED' })).toContain(
      'as soon as our service',
    )
    expect(await read(ON)).toContain('is connected and will be read next.')
  })

  test('with another account makes another connection, and the page says so', async () => {
    const provider = randomUUID()
    const [asked, other] = [await oauth.anAccount(vendor), await oauth.anAccount(vendor)]
    await new Person().connect(await oauth.linkFor({ vendor, provider }), asked.email)
    const [first] = await oauth.connectionsOf(provider)
    const link = await oauth.linkFor({
      vendor,
      provider,
      connection_id: first?.id ?? '',
      return_to: `${RETURN_ORIGIN}/settings`,
    })
    const done = await new Person().connect(link, other.email)
    expect(done.status).toBe(200)
    expect(done.text).toContain('Another account is connected')
    expect(done.text).toContain(asked.email)
    expect(done.text).toContain(other.email)
    expect(actionOn(done, 'Continue')).toContain(`${RETURN_ORIGIN}/settings?calendar_status=connected`)
    const after = await oauth.connectionsOf(provider)
    expect(after.map((connection) => connection.account_label)).toEqual([asked.email, other.email])
    expect(after[0]?.sync_epoch).toBe(first?.sync_epoch)
  })
})

describe('without Postgres', () => {
  test('an app and a browser are told to come again, and the link is not lost', async () => {
    const alone = await world.another({ POSTGRES_URL: 'postgres://calstream_ingress:x@127.0.0.1:1/none' })
    const provider = randomUUID()
    const refused = await world.api('POST', '/api/calendar/connect-links', {
      provider,
      body: { vendor: 'google' },
      at: alone,
    })
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5'])
    const link = await oauth.linkFor({ vendor: 'google', provider })
    const person = new Person()
    person.routes.set(world.url, alone)
    const page = await person.go(link)
    expect([page.status, page.headers.get('retry-after')]).toEqual([503, '5'])
    expect(page.headers.get('content-type')).toMatch(/^text\/html/)
    person.routes.clear()
    expect((await person.follow(link)).status).toBe(303)
  })
})
