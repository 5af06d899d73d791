// The pure parts of OAuth: tokens of a flow, addresses to go back to, the page, and what is said for each failure.
import { randomBytes, randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import { FAILURE_CODES, Failure, type FailureCode } from '#shared/domain/failure.ts'
import { parseKeyring } from '#shared/platform/crypto.ts'
import { Secret } from '#shared/platform/env.ts'
import { failedGrant, refusedConsent } from '../../../services/ingress/oauth/explanations.ts'
import { createFlowTokens } from '../../../services/ingress/oauth/flow-tokens.ts'
import { sendPage } from '../../../services/ingress/oauth/page.ts'
import { allowedReturn, withOutcome } from '../../../services/ingress/oauth/return-to.ts'
import { createServer } from '../../../services/ingress/server.ts'
import { silent } from '../../support/recording-consumer.ts'

const key = () => randomBytes(32).toString('base64')
const ring = (text: string) => parseKeyring(new Secret(text))

describe('a token of a flow', () => {
  const [old, young] = [`k1:${key()}`, `k2:${key()}`]
  const tokens = createFlowTokens(ring(old))

  test('names its flow to whoever holds the key, for its own purpose', async () => {
    const flow = randomUUID()
    for (const purpose of ['link', 'state'] as const) {
      const token = await tokens.sign(purpose, flow)
      expect(await tokens.read(purpose, token)).toBe(flow)
      expect(await tokens.read(purpose === 'link' ? 'state' : 'link', token)).toBeNull()
      expect(token.length).toBeLessThan(250)
    }
  })

  test('outlives the arrival of a new key, and not the end of its own', async () => {
    const flow = randomUUID()
    const token = await tokens.sign('link', flow)
    expect(await createFlowTokens(ring(`${young},${old}`)).read('link', token)).toBe(flow)
    expect(await createFlowTokens(ring(young)).read('link', token)).toBeNull()
  })

  test('that anybody else made or changed is none', async () => {
    const token = await tokens.sign('link', randomUUID())
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
  async function page(accept: string) {
    const app = createServer({ connectionsMax: 10 }, silent())
    app.get('/page', (request, reply) =>
      sendPage(request, reply, {
        status: 403,
        title: 'No <b>way</b>',
        paragraphs: [`"You" & 'me'`],
        actions: [{ label: 'Go <on>', href: 'https://x.example/?a=1&b="2"' }],
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
    expect(headers['content-security-policy']).toMatch(/default-src 'none'.*frame-ancestors 'none'/)
  })

  test('is a problem document for programs, with the same words', async () => {
    const { headers, body } = await page('*/*')
    expect(headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(JSON.parse(body)).toMatchObject({ status: 403, error: 'No <b>way</b>', detail: `"You" & 'me'` })
    expect(headers['retry-after']).toBe('5')
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
    const { title, paragraphs } = refusedConsent('google', error)
    expect([title, ...paragraphs].join(' ')).toMatch(/Nothing was connected/)
  })
})
