// The pure parts of OAuth: tokens of a flow, addresses to go back to, the page,
// and what is said for each failure.
import { randomBytes, randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import type { GateName, GateText } from '#shared/domain/gates.ts'
import { FAILURE_CODES, Failure, type FailureCode } from '#shared/domain/failure.ts'
import { parseKeyring } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import {
  type Asking,
  askingPage,
  failedGrant,
  refusedConsent,
} from '../../../services/ingress/oauth/explanations.ts'
import { oauthRefusal, readingOf } from '../../../services/ingress/oauth/gate.ts'
import { createFlowTokens } from '../../../services/ingress/oauth/flow-tokens.ts'
import { sendPage, type Form } from '../../../services/ingress/oauth/page.ts'
import { allowedReturn, withOutcome } from '../../../services/ingress/oauth/return-to.ts'
import { createServer } from '../../../services/ingress/server.ts'
import { silent } from '../../support/recording-consumer.ts'

const key = () => randomBytes(32).toString('base64')
const ring = (text: string) => parseKeyring(new Secret(text))

describe('a token of a flow', () => {
  const [old, young] = [`k1:${key()}`, `k2:${key()}`]
  const tokens = createFlowTokens(ring(old))

  test('names its flow to whoever holds the key, for its own purpose', async () => {
    const purposes = ['link', 'form', 'state'] as const
    for (const purpose of purposes) {
      const named = { flow: randomUUID(), attempt: 7, browser: randomBytes(32).toString('base64url') }
      const token = await tokens.sign(purpose, named)
      expect(await tokens.read(purpose, token)).toEqual(named)
      for (const other of purposes) if (other !== purpose) expect(await tokens.read(other, token)).toBeNull()
      expect(token.length).toBeLessThan(300)
    }
  })

  test('is the same each time, so that asking for another try ten times gives one link', async () => {
    const named = { flow: randomUUID(), attempt: 2 }
    expect(await tokens.sign('link', named)).toBe(await tokens.sign('link', named))
    expect(await tokens.sign('link', { ...named, attempt: 3 })).not.toBe(await tokens.sign('link', named))
  })

  test('outlives the arrival of a new key, and not the end of its own', async () => {
    const flow = randomUUID()
    const token = await tokens.sign('link', { flow, attempt: 1 })
    const both = createFlowTokens(ring(`${young},${old}`))
    expect(await both.read('link', token)).toEqual({ flow, attempt: 1 })
    expect(await createFlowTokens(ring(young)).read('link', token)).toBeNull()
  })

  test('that anybody else made or changed is none', async () => {
    const token = await tokens.sign('link', { flow: randomUUID(), attempt: 1 })
    const [header = '', payload = '', mac = ''] = token.split('.')
    const none = Buffer.from('{"alg":"none","kid":"k1"}').toString('base64url')
    const other = Buffer.from(JSON.stringify({ jti: randomUUID() })).toString('base64url')
    const forged = await new SignJWT({ jti: randomUUID() })
      .setProtectedHeader({ alg: 'HS256', kid: 'k1' })
      .sign(randomBytes(32))
    const bad = [
      `${none}.${payload}.`,
      `${header}.${other}.${mac}`,
      forged,
      `${header}.${payload}`,
      '',
      'x',
      null,
      ['x'],
      token + token,
    ]
    for (const one of bad) expect(await tokens.read('link', one), String(one)).toBeNull()
  })
})

describe('an address to go back to', () => {
  const origins = ['https://app.example.com', 'http://127.0.0.1:3000', 'http://localhost:*', 'http://[::1]:*']

  test.each([
    'https://app.example.com',
    'https://app.example.com/a?b=c#d',
    'http://127.0.0.1:3000/x',
    'HTTPS://APP.example.com/',
    'https://app.example.com:443/x',
    'https://app.example.com?x=%00%5C',
    'https://app.example.com/caf\u00E9#\u{1F600}',
    'http://localhost:9988/back',
    'http://localhost/back',
    'http://[::1]:9988',
  ])('%s is on the list', (text) => expect(allowedReturn(text, origins)?.href).toBe(new URL(text).href))

  test.each([
    'https://app.example.com.evil.example/',
    'https://app.example.com:444/',
    'https://evil.example/https://app.example.com/',
    'https://app.example.com@evil.example/',
    'https://x:y@app.example.com/',
    'http://app.example.com/',
    'javascript:alert(1)//https://app.example.com',
    '//app.example.com',
    '/settings',
    `https://app.example.com/${'a'.repeat(2048)}`,
    `https://app.example.com/${'\u00E9'.repeat(1000)}`,
    'https://app.example.com/\0',
    'https://app.example.com/a\tb',
    'https://app.example.com/a\r\nSet-Cookie: x=y',
    'https://app.example.com/\u001B[2J',
    'https://app.example.com/\u0085',
    'https://app.example.com/\u2028',
    'https://app.example.com/\uD800',
    'https://app.example.com/a b',
    '\nhttps://app.example.com/',
    ' https://app.example.com/',
    'ht\ttps://app.example.com/',
    'https:\\\\app.example.com/',
    'https:/\\app.example.com/',
    'https://app.example.com\\@evil.example/',
    'https://app.example.com/\\evil.example',
    'https:app.example.com/',
    'https:///app.example.com/',
    'https://\uFF41pp.example.com/',
    'https://app\u3002example.com/',
    'https://app%2Eexample.com/',
    'https://@app.example.com/',
    'https://app.example.com:/',
    'http://localhost.evil.example:9988/',
    'http://localhost:*/',
    'http://127.0.0.1:3001/',
    'http://2130706433:3000/',
    'https://localhost:9988/',
    'null',
    '',
  ])('%s is not', (text) => expect(allowedReturn(text, [...origins, 'null'])).toBeNull())

  test('keeps its own query and gets the outcome, once', () => {
    const url = new URL('https://app.example.com/a?tab=1&calendar_status=old')
    expect(withOutcome(url, { calendar_status: 'connected' })).toBe(
      'https://app.example.com/a?tab=1&calendar_status=connected',
    )
  })
})

describe('the page', () => {
  async function page(accept: string, form?: Form) {
    const app = createServer(
      { connectionsMax: 10, connectionsPerAddressMax: 10, trustedProxies: [] },
      silent(),
    )
    app.get('/page', (request, reply) =>
      sendPage(request, reply, {
        status: 403,
        title: 'No <b>way</b>',
        paragraphs: [`"You" & 'me'`],
        actions: [{ label: 'Go <on>', href: 'https://x.example/?a=1&b="2"' }],
        form,
        headers: { 'retry-after': '5' },
      }),
    )
    const answer = await app.inject({ url: '/page', headers: { accept } })
    await app.close()
    return answer
  }

  test('escapes all that it shows and needs nothing from elsewhere', async () => {
    const { headers, body, statusCode } = await page('text/html,application/xhtml+xml;q=0.9')
    expect(statusCode).toBe(403)
    expect(body).toContain('<h1>No &lt;b&gt;way&lt;/b&gt;</h1>')
    expect(body).toContain('<p>&quot;You&quot; &amp; &#39;me&#39;</p>')
    expect(body).toContain('<a href="https://x.example/?a=1&amp;b=&quot;2&quot;">Go &lt;on&gt;</a>')
    expect(headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'retry-after': '5',
    })
    expect(headers['content-security-policy']).toMatch(
      /^default-src 'none'; style-src 'sha256-[\w+/=]+'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/,
    )
  })

  test('with a button escapes it too, and lets its answer lead over https and to the places in clear that are named', async () => {
    const { headers, body } = await page('text/html', {
      action: 'https://c.example/a"b',
      fields: { 'f"': '<1>' },
      button: 'Go & ask',
      targets: ['https://accounts.example/auth?x=1', 'http://127.0.0.1:4101/auth', 'http://127.0.0.1:4101/x'],
    })
    expect(body).toContain(
      '<form method="post" action="https://c.example/a&quot;b"><input type="hidden" name="f&quot;" value="&lt;1&gt;"><button>Go &amp; ask</button></form>',
    )
    expect(headers['content-security-policy']).toContain(
      "; form-action 'self' https: http://127.0.0.1:4101; frame-ancestors 'none'",
    )
    expect(body).not.toMatch(/<script|<img|http-equiv|\son\w+=/)
  })

  test('is a problem document for programs, with the same words', async () => {
    const { headers, body } = await page('*/*')
    expect(headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(JSON.parse(body)).toMatchObject({ status: 403, error: 'No <b>way</b>', detail: `"You" & 'me'` })
    expect(headers['retry-after']).toBe('5')
  })
})

describe('what a person is asked', () => {
  const asked = { vendor: 'google', appName: null, host: null, account: null } as const
  const words = (changes: Partial<Asking>) => {
    const { title, paragraphs } = askingPage({ ...asked, ...changes })
    return [title, ...paragraphs].join('\n')
  }

  test('names the app as it names itself, else where it sends people, else nobody', () => {
    expect(words({ appName: 'Acme', host: 'app.example.com' })).toMatch(
      /^Acme asks to read your Google calendar\n.*connected to Acme, (?:.|\n)*back to app\.example\.com/,
    )
    expect(words({ host: 'app.example.com' })).toMatch(
      /^app\.example\.com asks .*\n.*connected to app\.example\.com,/,
    )
    expect(words({ vendor: 'microsoft' })).toMatch(
      /^The app that you came from asks to read your Microsoft calendar/,
    )
  })

  test('says whose account it is, that we only read, and how to say no', () => {
    const text = words({ account: 'ana@example.com' })
    expect(text).toContain('you choose an account at Google')
    expect(text).toContain('ana@example.com, which was connected before')
    expect(text).toContain('never change or delete')
    expect(text).toContain('close this page')
  })
})

describe('a gate', () => {
  const off = (gate: GateName, text: GateText) => ({ state: 'off', gate, text }) as const

  test('tells an app what is off, and who turns it on', () => {
    expect(oauthRefusal({ state: 'on' })).toBeNull()
    expect(oauthRefusal(off('CALENDAR_ALLOWLIST_PROVIDER_IDS', 'Provider not allowed'))).toEqual({
      status: 403,
      error: 'Provider not allowed',
      detail:
        'This provider is not on CALENDAR_ALLOWLIST_PROVIDER_IDS; an operator adds it (calstream allow --provider <id>).',
    })
    expect(oauthRefusal(off('CALENDAR_OAUTH_ENABLED', 'Calendar OAuth not enabled'))?.detail).toMatch(
      /switched off \(CALENDAR_OAUTH_ENABLED\); an operator switches it on/,
    )
    expect(oauthRefusal({ state: 'unknown', gate: 'CALENDAR_OAUTH_ENABLED' })?.status).toBe(503)
  })

  test('promises a person who connected nothing that it does not let happen', () => {
    const next = 'is connected and will be read next.'
    expect(readingOf({ state: 'on' })).toBe(next)
    for (const [decision, words] of [
      [off('CALENDAR_ALLOWLIST_PROVIDER_IDS', 'Provider not allowed'), 'as soon as an operator lets it in'],
      [
        off('CALENDAR_ALLOWLIST_CONNECTION_IDS', 'Connection not allowed'),
        'as soon as an operator lets it in',
      ],
      [
        off('CALENDAR_SYNC_ENABLED', 'Calendar sync not enabled'),
        'as soon as an operator switches reading on',
      ],
      [{ state: 'unknown', gate: 'CALENDAR_SYNC_ENABLED' } as const, 'as soon as our service finds'],
    ] as const)
      expect(readingOf(decision)).toMatch(new RegExp(`^is connected\\. It is read ${words}`))
  })
})

describe('what a person is told', () => {
  test.each(Object.keys(FAILURE_CODES) as FailureCode[])(
    'of %s says what happened and what to do, and nothing of ours',
    (code) => {
      const explanation = failedGrant('microsoft', new Failure(code, 'token=abc at /srv/x.ts'))
      const text = [explanation.title, ...explanation.paragraphs].join(' ')
      expect(text).toMatch(/Nothing was connected/)
      expect(text).toMatch(/[Tt]ry again/)
      expect(text).not.toMatch(/token|abc|srv|Postgres|Kafka/)
      expect([400, 403, 503]).toContain(explanation.status)
    },
  )

  test.each([
    'access_denied',
    'consent_required',
    'server_error',
    'made_up',
    undefined,
    ['access_denied'],
    7,
  ])('of the refusal %j has words too', (error) => {
    const { title, paragraphs } = refusedConsent('google', { error })
    expect([title, ...paragraphs].join(' ')).toMatch(/Nothing was connected/)
  })

  const APPROVAL = 'https://login.example/organizations/adminconsent?client_id=cid'
  const titleOf = (error: unknown, description?: string, more: object = {}) =>
    refusedConsent('microsoft', { error, error_description: description, ...more }, APPROVAL).title

  test.each([
    [
      'access_denied',
      'AADSTS90094: The grant requires admin permission.',
      'Your organization does not allow this yet',
    ],
    ['consent_required', 'AADSTS90094', 'Your organization does not allow this yet'],
    ['access_denied', 'AADSTS65004: User declined to consent to access the app.', 'You did not allow access'],
    ['access_denied', undefined, 'You did not allow access'],
    ['invalid_request', 'AADSTS50194: Not a multitenant application.', 'The app is not set up correctly'],
    ['unauthorized_client', 'AADSTS700016: Not found.', 'Your organization does not allow this yet'],
    ['access_denied', 'It is AADSTS90094, somebody says', 'You did not allow access'],
  ])('of %s with %j is what the number says', (error, description, title) => {
    expect(titleOf(error, description)).toBe(title)
  })

  test('of an approval that is needed names where an administrator gives it, and only that', () => {
    const refusal = { error: 'access_denied', error_description: 'AADSTS90094' }
    const asked = refusedConsent('microsoft', refusal, APPROVAL)
    expect(asked.paragraphs.join(' ')).toContain(APPROVAL)
    expect(refusedConsent('google', { error: 'admin_policy_enforced' }).paragraphs.join(' ')).not.toContain(
      'http',
    )
    expect(
      failedGrant('microsoft', new Failure('vendor/admin-required'), APPROVAL).paragraphs.join(' '),
    ).toContain(APPROVAL)
  })

  test('of an approval that was given, without a code, is that it was given', () => {
    expect(titleOf(undefined, undefined, { admin_consent: 'True' })).toBe(
      'The app is approved for your organization',
    )
    expect(titleOf('access_denied', undefined, { admin_consent: 'True' })).toBe('You did not allow access')
    expect(titleOf(undefined, undefined, { admin_consent: ['True'] })).toBe('The sign-in did not work')
  })

  test.each([
    ['google', 'vendor/no-mailbox', 'Google Calendar is not switched on for this account'],
    ['microsoft', 'vendor/no-mailbox', 'A mailbox with a calendar is not switched on for this account'],
    ['google', 'vendor/client-rejected', 'The app is not set up correctly'],
    ['google', 'vendor/token-refused', 'Your organization does not allow this yet'],
    ['google', 'vendor/refusing-all', 'The calendar could not be connected just now'],
  ] as const)('by %s of %s has words of its own', (vendor, code, title) => {
    expect(failedGrant(vendor, new Failure(code)).title).toBe(title)
  })
})
