// The ingress as a process, with gates from the real Unleash: killed between the exchange of a code
// and the commit, it loses nothing that a person cannot do again; and its log holds no part of a
// flow that is worth anything.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openSecret, parseKeyring } from '#shared/process/keyring.ts'
import { Secret } from '#shared/process/secret.ts'
import type { Component } from '../../../infra/stack/component.ts'
import { admit } from '../../support/admit.ts'
import { eventually } from '../../support/eventually.ts'
import { actionOn, Person } from '../../support/ingress-world.ts'
import { signedBearer } from '../../support/literal-ingress.ts'
import { look, openWorld, type World } from '../../support/world.ts'

const START_MS = 60_000

let world: World
let ingress: Component

beforeAll(async () => {
  world = await openWorld({ label: 'oauth_processes' })
  ingress = await world.start('ingress')
}, 90_000)
afterAll(() => world[Symbol.asyncDispose]())

async function linkFor(provider: string): Promise<string> {
  return eventually('a link', async () => {
    const answer = await fetch(`${world.env['PUBLIC_URL']}/api/calendar/connect-links`, {
      method: 'POST',
      headers: {
        authorization: await signedBearer({ provider_id: provider }, world.env['API_JWT_SECRET'] ?? ''),
      },
      body: JSON.stringify({ vendor: 'google' }),
    })
    // Until the allowlist is seen.
    return answer.status === 201 ? ((await answer.json()) as { url: string }).url : null
  })
}

/** As the owner of the tables: no service may read all of them. */
function rowsOf<R extends object>(sql: string, provider: string): Promise<R[]> {
  return look<R>(world.env['POSTGRES_URL'] ?? '', sql, [provider])
}

const CONNECTIONS = 'select id, status from external_calendar_connections where provider_id = $1'

test('killed between exchange and commit leaves nothing; the same page then offers another try, which connects', async () => {
  const provider = randomUUID()
  await admit({ providerIds: [provider], connectionIds: [] })
  const account = await world.simulator.addAccount({ calendars: 1, eventsPerCalendar: 1 })
  const person = new Person()
  const back = await person.consent(await person.toConsent(await linkFor(provider)), account.email)
  // The account is asked for after the exchange:
  // held there, the code is spent and nothing is committed.
  await world.admin('POST', '/admin/faults', {
    match: { path: '/calendar/v3/users/me/calendarList/primary' },
    hang: true,
  })
  const lost = person.go(back).catch(() => 'lost')
  await eventually('the exchange', async () => {
    const { requests } = await world.admin<{ requests: { path: string }[] }>('GET', '/admin/requests')
    return requests.some((request) => request.path.includes('calendarList'))
  })
  await ingress.kill()
  expect(await lost).toBe('lost')
  expect(await rowsOf(CONNECTIONS, provider)).toEqual([])
  await world.admin('DELETE', '/admin/faults')
  await ingress.restart(AbortSignal.timeout(START_MS))

  const again = await person.go(back)
  expect(again.status).toBe(401)
  expect(again.text).toContain('This sign-in was used already')
  const done = await person.connect(actionOn(again, 'Try again') ?? '', account.email)
  expect(done.text).toContain('Your calendar is connected')
  expect(await rowsOf(CONNECTIONS, provider)).toEqual([{ id: expect.any(String), status: 'active' }])
}, 120_000)

test('nothing of a flow that is worth anything is in the log, whether it ends well or badly', async () => {
  const provider = randomUUID()
  await admit({ providerIds: [provider], connectionIds: [] })
  const account = await world.simulator.addAccount({ calendars: 1, eventsPerCalendar: 1 })
  const person = new Person()
  const links = [await linkFor(provider), await linkFor(provider)]
  const secrets = new Set<string>(links.map((link) => new URL(link).searchParams.get('link') ?? ''))
  for (const [i, link] of links.entries()) {
    const back = await person.consent(await person.toConsent(link), account.email)
    for (const name of ['state', 'code']) secrets.add(back.searchParams.get(name) ?? '')
    if (i === 0)
      await world.admin('POST', '/admin/faults', { match: { path: '/token' }, respond: { status: 500 } })
    expect((await person.go(back)).status).toBe(i === 0 ? 503 : 200)
    await world.admin('DELETE', '/admin/faults')
  }
  for (const value of person.cookiesOf(new URL(links[0] ?? '')).values()) secrets.add(value)
  const [row] = await rowsOf<{ id: string; refresh: string; access: string }>(
    `select c.id, k.refresh_token as refresh, k.access_token as access
       from external_calendar_connections c join connection_credentials k on k.connection_id = c.id where provider_id = $1`,
    provider,
  )
  const keyring = parseKeyring(new Secret(world.env['CREDENTIALS_KEYS'] ?? ''))
  const opened = (sealed: string | undefined, field: string) =>
    openSecret(keyring, sealed ?? '', { connectionId: row?.id ?? '', field })
  secrets.add(opened(row?.refresh, 'refresh_token')).add(opened(row?.access, 'access_token'))
  secrets.add(world.env['GOOGLE_CLIENT_SECRET'] ?? '')

  const log = readFileSync(path.join(world.folder, 'logs', 'ingress.log'), 'utf8')
  expect(secrets.size).toBe(10)
  for (const secret of secrets) {
    expect(secret.length).toBeGreaterThan(15)
    expect(log.includes(secret), secret.slice(0, 8)).toBe(false)
  }
  // The control: the flow is in the log, both ends of it.
  expect(log).toContain('an account was connected')
  expect(log).toContain('an account could not be connected')
  expect(log).toContain(row?.id ?? 'nothing')
}, 120_000)
