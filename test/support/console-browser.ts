// A console with accounts, a browser before it, and a program that asks it with a token.
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { startBrowser } from './chromium.ts'
import { addAccounts } from './console-accounts.ts'
import { consoleToken, openConsoleWorld, type ConsoleWorld } from './console-world.ts'

export interface WatchedContext extends BrowserContext {
  /** What its pages said of errors, refused scripts and styles among them. */
  readonly errors: string[]
}

export class ConsoleBrowser implements AsyncDisposable {
  readonly world: ConsoleWorld
  readonly #browser: Browser

  constructor(world: ConsoleWorld, browser: Browser) {
    this.world = world
    this.#browser = browser
  }

  /** A browser that no person has used yet. */
  async context(scheme: 'light' | 'dark' = 'light'): Promise<WatchedContext> {
    const context = await this.#browser.newContext({ colorScheme: scheme, baseURL: this.world.url })
    const errors: string[] = []
    context.on('weberror', (error) => void errors.push(error.error().message))
    context.on('console', (message) => {
      // What is no page has a status of its own, which the browser tells too.
      if (message.type() === 'error' && !/status of 4\d\d/.test(message.text())) errors.push(message.text())
    })
    return Object.assign(context, { errors })
  }

  async signIn(page: Page, scope = 'operator'): Promise<void> {
    await page.goto('/')
    await page.getByLabel('Token of an operator').fill(await consoleToken(scope))
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.waitForURL('**/fleet')
  }

  /** Asks as a program: with the token in the request, and for JSON. */
  async ask(
    path: string,
    init: { method?: string; scope?: string; body?: URLSearchParams } = {},
  ): Promise<Response> {
    const { method = 'GET', scope, body } = init
    return fetch(`${this.world.url}${path}`, {
      method,
      ...(body === undefined ? {} : { body }),
      redirect: 'manual',
      headers: { authorization: `Bearer ${await consoleToken(scope)}`, accept: 'application/json' },
    })
  }

  /** The first connection, by its address, that is like that. */
  async someId(where = `status = 'active'`): Promise<string> {
    const [row] = await this.world.look<{ id: string }>(
      `select id from external_calendar_connections where ${where} order by account_label limit 1`,
    )
    return row?.id ?? ''
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close()
    await this.world[Symbol.asyncDispose]()
  }
}

/** Opens all of it, with so many accounts. */
export async function openConsoleBrowser(label: string, accounts: number): Promise<ConsoleBrowser> {
  const world = await openConsoleWorld(label)
  await addAccounts((sql, values) => world.look(sql, values), accounts)
  return new ConsoleBrowser(world, await startBrowser())
}
