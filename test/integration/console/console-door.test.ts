// The door of the console: who gets in, and which changes it takes.
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ConsoleBrowser, openConsoleBrowser } from '../../support/console-browser.ts'
import { consoleToken, openGates, startTestConsole } from '../../support/console-world.ts'

let at: ConsoleBrowser

beforeAll(async () => {
  at = await openConsoleBrowser('console-door', 10)
}, 120_000)
afterAll(() => at[Symbol.asyncDispose]())

describe('who gets in', () => {
  test('is an operator with a token, and lands where they wanted to go', async () => {
    const context = await at.context()
    const page = await context.newPage()
    await page.goto('/gates')
    await expect.poll(() => page.url(), { timeout: 30_000 }).toContain('/sign-in?to=%2Fgates')
    await page.getByLabel('Token of an operator').fill('nonsense')
    await page.getByRole('button', { name: 'Sign in' }).click()
    expect(await page.getByRole('alert').textContent()).toContain('This token is not good')
    await page.getByLabel('Token of an operator').fill(await consoleToken())
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.waitForURL('**/gates')
    expect(await page.getByText('Signed in as').textContent()).toContain('Signed in as')
    const [cookie] = await context.cookies()
    expect(cookie).toMatchObject({ name: 'calstream', httpOnly: true, sameSite: 'Strict', secure: false })
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.waitForURL('**/sign-in')
    // The cookie alone, as a thief would have it, is worth nothing any more.
    await context.addCookies([cookie!])
    await page.goto('/fleet')
    expect(page.url()).toContain('/sign-in')
    expect(context.errors).toEqual([])
    await context.close()
  })

  test.each([
    ['no token', null],
    ['a token of an app', { provider_id: '0198d3a0-0000-7000-8000-000000000001' }],
    ['another scope', { scope: 'operators' }],
  ])('is nobody with %s', async (_what, claims) => {
    const token = claims === null ? null : await consoleToken('scope' in claims ? claims.scope : 'operator')
    const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` }
    if (claims !== null && 'provider_id' in claims) headers['authorization'] = 'Bearer ey.not.good'
    const answer = await fetch(`${at.world.url}/fleet.json`, { headers, redirect: 'manual' })
    expect(answer.status).toBe(401)
    expect(await answer.json()).toMatchObject({ status: 401, title: 'You are not signed in' })
  })

  test('is let go after ten wrong tokens, for a minute', async () => {
    await using second = await startTestConsole(at.world.database.url('calstream_console'), {
      standing: openGates,
    })
    const body = new URLSearchParams({ token: 'wrong' })
    const tries: number[] = []
    for (let n = 0; n < 12; n += 1) {
      const answer = await fetch(`${second.url}/sign-in`, {
        method: 'POST',
        body,
        headers: { 'sec-fetch-site': 'same-origin' },
      })
      tries.push(answer.status)
    }
    expect(tries).toEqual([...Array.from({ length: 10 }, () => 401), 429, 429])
  })

  test('over https has a cookie that no other host can plant', async () => {
    const env = { CONSOLE_URL: 'https://console.example.com' }
    await using second = await startTestConsole(
      at.world.database.url('calstream_console'),
      { standing: openGates },
      env,
    )
    const answer = await fetch(`${second.url}/sign-in`, {
      method: 'POST',
      redirect: 'manual',
      body: new URLSearchParams({ token: await consoleToken() }),
      headers: { origin: 'https://console.example.com' },
    })
    expect(answer.status).toBe(303)
    expect(answer.headers.getSetCookie()[0]).toMatch(
      /^__Host-calstream=[\w-]{43};.*Path=\/;.*HttpOnly; Secure; SameSite=Strict$/,
    )
  })
})

describe('a change', () => {
  const cookieOf = async (): Promise<string> => {
    const answer = await fetch(`${at.world.url}/sign-in`, {
      method: 'POST',
      redirect: 'manual',
      body: new URLSearchParams({ token: await consoleToken() }),
      headers: { 'sec-fetch-site': 'same-origin' },
    })
    return answer.headers.getSetCookie()[0]?.split(';')[0] ?? ''
  }

  test.each([
    ['another site', { 'sec-fetch-site': 'cross-site' }, 403],
    ['another port of this machine', { 'sec-fetch-site': 'same-site' }, 403],
    ['an old browser on another origin', { origin: 'http://evil.example.com' }, 403],
    ['a sandboxed frame', { origin: 'null' }, 403],
    ['what names neither', {}, 403],
    ['our own page (control)', { 'sec-fetch-site': 'same-origin' }, 303],
  ])('from %s', async (_what, headers, status) => {
    const cookie = await cookieOf()
    const answer = await fetch(`${at.world.url}/sign-out`, {
      method: 'POST',
      redirect: 'manual',
      headers: { cookie, ...headers },
    })
    expect(answer.status).toBe(status)
    const after = await fetch(`${at.world.url}/fleet`, { headers: { cookie }, redirect: 'manual' })
    expect(after.status).toBe(status === 403 ? 200 : 303)
  })

  test('from a form of another origin is refused in a browser that is signed in', async () => {
    const stranger = createServer((_request, response) =>
      response
        .setHeader('content-type', 'text/html')
        .end(`<form method="post" action="${at.world.url}/sign-out"><button>Win</button></form>`),
    )
    await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve))
    const context = await at.context()
    const page = await context.newPage()
    await at.signIn(page)
    await page.goto(`http://127.0.0.1:${(stranger.address() as AddressInfo).port}/`)
    await page.getByRole('button').click()
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('This came from another site')
    await page.goto('/fleet')
    expect(page.url()).toContain('/fleet')
    await context.close()
    stranger.close()
  })

  test('is not for a viewer, who may read', async () => {
    const change = { method: 'POST', scope: 'operator.read' }
    const refused = await at.ask('/sign-in-no-more', change)
    expect([refused.status, await refused.json()]).toEqual([
      403,
      expect.objectContaining({ title: 'You may read only' }),
    ])
    expect((await at.ask('/sign-in-no-more', { method: 'POST' })).status).toBe(404)
    expect((await at.ask('/fleet', { scope: 'operator.read' })).status).toBe(200)
  })
})
