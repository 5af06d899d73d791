// The console: how soon a page is answered with ten thousand connections.
import { SignJWT } from 'jose'
import pg from 'pg'
import { percentile } from '../../infra/oracle/verify.ts'
import { addAccounts, PROVIDER } from '../support/console-accounts.ts'
import type { TestStack } from '../support/test-stack.ts'
import { milliseconds, quantiles, type BenchResult } from './report.ts'
import { openBenchSystem } from './stack.ts'

const ACCOUNTS = 10_000
const WARM = 30
const ASKED = 200
/** A page that a person waits for feels immediate far above it; it is what the server takes. */
const AIM_MS = 10

/** Runs for about a minute. */
export async function benchConsole(
  stack: TestStack,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<BenchResult> {
  await using system = await openBenchSystem(stack, 'console', signal)
  const client = new pg.Client({ connectionString: system.databaseUrl, connectionTimeoutMillis: 5_000 })
  await client.connect()
  await addAccounts(async (sql, values = []) => client.query(sql, [...values]), ACCOUNTS)
  const { rows } = await client.query<{ id: string }>(
    'select id from external_calendar_connections order by account_label limit 500',
  )
  await client.end()
  await system.allow(
    [PROVIDER],
    rows.map(({ id }) => id),
  )
  await system.start('console')
  const headers = { authorization: `Bearer ${await tokenOf(system.env['API_JWT_SECRET'] ?? '')}` }
  const url = `http://127.0.0.1:${system.env['CONSOLE_PORT']}`
  const ask = async (path: string): Promise<number> => {
    const began = performance.now()
    const answer = await fetch(url + path, { headers, signal: AbortSignal.timeout(10_000) })
    await answer.arrayBuffer()
    if (answer.status !== 200) throw new Error(`${path} was answered ${answer.status}`)
    return performance.now() - began
  }
  const pages: readonly (readonly [string, (n: number) => string])[] = [
    ['the fleet', () => '/fleet'],
    ['connections, first page', () => '/connections'],
    ['connections, a later page', (n) => `/connections?after=${placeOf(n, rows)}`],
    ['connections of a state', () => '/connections?state=retrying'],
    ['connections, a search', (n) => `/connections?q=person-0${String(n % 1000).padStart(4, '0')}`],
    ['one connection', (n) => `/connections/${rows[n % rows.length]?.id ?? ''}`],
    ['dead letters', () => '/dead-letters'],
  ]
  const found: (readonly [string, readonly number[]])[] = []
  for (const [name, pathOf] of pages) {
    for (let n = 0; n < WARM; n += 1) await ask(pathOf(n))
    const took: number[] = []
    for (let n = 0; n < ASKED; n += 1) took.push(await ask(pathOf(n)))
    say(`${name}: ${quantiles(took).join(', ')}`)
    found.push([name, took])
  }
  const worst = Math.max(...found.map(([, took]) => percentile(took, 0.95) ?? Number.NaN))
  return {
    name: 'console',
    title: 'The console',
    what: `${ACCOUNTS.toLocaleString('en')} connections; each page asked for ${ASKED} times, one after the other, over a kept-alive connection on loopback; the time until the last byte.`,
    columns: ['page', 'p50', 'p95', 'p99'],
    rows: found.map(([name, took]) => [name, ...quantiles(took)]),
    verdicts: [
      `p95 of the slowest page is **${milliseconds(worst)}** (aim ≤ ${AIM_MS}: ${worst <= AIM_MS ? 'met' : 'missed'}).`,
    ],
  }
}

async function tokenOf(secret: string): Promise<string> {
  return new SignJWT({ scope: 'operator', exp: Math.floor(Date.now() / 1000) + 3600 })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(secret))
}

/** The place after an account, as a page gives it. */
function placeOf(n: number, rows: readonly { readonly id: string }[]): string {
  const at = (n * 37) % rows.length
  const account = `person-${String(at + 1).padStart(5, '0')}@example.com`
  return Buffer.from(JSON.stringify([account, rows[at]?.id])).toString('base64url')
}
