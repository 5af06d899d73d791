// A real browser for the tests of pages: Debian's Chromium, without a window.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { chromium, type Browser } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/** Where the browser is: CHROMIUM_PATH, else on PATH. Throws an Error that says how to get it. */
export function chromiumPath(env: NodeJS.ProcessEnv = process.env): string {
  const named = env['CHROMIUM_PATH'] ?? ''
  if (named !== '') {
    if (existsSync(named)) return named
    throw new Error(`CHROMIUM_PATH names ${named}, and nothing is there.`)
  }
  const folders = (env['PATH'] ?? '').split(path.delimiter)
  const found = NAMES.flatMap((name) => folders.map((folder) => path.join(folder, name))).find((one) =>
    existsSync(one),
  )
  if (found !== undefined) return found
  throw new Error('The tests of the console need Chromium: apt-get install chromium, or set CHROMIUM_PATH.')
}

/** Starts the browser. Its own sandbox needs rights that a container's root has not. */
export function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: chromiumPath(),
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
  })
}
