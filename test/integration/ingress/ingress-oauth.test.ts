// Connecting an account, on real Postgres, registry and play vendors over HTTP: what a browser
// gets, what is committed, and what is refused without a trace. Each refusal has its control: the
// same step, done right, succeeds.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { parseKeyring, openSecret } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import { actionOn, Person, type IngressWorld } from '../../support/ingress-world.ts'
import { OAuthWorld, problemOf, RETURN_ORIGIN, type VendorName } from '../../support/oauth-world.ts'

let oauth: OAuthWorld
let world: IngressWorld

beforeAll(async () => {
  oauth = await OAuthWorld.open('ingress_oauth')
  world = oauth.world
})
afterAll(() => oauth[Symbol.asyncDispose]())
beforeEach(() => oauth.calm())

const VENDORS: readonly VendorName[] = ['google', 'microsoft']

describe.each(VENDORS)('connecting an account at %s', (vendor) => {
  const callback = `/api/auth/${vendor}/calendar/callback`

  test('commits connection, sealed credentials, calendars, the news and the first request together', async () => {
    const provider = randomUUID()
    const account = await oauth.anAccount(vendor)
    const done = await new Person().connect(await oauth.linkFor({ vendor, provider }), account.email)
    expect([done.status, done.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
    expect(done.text).toContain('Your calendar is connected')
    expect(done.text).toContain(account.email)

    const [connection, ...others] = await oauth.connectionsOf(provider)
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
    const [one, two] = [await oauth.linkFor({ vendor, provider }), await oauth.linkFor({ vendor, provider })]
    const person = new Person()
    const page = await person.go(one)
    const start = await person.press(page)
    expect(start.status).toBe(303)
    const consent = start.location?.searchParams
    expect(consent?.get('response_type')).toBe('code')
    expect(consent?.get('code_challenge_method')).toBe('S256')
    expect(consent?.get('code_challenge')).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(consent?.get('redirect_uri')).toBe(`${world.url}${callback}`)
    expect(start.headers.get('referrer-policy')).toBe('no-referrer')
    expect(start.headers.get('cache-control')).toBe('no-store')
    const cookie = page.headers.get('set-cookie') ?? ''
    // As long as the link may be tried again: the page after ten minutes still knows the browser.
    expect(cookie).toMatch(
      /^calstream_oauth=[A-Za-z0-9_-]{43}; Max-Age=3600; Path=\/; HttpOnly; SameSite=Lax$/,
    )
    // Two tabs of one browser: both can be finished, each with its own state.
    const otherPage = await person.go(two)
    expect(otherPage.headers.get('set-cookie')).toBe(cookie)
    const other = await person.press(otherPage)
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
    const url = new URL(await oauth.linkFor({ vendor, provider: randomUUID() }))
    const person = new Person()
    person.routes.set('https://calendars.example.com', https)
    const page = await person.go(`https://calendars.example.com${url.pathname}${url.search}`)
    expect(page.headers.get('set-cookie')).toMatch(
      /^__Host-calstream_oauth=[\w-]{43}; Max-Age=3600; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
    )
    const start = await person.press(page)
    expect(start.location?.searchParams.get('redirect_uri')).toBe(`https://calendars.example.com${callback}`)
  })

  test('goes back to the app with the outcome, on a listed origin only', async () => {
    const provider = randomUUID()
    const account = await oauth.anAccount(vendor)
    const return_to = `${RETURN_ORIGIN}/settings?tab=calendars#top`
    const done = await new Person().connect(
      await oauth.linkFor({ vendor, provider, return_to }),
      account.email,
    )
    const [connection] = await oauth.connectionsOf(provider)
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
      'https://app.example.com/\0',
      'https://app.example.com/\r\nx: y',
      'https:\\\\app.example.com/',
      7,
    ]) {
      const refused = await oauth.askForLink({ vendor, provider, return_to: bad as string })
      expect(refused.status, String(bad)).toBe(400)
    }
  })

  test('an origin that is listed no more is not gone to', async () => {
    const unlisted = await world.another({ OAUTH_RETURN_ORIGINS: 'https://other.example.com' })
    const person = new Person()
    const link = await oauth.linkFor({ vendor, provider: randomUUID(), return_to: RETURN_ORIGIN })
    const back = await person.consent(await person.toConsent(link), (await oauth.anAccount(vendor)).email)
    person.routes.set(world.url, unlisted)
    const done = await person.go(back)
    expect([done.status, done.location]).toEqual([200, null])
  })
})

describe.each(VENDORS)('a link to %s', (vendor) => {
  const other = vendor === 'google' ? 'microsoft' : 'google'

  test('takes exactly one browser to consent, also when two instances get it at once', async () => {
    const link = await oauth.linkFor({ vendor, provider: randomUUID() })
    const people = Array.from({ length: 8 }, () => new Person())
    const steps = await Promise.all(
      people.map((person, i) => {
        if (i % 2 === 1) person.routes.set(world.url, oauth.second)
        return person.go(link)
      }),
    ).then((pages) => Promise.all(pages.map((page, i) => people[i]!.press(page))))
    expect(steps.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([
      303, 401, 401, 401, 401, 401, 401, 401,
    ])
    const winner = people[steps.findIndex(({ status }) => status === 303)]!
    const consent = steps.find(({ status }) => status === 303)?.location
    const done = await winner.go(await winner.consent(consent!, (await oauth.anAccount(vendor)).email))
    expect(done.status).toBe(200)
  })

  test('that is altered, of another vendor, expired, or no link at all is refused, and stays good where it was good', async () => {
    const provider = randomUUID()
    const link = await oauth.linkFor({ vendor, provider })
    const token = new URL(link).searchParams.get('link') ?? ''
    const start = `${world.url}/api/auth/${vendor}/calendar`
    const altered = `${token.slice(0, -6)}${token.endsWith('AAAAAA') ? 'BBBBBB' : 'AAAAAA'}`
    const state = (await new Person().toConsent(await oauth.linkFor({ vendor, provider }))).searchParams.get(
      'state',
    )
    for (const bad of [
      start,
      `${start}?link=`,
      `${start}?link=${altered}`,
      `${start}?link=${state}`,
      `${start}?link=${token}&link=${token}`,
      `${start}?link=${'x'.repeat(5000)}`,
      link.replace(`/${vendor}/`, `/${other}/`),
    ]) {
      const refused = await new Person().go(bad, 'application/json')
      expect([refused.status, problemOf(refused).error], bad).toEqual([
        401,
        'This link does not work any more',
      ])
      expect(refused.headers.get('set-cookie')).toBeNull()
    }
    expect((await new Person().follow(link)).status).toBe(303)
    const late = await oauth.linkFor({ vendor, provider })
    const slow = new Person()
    const page = await slow.go(late)
    await world.look(
      `update oauth_flows set expires_at = calstream_now() where link_used_at is null and provider_id = $1`,
      [provider],
    )
    expect((await new Person().go(late)).status).toBe(401)
    expect((await slow.press(page)).status).toBe(401)
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
    expect(url).toMatch(new RegExp(`^${world.url}/api/auth/${vendor}/calendar\\?link=[\\w.-]+$`))
    const inMinutes = (Date.parse(expires_at) - Date.now()) / 60_000
    expect(inMinutes).toBeGreaterThan(9)
    expect(inMinutes).toBeLessThanOrEqual(10)
  })
})

describe.each(VENDORS)('a state of %s', (vendor) => {
  const other = vendor === 'google' ? 'microsoft' : 'google'

  test('connects once: a second callback changes nothing and says so', async () => {
    const provider = randomUUID()
    const { person, back } = await oauth.atCallback(vendor, provider)
    expect((await person.go(back)).status).toBe(200)
    const before = await oauth.traces(provider)
    const again = await person.go(back)
    expect(again.status).toBe(401)
    expect(again.text).toContain('Your calendar was connected with it')
    expect(actionOn(again, 'Try again')).toBeNull()
    expect(await oauth.traces(provider)).toEqual(before)
    expect(before.connections).toHaveLength(1)
  })

  test('connects once when two instances get the callback at once, and the code is sent once', async () => {
    const provider = randomUUID()
    const { person, back } = await oauth.atCallback(vendor, provider)
    const elsewhere = new Person()
    for (const [name, value] of person.cookiesOf(back)) elsewhere.cookiesOf(back).set(name, value)
    elsewhere.routes.set(world.url, oauth.second)
    const before = await oauth.tokenCalls()
    const steps = await Promise.all([
      person.go(back),
      elsewhere.go(back),
      person.go(back),
      elsewhere.go(back),
    ])
    expect(steps.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 401, 401, 401])
    expect((await oauth.tokenCalls()) - before).toBe(1)
    const { connections, credentials, outbox } = await oauth.traces(provider)
    expect(connections.map((connection) => connection.sync_epoch)).toEqual([0])
    expect(credentials).toEqual([{ version: 1 }])
    expect(outbox).toEqual([{ count: 2 }])
  })

  test('is worth nothing in another browser, which cannot spend it either', async () => {
    const provider = randomUUID()
    const { person, back } = await oauth.atCallback(vendor, provider)
    const stranger = new Person()
    const neighbour = new Person()
    await neighbour.toConsent(await oauth.linkFor({ vendor, provider: randomUUID() }))
    for (const other of [stranger, neighbour]) {
      const refused = await other.go(back)
      expect(refused.status).toBe(401)
      expect(refused.text).toContain('This sign-in cannot be finished here')
      expect(actionOn(refused, 'Try again')).toBeNull()
    }
    expect((await oauth.traces(provider)).connections).toEqual([])
    expect((await person.go(back)).status).toBe(200)
  })

  test('of one vendor is nothing at the other, altered it is nothing anywhere', async () => {
    const provider = randomUUID()
    const { person, back } = await oauth.atCallback(vendor, provider)
    const swapped = new URL(back.href.replace(`/${vendor}/`, `/${other}/`))
    const altered = new URL(back)
    altered.searchParams.set('state', `${back.searchParams.get('state')?.slice(0, -6)}AAAAAA`)
    const none = new URL(back)
    none.searchParams.delete('state')
    const link = new URL(back)
    link.searchParams.set(
      'state',
      new URL(await oauth.linkFor({ vendor, provider })).searchParams.get('link') ?? '',
    )
    for (const bad of [swapped, altered, none, link])
      expect((await person.go(bad)).status, bad.href).toBe(401)
    expect((await oauth.traces(provider)).connections).toEqual([])
    expect((await person.go(back)).status).toBe(200)
  })

  test('that is older than ten minutes is refused with a way to try again', async () => {
    const provider = randomUUID()
    const { person, account, back } = await oauth.atCallback(vendor, provider)
    await world.look('update oauth_flows set expires_at = calstream_now() where provider_id = $1', [provider])
    const late = await person.go(back)
    expect(late.status).toBe(401)
    expect(late.text).toContain('took too long')
    expect((await oauth.traces(provider)).connections).toEqual([])
    expect((await person.connect(actionOn(late, 'Try again') ?? '', account.email)).status).toBe(200)
  })
})
