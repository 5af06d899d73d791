// The flag server as a real process: our toggles on it, what a restart must not undo, the project
// and environment of the settings, and its console.
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { z } from 'zod'
import { GATES } from '#shared/domain/gates.ts'
import { seedToggles, setAllowlist, setToggle } from '#shared/gates/seed-toggles.ts'
import { isDefaultLoginOpen, signIn } from '#shared/gates/unleash-console.ts'
import { runStatement } from '../../../infra/stack/postgres.ts'
import { allow, switchGate } from '../../../services/cli/allow.ts'
import { consolePassword } from '../../../services/cli/doctor.ts'
import { prepareToggles } from '../../../services/cli/prepare.ts'
import { describeGates } from '#shared/gates/toggles.ts'
import { readToggles } from '../../../services/cli/toggles.ts'
import type { OwnUnleash } from '../../support/component-types.ts'
import { startLocalUnleash, startOwnUnleash } from '../../support/own-components.ts'

const signal = (): AbortSignal => AbortSignal.timeout(100_000)
const token = z.object({ secret: z.string() })
const nothing = () => undefined
const silent = {
  isJson: false,
  rows: nothing,
  object: nothing,
  text: nothing,
  line: nothing,
  entry: nothing,
  report: nothing,
}

describe('the toggles', () => {
  const seed = { switchesOn: true, providerIds: ['p1'], connectionIds: [] }
  let unleash: OwnUnleash
  beforeAll(async () => {
    unleash = await startOwnUnleash(seed)
  })
  afterAll(() => unleash?.[Symbol.asyncDispose]())

  test('are made on, with one constraint on each list that has ids', async () => {
    const toggles = await clientView(unleash)
    expect(toggles['CALENDAR_SYNC_ENABLED']).toEqual({ enabled: true, constraints: [[]] })
    expect(toggles['CALENDAR_ALLOWLIST_PROVIDER_IDS']).toEqual({
      enabled: true,
      constraints: [[{ contextName: 'providerId', operator: 'IN', values: ['p1'] }]],
    })
    expect(toggles['CALENDAR_ALLOWLIST_CONNECTION_IDS']).toMatchObject({ enabled: false })
    expect(Object.keys(toggles)).toHaveLength(6)
  })

  test('get one constraint again when an operator gave an allowlist a second strategy', async () => {
    await admin(unleash, 'POST', strategiesPath('CALENDAR_ALLOWLIST_PROVIDER_IDS'), { name: 'default' })
    await shows(unleash, { CALENDAR_ALLOWLIST_PROVIDER_IDS: { constraints: [[{ values: ['p1'] }], []] } })
    await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', ['p2'], signal())
    const only = { contextName: 'providerId', operator: 'IN', values: ['p2'] }
    await shows(unleash, { CALENDAR_ALLOWLIST_PROVIDER_IDS: { enabled: true, constraints: [[only]] } })
  })

  test('keep what an operator did when the server and the seed run again, while missing ones are made', async () => {
    await setToggle(unleash, 'CALENDAR_SYNC_ENABLED', false, signal())
    await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', [], signal())
    await setAllowlist(unleash, 'CALENDAR_ALLOWLIST_CONNECTION_IDS', ['c1', 'c2'], signal())
    await removeToggle(unleash, 'CALENDAR_JOBS_ENABLED')

    await unleash.restart(signal())
    const made = await seedToggles(unleash, { ...seed, connectionIds: ['other'] }, signal())

    expect(made).toEqual(['CALENDAR_JOBS_ENABLED'])
    await shows(unleash, {
      CALENDAR_SYNC_ENABLED: { enabled: false },
      CALENDAR_ALLOWLIST_PROVIDER_IDS: { enabled: false },
      CALENDAR_ALLOWLIST_CONNECTION_IDS: { enabled: true, constraints: [[{ values: ['c1', 'c2'] }]] },
      CALENDAR_JOBS_ENABLED: { enabled: true },
      CALENDAR_WEBHOOK_ENABLED: { enabled: true },
    })
  })
})

describe('a flag server', () => {
  const PROJECT = 'calendars'
  let unleash: Awaited<ReturnType<typeof startLocalUnleash>>
  beforeAll(async () => {
    unleash = await startLocalUnleash(inject('stack').postgresUrl)
  })
  afterAll(() => unleash?.[Symbol.asyncDispose]())

  test('has our toggles in the project and the environment of the settings, and commands switch them there alone', async () => {
    const { databaseUrl, url, tokens } = unleash
    // The open edition has an interface for environments of a project, and none for a new project.
    await runStatement(
      databaseUrl,
      `insert into projects (id, name, description) values ('${PROJECT}', '${PROJECT}', '')`,
    )
    for (const environment of ['development', 'production'])
      await runStatement(
        databaseUrl,
        `insert into project_environments (project_id, environment_name) values ('${PROJECT}', '${environment}')`,
      )
    const tokenOf = async (environment: string) => {
      const body = { tokenName: environment, type: 'backend', environment, projects: [PROJECT] }
      return token.parse(await admin(unleash, 'POST', '/api/admin/api-tokens', body)).secret
    }
    const [live, trial] = [await tokenOf('production'), await tokenOf('development')]
    const settings = { UNLEASH_URL: url, UNLEASH_ADMIN_TOKEN: tokens.admin }
    const env = { ...settings, UNLEASH_PROJECT: PROJECT, UNLEASH_ENVIRONMENT: 'production' }

    await prepareToggles(env, silent)
    await allow({ everybody: true }, env, silent)
    await switchGate('close', 'CALENDAR_JOBS_ENABLED', env, silent)

    const seenBy = async (UNLEASH_TOKEN: string) =>
      Object.fromEntries(
        describeGates(await readToggles({ UNLEASH_URL: url, UNLEASH_TOKEN })).map(({ gate, isOpen }) => [
          gate,
          isOpen,
        ]),
      )
    const open = Object.fromEntries(GATES.map((gate) => [gate, gate !== 'CALENDAR_JOBS_ENABLED']))
    await expect.poll(() => seenBy(live)).toEqual(open)
    // The same project in another environment, then another project: nothing was opened there.
    const closed = Object.fromEntries(GATES.map((gate) => [gate, false]))
    expect(await seenBy(trial)).toEqual(closed)
    expect(await clientView({ url, tokens: { ...tokens, backend: trial } })).toHaveProperty(
      'CALENDAR_SYNC_ENABLED',
    )
    expect(await clientView(unleash)).toEqual({})

    await switchGate('open', 'CALENDAR_JOBS_ENABLED', env, silent)
    await expect.poll(() => seenBy(live)).toEqual({ ...open, CALENDAR_JOBS_ENABLED: true })
    expect(await seenBy(trial)).toEqual(closed)
    // The settings' own words: without them the project that every Unleash begins with is meant.
    await expect(switchGate('close', 'CALENDAR_JOBS_ENABLED', settings, silent)).rejects.toThrow(
      'The toggle is not there yet',
    )
  })

  /** `unleash4all`, as the server stores a password. */
  const KNOWN_TO_EVERYBODY = '$2b$04$mQIrkQEOCPs33ejnZ5NUJeWiFJXnLUm19.CT4OS9/A0xd8QPslmmi'

  test('has a console that opens with the password of its settings and refuses the one that everybody knows', async () => {
    const { consoleUrl, tokens, url } = inject('stack').unleash
    expect(await isDefaultLoginOpen(consoleUrl, signal())).toBe(false)
    const cookie = await signIn(consoleUrl, tokens.adminPassword, signal())
    expect(await mayReadTokens(consoleUrl, cookie)).toBe(true)
    expect(await mayReadTokens(consoleUrl, null)).toBe(false)
    expect(await consolePassword({ UNLEASH_URL: url })).toBe('the default password is refused')
  })

  test('whose console is of an older installation is red in doctor and gets a password of its own at the next start', async () => {
    const { consoleUrl, databaseUrl, tokens } = unleash
    await runStatement(databaseUrl, `update users set password_hash = '${KNOWN_TO_EVERYBODY}'`)
    // The server takes no password twice, and there it never had ours.
    await runStatement(databaseUrl, 'delete from used_passwords')
    expect(await isDefaultLoginOpen(consoleUrl, signal())).toBe(true)
    await expect(consolePassword({ UNLEASH_URL: unleash.url })).rejects.toThrow(
      /that every Unleash begins with/,
    )
    await unleash.restart(signal())
    expect(await isDefaultLoginOpen(consoleUrl, signal())).toBe(false)
    const cookie = await signIn(consoleUrl, tokens.adminPassword, signal())
    expect(await mayReadTokens(consoleUrl, cookie)).toBe(true)
  })
})

/** What who signs in to the console may do: read the tokens of the admin API. */
async function mayReadTokens(consoleUrl: string, cookie: string | null): Promise<boolean> {
  const answer = await fetch(`${consoleUrl}/api/admin/api-tokens`, { headers: { cookie: cookie ?? '' } })
  return answer.ok
}

type Unleash = Parameters<typeof seedToggles>[0] & {
  readonly url: string
  readonly tokens: { readonly backend: string }
}

interface ClientFeature {
  readonly name: string
  readonly enabled: boolean
  readonly strategies: readonly { readonly constraints?: readonly unknown[] }[]
}

/** Waits for the server to show a state to clients: it looks for changes once a second. */
async function shows(unleash: Unleash, expected: Record<string, unknown>): Promise<void> {
  await expect.poll(() => clientView(unleash), { timeout: 10_000 }).toMatchObject(expected)
}

/** What our services' client gets. */
async function clientView({
  url,
  tokens,
}: Pick<Unleash, 'url' | 'tokens'>): Promise<Record<string, { enabled: boolean; constraints: unknown[] }>> {
  const response = await fetch(`${url}/client/features`, { headers: { authorization: tokens.backend } })
  const { features } = (await response.json()) as { features: readonly ClientFeature[] }
  return Object.fromEntries(
    features.map(({ name, enabled, strategies }) => [
      name,
      { enabled, constraints: strategies.map(({ constraints }) => constraints ?? []) },
    ]),
  )
}

async function removeToggle(unleash: Unleash, name: string): Promise<void> {
  await admin(unleash, 'DELETE', `/api/admin/projects/default/features/${name}`)
  await admin(unleash, 'DELETE', `/api/admin/archive/${name}`)
}

function strategiesPath(name: string): string {
  return `/api/admin/projects/default/features/${name}/environments/development/strategies`
}

async function admin(
  { consoleUrl, tokens }: Unleash,
  method: string,
  path: string,
  body?: unknown,
): Promise<unknown> {
  const response = await fetch(`${consoleUrl}${path}`, {
    method,
    headers: { authorization: tokens.admin, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  expect(response.status, `${method} ${path}: ${text}`).toBeLessThan(300)
  return text === '' ? null : JSON.parse(text)
}
