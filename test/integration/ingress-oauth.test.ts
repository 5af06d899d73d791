// Connecting an account, on real Postgres, registry and play vendors over HTTP: what a browser gets, what is committed, and what is refused
// without a trace. Each refusal has its control: the same step, done right, succeeds.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { parseKeyring, openSecret } from '#shared/platform/crypto.ts'
import { Secret } from '#shared/platform/env.ts'
import { actionOn, openIngressWorld, Person, type IngressWorld, type Step } from '../support/ingress-world.ts'
import type { TestAccount } from '../support/simulator.ts'

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
const RETURN_ORIGIN = 'https://app.example.com'

let world: IngressWorld
let second: string

beforeAll(async () => {
  world = await openIngressWorld('ingress_oauth', { OAUTH_RETURN_ORIGINS: RETURN_ORIGIN })
  second = await world.another()
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(async () => {
  world.said.oauth = () => ON
  await world.simulator.admin('DELETE', '/admin/faults')
})

const VENDORS = ['google'] as const
type VendorName = 'google' | 'microsoft'

interface Asked {
  readonly vendor: VendorName
  readonly provider: string
  readonly return_to?: string
  readonly connection_id?: string
}

async function askForLink({ provider, ...body }: Asked): Promise<Response> {
  return world.api('POST', '/api/calendar/connect-links', { provider, body })
}

async function linkFor(asked: Asked): Promise<string> {
  const answer = await askForLink(asked)
  const body = (await answer.json()) as { url: string }
  expect(answer.status, JSON.stringify(body)).toBe(201)
  return body.url
}

function anAccount(vendor: VendorName): Promise<TestAccount> {
  return world.simulator.addAccount({
    calendars: 2,
    eventsPerCalendar: 3,
    ...(vendor === 'google' ? {} : { vendor }),
  })
}

interface Row {
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

function connectionsOf(provider: string): Promise<Row[]> {
  return world.look<Row>(
    `select id, status, sync_needed, error_count, last_error, backoff_until, disconnected_at, account_label,
       sync_epoch::int from external_calendar_connections where provider_id = $1 order by created_at`,
    [provider],
  )
}

/** Everything that a flow could leave behind for a provider. */
async function traces(provider: string) {
  const connections = await connectionsOf(provider)
  const outbox = await world.look<{ count: number }>(
    'select count(*)::int from outbox where key = any($1::text[])',
    [connections.map(({ id }) => id)],
  )
  const credentials = await world.look<{ version: number }>(
    'select version::int from connection_credentials where connection_id = any($1::uuid[]) order by connection_id',
    [connections.map(({ id }) => id)],
  )
  return { connections, outbox, credentials }
}

function problemOf(step: Step): { error: string; status: number; detail: string } {
  return JSON.parse(step.text) as { error: string; status: number; detail: string }
}

async function tokenCalls(): Promise<number> {
  const { requests } = await world.simulator.admin<{ requests: { path: string }[] }>('GET', '/admin/requests')
  return requests.filter(({ path }) => path.endsWith('/token')).length
}

describe.each(VENDORS)('connecting an account at %s', (vendor) => {
  const callback = `/api/auth/${vendor}/calendar/callback`

  test('commits connection, sealed credentials, calendars, the news and the first request together', async () => {
    const provider = randomUUID()
    const account = await anAccount(vendor)
    const done = await new Person().connect(await linkFor({ vendor, provider }), account.email)
    expect([done.status, done.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
    expect(done.text).toContain('Your calendar is connected')
    expect(done.text).toContain(account.email)

    const [connection, ...others] = await connectionsOf(provider)
    expect(others).toEqual([])
    expect(connection).toMatchObject({ status: 'active', sync_needed: true, account_label: account.email })
    const id = connection?.id ?? ''
    const calendars = await world.look<{ vendor_calendar_id: string; selected: boolean }>(
      'select vendor_calendar_id, selected from external_calendars where connection_id = $1',
      [id],
    )
    expect(calendars.map((calendar) => calendar.vendor_calendar_id).toSorted()).toEqual(
      account.calendars.map((calendar) => calendar.id).toSorted(),
    )
    expect(calendars.every(({ selected }) => selected)).toBe(true)
    const [credentials] = await world.look<{ refresh_token: string; access_token: string }>(
      'select refresh_token, access_token from connection_credentials where connection_id = $1',
      [id],
    )
    const keyring = parseKeyring(new Secret(world.env['CREDENTIALS_KEYS'] ?? ''))
    const opened = openSecret(keyring, credentials?.refresh_token ?? '', {
      connectionId: id,
      field: 'refresh_token',
    })
    expect(opened.length).toBeGreaterThan(10)
    expect(credentials?.refresh_token).not.toContain(opened)

    const messages = await world.look<{ topic: string; value: Buffer }>(
      'select topic, value from outbox where key = $1 order by id',
      [id],
    )
    const requested = vendor === 'google' ? TOPICS.requestedGoogle : TOPICS.requestedMicrosoft
    expect(messages.map(({ topic }) => topic)).toEqual([TOPICS.connectionChanged, requested])
    expect(await world.codec.decode(TOPICS.connectionChanged, messages[0]?.value ?? null)).toMatchObject({
      message: { connectionId: id, providerId: provider, vendor, status: 'active', previousStatus: null },
    })
    expect(await world.codec.decode(requested, messages[1]?.value ?? null)).toMatchObject({
      message: { connectionId: id, reason: 'connected', calendarId: null },
    })
  })

  test('sends the browser to consent with PKCE S256, a state of its own and a cookie that scripts cannot read', async () => {
    const provider = randomUUID()
    const [one, two] = [await linkFor({ vendor, provider }), await linkFor({ vendor, provider })]
    const person = new Person()
    const start = await person.go(one)
    expect(start.status).toBe(302)
    const consent = start.location?.searchParams
    expect(consent?.get('response_type')).toBe('code')
    expect(consent?.get('code_challenge_method')).toBe('S256')
    expect(consent?.get('code_challenge')).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(consent?.get('redirect_uri')).toBe(`${world.url}${callback}`)
    expect(start.headers.get('referrer-policy')).toBe('no-referrer')
    expect(start.headers.get('cache-control')).toBe('no-store')
    const cookie = start.headers.get('set-cookie') ?? ''
    expect(cookie).toMatch(
      /^calstream_oauth=[A-Za-z0-9_-]{43}; Max-Age=600; Path=\/; HttpOnly; SameSite=Lax$/,
    )
    // Two tabs of one browser: both can be finished, each with its own state.
    const other = await person.go(two)
    expect(other.headers.get('set-cookie')).toBe(cookie)
    expect(other.location?.searchParams.get('state')).not.toBe(consent?.get('state'))
    expect(other.location?.searchParams.get('code_challenge')).not.toBe(consent?.get('code_challenge'))
    // The verifier rests sealed, and the state names nothing but a row.
    const flows = await world.look<{ code_verifier: string }>(
      'select code_verifier from oauth_flows where provider_id = $1',
      [provider],
    )
    expect(flows.map((flow) => flow.code_verifier.split('.')[0])).toEqual(['v1', 'v1'])
  })

  test('over https the cookie is Secure and bound to the host', async () => {
    const https = await world.another({ PUBLIC_URL: 'https://calendars.example.com' })
    const url = new URL(await linkFor({ vendor, provider: randomUUID() }))
    const start = await new Person().go(`${https}${url.pathname}${url.search}`)
    expect(start.headers.get('set-cookie')).toMatch(
      /^__Host-calstream_oauth=[\w-]{43}; Max-Age=600; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
    )
    expect(start.location?.searchParams.get('redirect_uri')).toBe(`https://calendars.example.com${callback}`)
  })

  test('goes back to the app with the outcome, on a listed origin only', async () => {
    const provider = randomUUID()
    const account = await anAccount(vendor)
    const return_to = `${RETURN_ORIGIN}/settings?tab=calendars#top`
    const done = await new Person().connect(await linkFor({ vendor, provider, return_to }), account.email)
    const [connection] = await connectionsOf(provider)
    expect(done.status).toBe(302)
    expect(done.location?.href).toBe(
      `${RETURN_ORIGIN}/settings?tab=calendars&calendar_status=connected&connection_id=${connection?.id}#top`,
    )
    expect(done.headers.get('referrer-policy')).toBe('no-referrer')
    for (const bad of [
      'https://evil.example.com/',
      'https://app.example.com.evil.example/',
      'https://app.example.com@evil.example/',
      'https://user:pw@app.example.com/',
      'http://app.example.com/',
      '//app.example.com/',
      'javascript:alert(1)',
      7,
    ]) {
      const refused = await askForLink({ vendor, provider, return_to: bad as string })
      expect(refused.status, String(bad)).toBe(400)
    }
  })

  test('an origin that is listed no more is not gone to', async () => {
    const unlisted = await world.another({ OAUTH_RETURN_ORIGINS: 'https://other.example.com' })
    const person = new Person()
    const link = await linkFor({ vendor, provider: randomUUID(), return_to: RETURN_ORIGIN })
    const back = await person.consent(await person.toConsent(link), (await anAccount(vendor)).email)
    person.routes.set(world.url, unlisted)
    const done = await person.go(back)
    expect([done.status, done.location]).toEqual([200, null])
  })
})

describe('a link', () => {
  const vendor = 'google'

  test('takes exactly one browser to consent, also when two instances get it at once', async () => {
    const link = await linkFor({ vendor, provider: randomUUID() })
    const people = Array.from({ length: 8 }, () => new Person())
    const steps = await Promise.all(
      people.map((person, i) => {
        if (i % 2 === 1) person.routes.set(world.url, second)
        return person.go(link)
      }),
    )
    expect(steps.map(({ status }) => status).toSorted()).toEqual([302, 401, 401, 401, 401, 401, 401, 401])
    const winner = people[steps.findIndex(({ status }) => status === 302)]!
    const consent = steps.find(({ status }) => status === 302)?.location
    const done = await winner.go(await winner.consent(consent!, (await anAccount(vendor)).email))
    expect(done.status).toBe(200)
  })

  test('that is altered, of another vendor, expired, or no link at all is refused, and stays good where it was good', async () => {
    const provider = randomUUID()
    const link = await linkFor({ vendor, provider })
    const token = new URL(link).searchParams.get('link') ?? ''
    const start = `${world.url}/api/auth/google/calendar`
    const altered = `${token.slice(0, -6)}${token.endsWith('AAAAAA') ? 'BBBBBB' : 'AAAAAA'}`
    const state = (await new Person().toConsent(await linkFor({ vendor, provider }))).searchParams.get(
      'state',
    )
    for (const bad of [
      start,
      `${start}?link=`,
      `${start}?link=${altered}`,
      `${start}?link=${state}`,
      `${start}?link=${token}&link=${token}`,
      `${start}?link=${'x'.repeat(5000)}`,
      link.replace('/google/', '/microsoft/'),
    ]) {
      const refused = await new Person().go(bad, 'application/json')
      expect([refused.status, problemOf(refused).error], bad).toEqual([
        401,
        'This link does not work any more',
      ])
      expect(refused.headers.get('set-cookie')).toBeNull()
    }
    expect((await new Person().go(link)).status).toBe(302)
    const late = await linkFor({ vendor, provider })
    await world.look(
      `update oauth_flows set expires_at = calstream_now() where link_used_at is null and provider_id = $1`,
      [provider],
    )
    expect((await new Person().go(late)).status).toBe(401)
  })

  test('is given to the provider of the token, or to the one that an operator names', async () => {
    const provider = randomUUID()
    const ask = (claims: Record<string, unknown> | null, body: unknown) =>
      world.api('POST', '/api/calendar/connect-links', { claims, body })
    const answers = [
      [await ask({ provider_id: provider }, { vendor }), 201],
      [await ask({ provider_id: provider }, { vendor, provider_id: provider }), 201],
      [await ask({ scope: 'operator' }, { vendor, provider_id: provider }), 201],
      [await ask({ scope: 'operator' }, { vendor }), 400],
      [await ask({ provider_id: provider }, { vendor, provider_id: randomUUID() }), 404],
      [await ask({ provider_id: provider }, { vendor, connection_id: randomUUID() }), 404],
      [await ask({ provider_id: provider }, { vendor: 'yahoo' }), 400],
      [await ask({ provider_id: provider }, {}), 400],
      [await ask({ provider_id: provider }, [vendor]), 400],
      [await ask(null, { vendor }), 401],
    ] as const
    expect(answers.map(([answer]) => answer.status)).toEqual(answers.map(([, status]) => status))
    const { url, expires_at } = (await answers[0][0].json()) as { url: string; expires_at: string }
    expect(url).toMatch(new RegExp(`^${world.url}/api/auth/google/calendar\\?link=[\\w.-]+$`))
    const inMinutes = (Date.parse(expires_at) - Date.now()) / 60_000
    expect(inMinutes).toBeGreaterThan(9)
    expect(inMinutes).toBeLessThanOrEqual(10)
  })
})

describe('a state', () => {
  const vendor = 'google'

  async function atCallback(provider: string) {
    const person = new Person()
    const account = await anAccount(vendor)
    const back = await person.consent(
      await person.toConsent(await linkFor({ vendor, provider })),
      account.email,
    )
    return { person, account, back }
  }

  test('connects once: a second callback changes nothing and says so', async () => {
    const provider = randomUUID()
    const { person, back } = await atCallback(provider)
    expect((await person.go(back)).status).toBe(200)
    const before = await traces(provider)
    const again = await person.go(back)
    expect(again.status).toBe(401)
    expect(again.text).toContain('This sign-in was used already')
    expect(await traces(provider)).toEqual(before)
    expect(before.connections).toHaveLength(1)
  })

  test('connects once when two instances get the callback at once, and the code is sent once', async () => {
    const provider = randomUUID()
    const { person, back } = await atCallback(provider)
    const elsewhere = new Person()
    for (const [name, value] of person.cookiesOf(back)) elsewhere.cookiesOf(back).set(name, value)
    elsewhere.routes.set(world.url, second)
    const before = await tokenCalls()
    const steps = await Promise.all([
      person.go(back),
      elsewhere.go(back),
      person.go(back),
      elsewhere.go(back),
    ])
    expect(steps.map(({ status }) => status).toSorted()).toEqual([200, 401, 401, 401])
    expect((await tokenCalls()) - before).toBe(1)
    const { connections, credentials, outbox } = await traces(provider)
    expect(connections.map((connection) => connection.sync_epoch)).toEqual([0])
    expect(credentials).toEqual([{ version: 1 }])
    expect(outbox).toEqual([{ count: 2 }])
  })

  test('is worth nothing in another browser, which cannot spend it either', async () => {
    const provider = randomUUID()
    const { person, back } = await atCallback(provider)
    const stranger = new Person()
    const neighbour = new Person()
    await neighbour.toConsent(await linkFor({ vendor, provider: randomUUID() }))
    for (const other of [stranger, neighbour]) {
      const refused = await other.go(back)
      expect(refused.status).toBe(401)
      expect(refused.text).toContain('This sign-in cannot be finished here')
      expect(actionOn(refused, 'Try again')).toBeNull()
    }
    expect((await traces(provider)).connections).toEqual([])
    expect((await person.go(back)).status).toBe(200)
  })

  test('of one vendor is nothing at the other, altered it is nothing anywhere', async () => {
    const provider = randomUUID()
    const { person, back } = await atCallback(provider)
    const swapped = new URL(back.href.replace('/google/', '/microsoft/'))
    const altered = new URL(back)
    altered.searchParams.set('state', `${back.searchParams.get('state')?.slice(0, -6)}AAAAAA`)
    const none = new URL(back)
    none.searchParams.delete('state')
    const link = new URL(back)
    link.searchParams.set(
      'state',
      new URL(await linkFor({ vendor, provider })).searchParams.get('link') ?? '',
    )
    for (const bad of [swapped, altered, none, link])
      expect((await person.go(bad)).status, bad.href).toBe(401)
    expect((await traces(provider)).connections).toEqual([])
    expect((await person.go(back)).status).toBe(200)
  })

  test('that is older than ten minutes is refused with a way to try again', async () => {
    const provider = randomUUID()
    const { person, account, back } = await atCallback(provider)
    await world.look('update oauth_flows set expires_at = calstream_now() where provider_id = $1', [provider])
    const late = await person.go(back)
    expect(late.status).toBe(401)
    expect(late.text).toContain('took too long')
    expect((await traces(provider)).connections).toEqual([])
    expect((await person.connect(actionOn(late, 'Try again') ?? '', account.email)).status).toBe(200)
  })
})

describe('a person who does not get through', () => {
  const vendor = 'google'

  async function afterAnswer(answer: 'deny' | 'partial', return_to?: string) {
    const provider = randomUUID()
    const account = await anAccount(vendor)
    const person = new Person()
    const asked =
      return_to === undefined ? ({ vendor, provider } as const) : ({ vendor, provider, return_to } as const)
    const page = await person.toConsent(await linkFor(asked))
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
      expect((await traces(provider)).connections).toEqual([])
      expect(actionOn(step, 'Go back to app.example.com')).toBe(
        `${RETURN_ORIGIN}/back?calendar_status=not_connected`,
      )
      const done = await person.connect(actionOn(step, 'Try again') ?? '', account.email)
      expect(done.location?.origin).toBe(RETURN_ORIGIN)
      expect((await traces(provider)).connections).toHaveLength(1)
    },
  )

  test('is never shown what the address says', async () => {
    const person = new Person()
    const consent = await person.toConsent(await linkFor({ vendor, provider: randomUUID() }))
    const back = new URL(`${world.url}/api/auth/google/calendar/callback`)
    back.searchParams.set('state', consent.searchParams.get('state') ?? '')
    back.searchParams.set('error', '<script>alert(1)</script>')
    back.searchParams.set('error_description', 'call 555-0100 now')
    const step = await person.go(back)
    expect(step.status).toBe(400)
    expect(step.text).not.toMatch(/alert|555/)
  })

  test.each([
    ['the token endpoint', { path: '/token' }],
    ['the calendar list', { path: '/calendar/v3/users/me/calendarList' }],
  ])('because %s is down is told to wait, and can try again', async (_what, match) => {
    const provider = randomUUID()
    const account = await anAccount(vendor)
    const person = new Person()
    const back = await person.consent(
      await person.toConsent(await linkFor({ vendor, provider })),
      account.email,
    )
    await world.simulator.admin('POST', '/admin/faults', { match, respond: { status: 503 } })
    const step = await person.go(back)
    expect([step.status, step.headers.get('retry-after')]).toEqual([503, '5'])
    expect((await traces(provider)).connections).toEqual([])
    await world.simulator.admin('DELETE', '/admin/faults')
    expect((await person.connect(actionOn(step, 'Try again') ?? '', account.email)).status).toBe(200)
  })

  test('because the vendor refuses the code is told so', async () => {
    const provider = randomUUID()
    const person = new Person()
    const back = await person.consent(
      await person.toConsent(await linkFor({ vendor, provider })),
      (await anAccount(vendor)).email,
    )
    back.searchParams.set('code', 'made-up')
    const step = await person.go(back)
    expect(step.status).toBe(400)
    expect(step.text).toContain('The consent could not be used')
    expect((await traces(provider)).connections).toEqual([])
  })
})

describe('the gate', () => {
  const vendor = 'google'
  const start = '/api/auth/google/calendar'

  test.each([
    ['GET', start],
    ['GET', `${start}/callback`],
    ['GET', '/api/auth/microsoft/calendar'],
    ['GET', '/api/auth/microsoft/calendar/callback'],
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
    const account = await anAccount(vendor)
    const person = new Person()
    const link = await linkFor({ vendor, provider })
    world.said.oauth = () => OFF
    const refused = await person.go(link)
    expect(refused.status).toBe(403)
    expect(refused.text).toContain('<h1>Calendar OAuth not enabled</h1>')
    world.said.oauth = (named) => (named === undefined ? ON : NOT_LISTED)
    expect((await askForLink({ vendor, provider })).status).toBe(403)
    expect((await person.go(link, 'application/json')).status).toBe(403)
    world.said.oauth = () => ON
    const back = await person.consent(await person.toConsent(link), account.email)
    const calls = await tokenCalls()
    for (const gate of [() => OFF, (named?: string) => (named === undefined ? ON : NOT_LISTED)]) {
      world.said.oauth = gate
      expect((await person.go(back)).status).toBe(403)
    }
    expect(await tokenCalls()).toBe(calls)
    world.said.oauth = () => ON
    expect((await person.go(back)).status).toBe(200)
  })

  test('closed between two calls to the vendor stops the flow there, and nothing is saved', async () => {
    const provider = randomUUID()
    const person = new Person()
    const link = await linkFor({ vendor, provider })
    const back = await person.consent(await person.toConsent(link), (await anAccount(vendor)).email)
    const calls = await tokenCalls()
    let asked = 0
    // At the door, for the provider, and then before the account is looked at.
    world.said.oauth = () => ((asked += 1) >= 3 ? OFF : ON)
    expect((await person.go(back)).status).toBe(403)
    expect((await tokenCalls()) - calls).toBe(1)
    expect((await traces(provider)).connections).toEqual([])
  })
})

describe('connecting again', () => {
  const vendor = 'google'

  test.each(['needs_reauth', 'disabled', 'disconnected'])(
    'heals the same connection from %s',
    async (status) => {
      const provider = randomUUID()
      const account = await anAccount(vendor)
      await new Person().connect(await linkFor({ vendor, provider }), account.email)
      const [first] = await connectionsOf(provider)
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
        await linkFor({ vendor, provider, connection_id: first?.id ?? '' }),
      )
      expect(consent.searchParams.get('login_hint')).toBe(account.email)
      const done = await person.go(await person.consent(consent, account.email))
      expect(done.text).toContain('Your calendar is connected')
      const after = await traces(provider)
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

  test('with another account makes another connection, and the page says so', async () => {
    const provider = randomUUID()
    const [asked, other] = [await anAccount(vendor), await anAccount(vendor)]
    await new Person().connect(await linkFor({ vendor, provider }), asked.email)
    const [first] = await connectionsOf(provider)
    const link = await linkFor({
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
    expect(actionOn(done, 'Go on')).toContain(`${RETURN_ORIGIN}/settings?calendar_status=connected`)
    const after = await connectionsOf(provider)
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
    const link = await linkFor({ vendor: 'google', provider })
    const person = new Person()
    person.routes.set(world.url, alone)
    const page = await person.go(link)
    expect([page.status, page.headers.get('retry-after')]).toEqual([503, '5'])
    expect(page.headers.get('content-type')).toMatch(/^text\/html/)
    person.routes.clear()
    expect((await person.go(link)).status).toBe(302)
  })
})
