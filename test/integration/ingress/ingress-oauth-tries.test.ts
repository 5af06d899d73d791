// The button before a consent, and what follows a consent that did not work: nobody but a person
// who presses it spends a link, and a link with all its tries is one row that connects one account,
// in one browser, within one hour.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { CHAIN_LIFE_MS } from '../../../services/ingress/oauth/flow.ts'
import { actionOn, formOn, Person, type IngressWorld, type Step } from '../../support/ingress-world.ts'
import { OAuthWorld, RETURN_ORIGIN, type VendorName } from '../../support/oauth-world.ts'

let oauth: OAuthWorld
let world: IngressWorld

beforeAll(async () => {
  oauth = await OAuthWorld.open('ingress_oauth_tries')
  world = oauth.world
})
afterAll(() => oauth[Symbol.asyncDispose]())
beforeEach(() => oauth.calm())

const VENDORS: readonly VendorName[] = ['google', 'microsoft']
const vendor = 'google'

interface FlowRow {
  readonly attempt: number
  readonly used: boolean
}

function flowsOf(provider: string): Promise<FlowRow[]> {
  return world.look<FlowRow>(
    'select attempt, browser_hash is not null as used from oauth_flows where provider_id = $1',
    [provider],
  )
}

/** A person whose consent of this try did not work, in front of the page that says so. */
async function refusedOnce(provider: string, asked: { return_to?: string } = {}) {
  const person = new Person()
  const { email } = await oauth.anAccount(vendor)
  const consent = await person.toConsent(await oauth.linkFor({ vendor, provider, ...asked }))
  const back = await person.consent(consent, email, 'deny')
  const step = await person.go(back)
  expect(step.status).toBe(403)
  return { person, email, back, step, next: actionOn(step, 'Try again') ?? '' }
}

async function press(person: Person, link: string): Promise<Step> {
  return person.press(await person.go(link))
}

describe.each(VENDORS)('a link to %s', (to) => {
  test('names the app and asks; only its button spends it', async () => {
    const provider = randomUUID()
    const names = { app_name: '  Acme <b>&</b> Söhne ', return_to: `${RETURN_ORIGIN}/x` }
    const link = await oauth.linkFor({ vendor: to, provider, ...names })
    const calls = await oauth.tokenCalls()
    for (const accept of ['text/html', '*/*', 'application/json']) {
      const page = await new Person().go(link, accept)
      expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
    }
    const head = await fetch(link, { method: 'HEAD', redirect: 'manual' })
    expect([head.status, head.headers.get('allow')]).toEqual([405, 'GET, POST'])
    expect(await flowsOf(provider)).toEqual([{ attempt: 0, used: false }])
    expect(await oauth.tokenCalls()).toBe(calls)

    const person = new Person()
    const page = await person.go(link)
    expect(page.text).toContain('<h1>Acme &lt;b&gt;&amp;&lt;/b&gt; Söhne asks to read your')
    expect(page.text).toContain('you go back to app.example.com')
    expect(page.text).not.toMatch(/<b>|<script|<img|http-equiv|\son\w+=/)
    expect(page.headers.get('referrer-policy')).toBe('no-referrer')
    expect(page.headers.get('content-security-policy')).toMatch(
      /^default-src 'none'; style-src 'sha256-[^']+'; base-uri 'none'; form-action 'self' https: http:\/\/127\.0\.0\.1:\d+; frame-ancestors 'none'$/,
    )
    expect((await person.press(page)).status).toBe(303)
    expect(await flowsOf(provider)).toEqual([{ attempt: 1, used: true }])
  })
})

describe('the button', () => {
  test('works once, in the browser that got the page, and for nobody else', async () => {
    const provider = randomUUID()
    const link = await oauth.linkFor({ vendor, provider })
    const [person, stranger, blocked] = [new Person(), new Person(), new Person()]
    const page = await person.go(link)
    const form = formOn(page)!
    await stranger.go(link)
    const send = (who: Person, fields: Record<string, string> | URLSearchParams, action = form.action) =>
      who.go(action, 'text/html', new URLSearchParams(fields))
    const altered = `${form.fields.get('form')?.slice(0, -6)}AAAAAA`
    const token = new URL(link).searchParams.get('link') ?? ''
    for (const refused of [
      await send(stranger, form.fields),
      await send(blocked, form.fields),
      await send(person, {}),
      await send(person, { form: altered }),
      await send(person, { form: token }),
      await send(person, { form: 'x'.repeat(3000) }),
      await send(person, form.fields, form.action.replace('/google/', '/microsoft/')),
    ])
      expect(refused.status).toBe(401)
    expect(await flowsOf(provider)).toEqual([{ attempt: 0, used: false }])
    expect((await person.press(page)).status).toBe(303)
    // Pressed twice, or gone back to: the same browser may go on, with a link of its own.
    for (const again of [await person.press(page), await person.go(link)]) {
      expect([again.status, again.location]).toEqual([401, null])
      expect(again.text).toContain('This link was used already')
      expect(actionOn(again, 'Try again')).not.toBeNull()
    }
    expect(actionOn(await stranger.go(link), 'Try again')).toBeNull()
    expect(await flowsOf(provider)).toEqual([{ attempt: 1, used: true }])
  })

  test('of another site is not pressed', async () => {
    const provider = randomUUID()
    const person = new Person()
    const page = await person.go(await oauth.linkFor({ vendor, provider }))
    const { action, fields } = formOn(page)!
    const cookie = [...person.cookiesOf(new URL(action))].map((pair) => pair.join('=')).join('; ')
    const send = (headers: Record<string, string>) =>
      fetch(action, { method: 'POST', body: fields, redirect: 'manual', headers: { cookie, ...headers } })
    for (const headers of [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'none' },
      { origin: 'https://evil.example' },
      { origin: `${world.url}.evil.example` },
    ])
      expect((await send(headers)).status, JSON.stringify(headers)).toBe(401)
    expect(await flowsOf(provider)).toEqual([{ attempt: 0, used: false }])
    expect((await send({ origin: world.url, 'sec-fetch-site': 'same-origin' })).status).toBe(303)
  })

  test.each([
    ['', 400],
    ['   ', 400],
    ['---', 400],
    ['a'.repeat(81), 400],
    ['Acme\u001B[2J', 400],
    ['Acme\nEvil', 400],
    ['Acme\0', 400],
    ['Acme\u202Ecod.exe', 400],
    ['Acme\uD800', 400],
    ['Ac\u200Bme', 400],
    ['Ac\uFEFFme', 400],
    [7, 400],
    [['Acme'], 400],
    ['a'.repeat(80), 201],
    ['田中予約 👩‍💻', 201],
    [null, 201],
  ])('names no app that is called %j: %i', async (name, status) => {
    const asked = { vendor, provider: randomUUID(), app_name: name as string } as const
    expect((await oauth.askForLink(asked)).status).toBe(status)
  })

  test('without a name names the host that people go back to', async () => {
    const link = await oauth.linkFor({ vendor, provider: randomUUID(), return_to: RETURN_ORIGIN })
    expect((await new Person().go(link)).text).toContain(
      '<h1>app.example.com asks to read your Google calendar',
    )
    const bare = await oauth.linkFor({ vendor, provider: randomUUID() })
    expect((await new Person().go(bare)).text).toContain('<h1>The app that you came from asks')
  })
})

describe('another try', () => {
  test('is one, however often it is asked for, and costs no row', async () => {
    const provider = randomUUID()
    const { person, back, next } = await refusedOnce(provider)
    const links = new Set<string | null>([next])
    for (let i = 0; i < 300; i += 1) links.add(actionOn(await person.go(back), 'Try again'))
    expect([...links]).toEqual([next])
    expect(await flowsOf(provider)).toEqual([{ attempt: 1, used: true }])
  })

  test('belongs to the same browser', async () => {
    const provider = randomUUID()
    const { person, email, back, next } = await refusedOnce(provider)
    const stranger = new Person()
    const guest = new Person()
    await guest.go(await oauth.linkFor({ vendor, provider: randomUUID() }))
    for (const other of [stranger, guest]) {
      expect(actionOn(await other.go(back), 'Try again')).toBeNull()
      const refused = await other.go(next)
      expect([refused.status, formOn(refused), actionOn(refused, 'Try again')]).toEqual([401, null, null])
    }
    expect((await person.connect(next, email)).status).toBe(200)
  })

  test('ends the one before: its state is worth nothing more, and its page offers no third', async () => {
    const provider = randomUUID()
    const person = new Person()
    const { email } = await oauth.anAccount(vendor)
    const link = await oauth.linkFor({ vendor, provider })
    const first = await person.consent(await person.toConsent(link), email)
    const second = await person.consent(
      await person.toConsent(actionOn(await person.go(link), 'Try again') ?? ''),
      email,
    )
    const old = await person.go(first)
    expect([old.status, actionOn(old, 'Try again')]).toEqual([401, null])
    expect(old.text).toContain('You began another one')
    expect((await oauth.traces(provider)).connections).toEqual([])
    expect((await person.go(second)).status).toBe(200)
    expect(await flowsOf(provider)).toEqual([{ attempt: 2, used: true }])
  })

  test('is begun once, when two instances are asked at once', async () => {
    const provider = randomUUID()
    const { person, next } = await refusedOnce(provider)
    const elsewhere = new Person()
    for (const [name, value] of person.cookiesOf(new URL(next)))
      elsewhere.cookiesOf(new URL(next)).set(name, value)
    elsewhere.routes.set(world.url, oauth.second)
    const pages = await Promise.all([person, elsewhere, person, elsewhere].map((who) => who.go(next)))
    const steps = await Promise.all(pages.map((page, i) => (i % 2 === 0 ? person : elsewhere).press(page)))
    expect(steps.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([303, 401, 401, 401])
    expect(await flowsOf(provider)).toEqual([{ attempt: 2, used: true }])
  })

  test('is none after success, not on a reload, not in another tab, not by an old link', async () => {
    const provider = randomUUID()
    const { person, email, back: denied, next } = await refusedOnce(provider, { return_to: RETURN_ORIGIN })
    const kept = await person.go(next)
    const back = await person.consent((await person.press(kept)).location!, email)
    expect((await person.go(back)).status).toBe(302)
    const [connection] = await oauth.connectionsOf(provider)
    for (const reloaded of [await person.go(back), await person.go(denied)]) {
      expect([reloaded.status, actionOn(reloaded, 'Try again')]).toEqual([401, null])
      expect(reloaded.text).toContain('Your calendar was connected')
      expect(actionOn(reloaded, 'Go back')).toBe(
        `${RETURN_ORIGIN}/?calendar_status=connected&connection_id=${connection?.id}`,
      )
    }
    for (const dead of [await person.go(next), await person.press(kept)])
      expect([dead.status, formOn(dead), actionOn(dead, 'Try again')]).toEqual([401, null, null])
    expect(await oauth.connectionsOf(provider)).toHaveLength(1)
  })

  test('begun while a consent is with the vendor takes its place: of that one nothing is kept', async () => {
    const provider = randomUUID()
    const person = new Person()
    const [one, two] = [await oauth.anAccount(vendor), await oauth.anAccount(vendor)]
    const back = await person.consent(
      await person.toConsent(await oauth.linkFor({ vendor, provider })),
      one.email,
    )
    // Between the exchange and the end of the transaction:
    // exactly there another browser tab begins the next try.
    await world.look(
      `create function begin_next_try() returns trigger language plpgsql as $$
       begin update oauth_flows set attempt = attempt + 1 where provider_id = new.provider_id; return new; end $$`,
    )
    await world.look(
      `create trigger meanwhile after insert on external_calendar_connections for each row execute function begin_next_try()`,
    )
    const lost = await person.go(back)
    await world.look('drop trigger meanwhile on external_calendar_connections')
    expect(lost.status).toBe(401)
    expect(lost.text).toContain('This sign-in was used already')
    expect(await oauth.traces(provider)).toEqual({ connections: [], outbox: [{ count: 0 }], credentials: [] })
    const done = await person.connect(actionOn(lost, 'Try again') ?? '', two.email)
    expect(done.status).toBe(200)
    expect((await oauth.connectionsOf(provider)).map((row) => row.account_label)).toEqual([two.email])
  })

  test('ends with the hour of the link, and no consent outlives it', async () => {
    const provider = randomUUID()
    const { person, back, next } = await refusedOnce(provider)
    const age = (ms: number) =>
      world.look(
        `update oauth_flows set created_at = calstream_now() - $2::float8 * interval '1 millisecond' where provider_id = $1`,
        [provider, ms],
      )
    const leftOf = async () => {
      const [row] = await world.look<{ seconds: number }>(
        'select extract(epoch from expires_at - calstream_now())::float8 as seconds from oauth_flows where provider_id = $1',
        [provider],
      )
      return row?.seconds ?? 0
    }
    await age(CHAIN_LIFE_MS - 120_000)
    expect((await press(person, next)).status).toBe(303)
    expect(await leftOf()).toBeLessThanOrEqual(120)
    await age(CHAIN_LIFE_MS)
    await world.look('update oauth_flows set expires_at = created_at where provider_id = $1', [provider])
    const consent = await person.go(back)
    expect(actionOn(consent, 'Try again')).toBeNull()
    const late = await person.go(next)
    expect([late.status, formOn(late), actionOn(late, 'Try again')]).toEqual([401, null, null])
  })

  test('that is over says where to start again', async () => {
    const provider = randomUUID()
    const { person, back } = await refusedOnce(provider)
    await world.look(
      `update oauth_flows set created_at = created_at - $2::float8 * interval '1 millisecond' where provider_id = $1`,
      [provider, CHAIN_LIFE_MS],
    )
    const page = await person.go(back)
    expect([page.status, actionOn(page, 'Try again')]).toEqual([401, null])
    expect(page.text).toContain('Your link is used up')
  })
})

describe('an account at Google', () => {
  const identityOf = async (provider: string) =>
    world.look<{ id: string; identity: string; label: string; status: string }>(
      `select id, vendor_account_id as identity, account_label as label, status from external_calendar_connections
        where provider_id = $1`,
      [provider],
    )
  const connect = async (provider: string, email: string) =>
    new Person().connect(await oauth.linkFor({ vendor: 'google', provider }), email)

  test('that changes its address is the same connection, with a new label', async () => {
    const provider = randomUUID()
    const account = await oauth.anAccount('google')
    await connect(provider, account.email)
    const [before] = await identityOf(provider)
    expect(before?.identity).toMatch(/^\d+$/)
    expect(before?.label).toBe(account.email)

    const address = `new-${account.email}`
    const { simulator } = world
    await simulator.admin('PATCH', `/admin/accounts/${account.accountId}`, { email: address })
    const primary = `/admin/accounts/${account.accountId}/calendars/${encodeURIComponent(account.email)}`
    await simulator.admin('POST', `${primary}/rename`, { id: address, alias: true })
    await connect(provider, address)
    expect(await identityOf(provider)).toEqual([{ ...before, label: address }])
  })

  test('that was connected under its address is known by what stays from now on', async () => {
    const provider = randomUUID()
    const account = await oauth.anAccount('google')
    await connect(provider, account.email)
    const [fresh] = await identityOf(provider)
    await world.look('update external_calendar_connections set vendor_account_id = $2 where id = $1', [
      fresh?.id,
      account.email,
    ])
    await connect(provider, account.email)
    expect(await identityOf(provider)).toEqual([fresh])
  })

  test('that somebody else has the address of by now is another connection', async () => {
    const provider = randomUUID()
    const account = await oauth.anAccount('google')
    await connect(provider, account.email)
    await world.look(
      `update external_calendar_connections set vendor_account_id = '999' where provider_id = $1`,
      [provider],
    )
    await connect(provider, account.email)
    expect((await identityOf(provider)).map(({ identity }) => identity)).toContain('999')
    expect(await identityOf(provider)).toHaveLength(2)
  })
})
