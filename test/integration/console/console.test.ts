// The pages of the console in a real browser.
import AxeBuilder from '@axe-core/playwright'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ConsoleBrowser, openConsoleBrowser } from '../../support/console-browser.ts'
import { consoleToken, openGates, startTestConsole } from '../../support/console-world.ts'

const START_MS = 240_000
const PATIENCE_MS = 30_000
const ACCOUNTS = 10_000

interface Listed {
  readonly connections: readonly { readonly id: string }[]
  readonly next: string | null
}

let at: ConsoleBrowser

beforeAll(async () => {
  at = await openConsoleBrowser('console', ACCOUNTS)
}, START_MS)
afterAll(() => at[Symbol.asyncDispose]())

/** Every page, with an address that shows it filled, and those that are empty or refused. */
const PAGES = [
  '/fleet',
  '/connections',
  '/connections?state=needs_reauth',
  '/connections?q=nobody',
  '/connections?cause=grant_revoked',
  '/connections/ID',
  '/connections/00000000-0000-4000-8000-000000000000',
  '/repairs',
  '/repairs/new',
  '/repairs/new?kind=sync_now&state=retrying',
  '/dead-letters',
  '/gates',
  '/drills',
  '/nothing-here',
] as const

describe('a page', () => {
  test.each(['light', 'dark'] as const)(
    'has nothing that axe finds, in %s',
    async (scheme) => {
      const context = await at.context(scheme)
      const page = await context.newPage()
      await page.goto('/sign-in')
      expect(await findings(page)).toEqual([])
      await at.signIn(page)
      for (const path of PAGES) {
        await page.goto(path.replace('ID', await at.someId(`error_count > 0`)))
        expect(await findings(page), path).toEqual([])
      }
      expect(context.errors).toEqual([])
      await context.close()
    },
    START_MS,
  )

  test('that lacks a name for its field would be found (control)', async () => {
    const context = await at.context()
    const page = await context.newPage()
    await page.goto('/sign-in')
    await page.locator('label').evaluateAll((labels) => labels.forEach((label) => label.remove()))
    expect(await findings(page)).toContain('label')
    await context.close()
  })

  test('is used with a keyboard alone', async () => {
    const context = await at.context()
    const page = await context.newPage()
    await page.goto('/')
    // The field has the focus already.
    await page.keyboard.insertText(await consoleToken())
    await page.keyboard.press('Enter')
    await page.waitForURL('**/fleet')
    await page.keyboard.press('Tab')
    expect(await focused(page)).toBe('Skip to the content')
    await page.keyboard.press('Enter')
    expect(await page.evaluate('document.activeElement?.id')).toBe('content')
    await page.goto('/fleet')
    for (const name of ['Skip to the content', 'Calstream', 'Fleet', 'Connections']) {
      await page.keyboard.press('Tab')
      expect(await focused(page)).toBe(name)
    }
    await page.keyboard.press('Enter')
    await page.waitForURL('**/connections')
    await page.getByLabel('Account or id').focus()
    await page.keyboard.type('person-00053@')
    await expect.poll(() => page.locator('tbody tr').count(), { timeout: PATIENCE_MS }).toBe(1)
    await page.getByRole('link', { name: 'person-00053@example.com' }).focus()
    await page.keyboard.press('Enter')
    await page.waitForURL('**/connections/*')
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('person-00053@example.com')
    expect(context.errors).toEqual([])
    await context.close()
  })

  test("shows other people's text as text", async () => {
    const evil = `<img src=x onerror="document.title='won'">`
    const id = await at.someId(`account_label = 'person-00007@example.com'`)
    await at.world.look(`update external_calendar_connections set account_label = $1 where id = $2`, [
      evil,
      id,
    ])
    const context = await at.context()
    const page = await context.newPage()
    await at.signIn(page)
    await page.goto(`/connections/${id}`)
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe(evil)
    expect(await page.title()).toContain(evil)
    expect(await page.locator('main img').count()).toBe(0)
    await at.world.look(
      `update external_calendar_connections set account_label = 'person-00007@example.com' where id = $1`,
      [id],
    )
    await context.close()
  })

  test('says the same as its JSON', async () => {
    const context = await at.context()
    const page = await context.newPage()
    await at.signIn(page)
    const asJson = async (path: string) => (await (await at.ask(path)).json()) as Record<string, unknown>
    const list = (await asJson('/connections.json?state=retrying')) as { connections: { account: string }[] }
    await page.goto('/connections?state=retrying')
    const names = await page.locator('tbody th').allTextContents()
    expect(names.map((name) => name.trim())).toEqual(list.connections.map(({ account }) => account))
    expect(names.length).toBeGreaterThan(10)
    const id = await at.someId(`status = 'needs_reauth'`)
    const one = (await asJson(`/connections/${id}`)) as {
      why: { causes: { code: string; text: string }[] }
      timeline: { text: string }[]
      calendars: unknown[]
    }
    await page.goto(`/connections/${id}`)
    expect(one.why.causes.map(({ code }) => code)).toContain('grant_revoked')
    const told = await page.locator('.causes li').allTextContents()
    expect(told.length).toBe(one.why.causes.length)
    for (const [nth, { text }] of one.why.causes.entries()) expect(told[nth]).toContain(text)
    expect(await page.locator('.timeline li').count()).toBe(one.timeline.length)
    expect(await page.locator('tbody tr').count()).toBe(one.calendars.length)
    expect((await at.ask('/connections?state=nonsense')).status).toBe(400)
    expect((await at.ask('/connections?after=nonsense')).status).toBe(400)
    await context.close()
  })
})

describe('with ten thousand connections', () => {
  test(
    'every one of them is on exactly one page',
    async () => {
      const seen: string[] = []
      let next: string | null = ''
      while (next !== null) {
        const answer: { connections: { id: string }[]; next: string | null } = (await (
          await at.ask(`/connections?after=${next}`)
        ).json()) as never
        seen.push(...answer.connections.map(({ id }) => id))
        next = answer.next
      }
      expect(seen.length).toBe(ACCOUNTS)
      expect(new Set(seen).size).toBe(ACCOUNTS)
    },
    START_MS,
  )

  test(
    'each state and each cause of the fleet leads to exactly the connections that have it',
    async () => {
      const fleet = (await (await at.ask('/fleet')).json()) as {
        causes: { cause: string; connections: number }[]
        connections: { by_state: { state: string; connections: number }[] }
      }
      const counted = new Map<string, number>()
      const count = (query: string, number: number) => counted.set(query, (counted.get(query) ?? 0) + number)
      for (const { cause, connections } of fleet.causes) count(`cause=${cause}`, connections)
      for (const { state, connections } of fleet.connections.by_state) count(`state=${state}`, connections)
      const wanted = [
        'cause=grant_revoked',
        'cause=paused_by_operator',
        'state=retrying',
        'state=needs_reauth',
      ]
      expect([...counted.keys()]).toEqual(
        expect.arrayContaining([...wanted, 'state=disabled', 'state=in_sync']),
      )
      for (const [query, number] of counted)
        expect([query, (await walked(query)).size]).toEqual([query, number])
    },
    START_MS,
  )

  test('the fleet counts all of them', async () => {
    const fleet = (await (await at.ask('/fleet')).json()) as {
      connections: { total: number; by_state: { connections: number }[] }
    }
    expect(fleet.connections.total).toBe(ACCOUNTS)
  })
})

describe('the fleet', () => {
  test(
    'changes while it is open, without being loaded again',
    async () => {
      const context = await at.context()
      const page = await context.newPage()
      await at.signIn(page)
      await page.evaluate(`document.body.setAttribute('data-loaded', 'once')`)
      const id = await at.someId(`account_label = 'person-00001@example.com'`)
      const finding = page.getByText('wait to be published')
      expect(await finding.count()).toBe(0)
      await at.world.look(
        `insert into outbox (shard, topic, key, value, headers, created_at) values (0, 'calendar.event.changed.v1', $1, '', '{}', now() - interval '5 minutes')`,
        [id],
      )
      await page.getByText('wait to be published, the oldest for 5 min').waitFor({ timeout: PATIENCE_MS })
      await page.locator('[data-live]:not(.stale)').waitFor({ timeout: PATIENCE_MS })
      await at.world.look(`delete from outbox`)
      await expect.poll(() => finding.count(), { timeout: PATIENCE_MS }).toBe(0)
      at.world.standing = null
      await page.getByText('Unleash does not answer, so').waitFor({ timeout: PATIENCE_MS })
      at.world.standing = openGates()
      expect(await page.evaluate(`document.body.getAttribute('data-loaded')`)).toBe('once')
      expect(await page.locator('.chart canvas').count()).toBe(1)
      expect(context.errors).toEqual([])
      await context.close()
    },
    START_MS,
  )

  test('says that Postgres is away, on a page, and never a stack', async () => {
    const nowhere = 'postgres://calstream_console:x@127.0.0.1:9/calstream'
    await using second = await startTestConsole(nowhere, { standing: openGates })
    const headers = { authorization: `Bearer ${await consoleToken()}` }
    for (const path of ['/fleet', '/connections', `/connections/${await at.someId()}`, '/dead-letters']) {
      const answer = await fetch(`${second.url}${path}.json`, { headers })
      const text = await answer.text()
      expect([path, answer.status, JSON.parse(text)]).toEqual([
        path,
        503,
        expect.objectContaining({ title: 'The database does not answer' }),
      ])
      expect(text).not.toMatch(/\bat .*\.ts|ECONNREFUSED|node_modules/)
    }
    const ready = await fetch(`http://127.0.0.1:${second.adminPort}/readyz`)
    expect(ready.status).toBe(200)
  })
})

test('all that a browser loads is less than 60 kB', async () => {
  const context = await at.context()
  const page = await context.newPage()
  await at.signIn(page)
  const html = await page.content()
  const files = [...html.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map((match) => match[1] ?? '')
  expect(files.length).toBeGreaterThan(5)
  let bytes = 0
  for (const file of files) {
    const answer = await context.request.get(file, { headers: { 'accept-encoding': 'gzip' } })
    bytes += Number(answer.headers()['content-length'])
    expect(answer.headers()['cache-control']).toContain('immutable')
  }
  expect(bytes).toBeGreaterThan(20_000)
  expect(bytes).toBeLessThan(60_000)
  await context.close()
})

/** The connections on all pages of a query. */
async function walked(query: string): Promise<ReadonlySet<string>> {
  const seen = new Set<string>()
  let next: string | null = ''
  while (next !== null) {
    const answer: Listed = (await (await at.ask(`/connections?${query}&after=${next}`)).json()) as Listed
    for (const { id } of answer.connections) seen.add(id)
    next = answer.next
  }
  return seen
}

/** The rules of axe that a page breaks. */
async function findings(page: Page): Promise<readonly string[]> {
  const { violations } = await new AxeBuilder({ page }).analyze()
  return violations.map(({ id, nodes }) =>
    id === 'label' ? id : `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`,
  )
}

function focused(page: Page): Promise<string> {
  return page.evaluate(`document.activeElement?.textContent?.trim() ?? ''`)
}
