// What a person writes into .env, and what `calstream init` makes, arrives at the reader that needs
// it. The readers say themselves what they read.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { kafkaEnv } from '#shared/kafka/settings.ts'
import { readEnv } from '#shared/process/settings.ts'
import { postgresEnv } from '#shared/store/settings.ts'
import { outsideNames, settings } from '../../../../infra/dev/configuration-page.ts'
import { init } from '../../../../services/cli/init.ts'
import { flagAdminOf, registryOf } from '../../../../services/cli/open.ts'
import { allCommandsEnv, migrateEnv, topicsEnv } from '../../../../services/cli/settings.ts'
import { loadConfig as webConsole } from '../../../../services/console/config.ts'
import { loadConfig as ingress } from '../../../../services/ingress/config.ts'
import { loadConfig as relay } from '../../../../services/relay/config.ts'
import { loadConfig as retry } from '../../../../services/retry/config.ts'
import { loadConfig as scheduler } from '../../../../services/scheduler/config.ts'
import { loadConfig as sync } from '../../../../services/sync/config.ts'
import { compose, dotenvOf, environmentOf, ROOT } from '../../../support/compose-file.ts'

type Reader = (env: NodeJS.ProcessEnv) => unknown

const services = { ingress, sync, retry, relay, scheduler, console: webConsole }
const READERS: Readonly<Record<string, readonly Reader[]>> = {
  ...Object.fromEntries(Object.entries(services).map(([name, load]) => [name, [load]])),
  migrate: [(env) => readEnv(z.object({ ...postgresEnv, ...migrateEnv }), env)],
  topics: [(env) => readEnv(z.object({ ...kafkaEnv, ...topicsEnv }), env)],
  schemas: [registryOf],
  toggles: [flagAdminOf],
  cli: [ingress, scheduler, (env) => readEnv(z.object(allCommandsEnv), env)],
}
const ALL = Object.entries(READERS).map(([name, readers]) => ({ name, readers }))

/** What Compose says itself: where its own parts are, and what a container's doors are. */
const DECIDED_HERE = new Set([
  'KAFKA_BROKERS',
  'SCHEMA_REGISTRY_URL',
  'SCHEMA_IDS_PATH',
  'UNLEASH_URL',
  'ADMIN_HOST',
  'ADMIN_PORT',
  'INGRESS_HOST',
  'CONSOLE_HOST',
  ...Object.keys(services).map((name) => `ADMIN_URL_${name.toUpperCase()}`),
])
/** The address of the database is a secret of its own there, with its password. */
const WITHIN_ANOTHER = new Set(['POSTGRES_PASSWORD'])
/** The command asks for these of services, and runs none. */
const NOT_OF_THE_COMMAND = /^(?:INGRESS_|OAUTH_RETURN_ORIGINS|API_JWKS_URL)/

const EXAMPLE = readFileSync(path.join(ROOT, '.env.example'), 'utf8')
const named = new Set([...EXAMPLE.matchAll(/^#?([A-Z][A-Z0-9_]+)=/gm)].map(([, name = '']) => name))

/** Every setting that a reader looks for, whether it is there or not. */
function readBy(readers: readonly Reader[]): readonly string[] {
  const names = new Set<string>()
  const env = new Proxy({} as NodeJS.ProcessEnv, {
    get: (_target, name) => void names.add(String(name)),
  })
  for (const read of readers) expect(() => read(env)).toThrow(/is not set/)
  return [...names].filter((name) => !name.endsWith('_FILE') || !names.has(name.slice(0, -'_FILE'.length)))
}

/** Whether .env decides; a container's setting of null is the one of .env or the shell. */
const isHandedOn = (name: string, value: string | null | undefined) =>
  value === null || value?.includes(`\${${name}`) === true
const isSecretFile = (value: string | null | undefined) => value?.startsWith('/run/secrets/') === true

let folder = ''
const output = { report: () => undefined }
const made = (name: string) => path.join(folder, name)
const settingsOf = (name: string) => dotenvOf(readFileSync(path.join(made(name), '.env'), 'utf8'))
const environment = (service: string, more: Readonly<Record<string, string>> = {}, name = 'play') =>
  environmentOf(service, { ...settingsOf(name), ...more }, path.join(made(name), '.secrets'))

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-init-'))
  for (const [name, options] of [
    ['play', { play: true }],
    ['own', { publicUrl: 'https://calendars.example.com/' }],
    ['second', { play: true, rolePrefix: 'acme_' }],
  ] as const) {
    mkdirSync(made(name))
    init({ folder: made(name), ...options }, output)
  }
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('a setting', () => {
  test.each(ALL)('that $name reads arrives there', ({ name, readers }) => {
    const given = compose.services[name]?.environment ?? {}
    const read = readBy(readers).filter(
      (one) => !WITHIN_ANOTHER.has(one) && (name !== 'cli' || !NOT_OF_THE_COMMAND.test(one)),
    )
    expect(read.length).toBeGreaterThan(1)
    expect(read.filter((one) => !(one in given) && !(`${one}_FILE` in given))).toEqual([])
    // Given, but by a value of its own: what a person writes would do nothing.
    const fixed = read.filter((one) => {
      const value = given[one]
      return value !== undefined && !isHandedOn(one, value) && !isSecretFile(value) && !DECIDED_HERE.has(one)
    })
    expect(fixed).toEqual([])
  })

  const processes = Object.entries(compose.services).filter(([, { image }]) => image.startsWith('calstream:'))

  test.each(processes)('that Node, a proxy or OpenTelemetry reads arrives at %s', (_name, one) => {
    const outside = outsideNames()
    expect(outside).toEqual(expect.arrayContaining(['HTTPS_PROXY', 'NO_PROXY', 'NODE_EXTRA_CA_CERTS']))
    expect(outside.filter((name) => name.startsWith('OTEL_')).length).toBeGreaterThan(5)
    expect(outside.filter((name) => !isHandedOn(name, one.environment?.[name]))).toEqual([])
  })

  test.each(processes)('that is secret and comes from .env may come as a file, too: %s', (_name, one) => {
    const secret = settings().flatMap((group) => group.settings.flatMap((s) => (s.isSecret ? [s.name] : [])))
    expect(secret).toContain('KAFKA_SASL_PASSWORD')
    const given = one.environment ?? {}
    const handedOn = secret.filter((name) => given[name] !== undefined)
    expect(handedOn.filter((name) => given[`${name}_FILE`] !== null)).toEqual([])
  })

  test('that Compose hands on is in .env.example, where a person finds it', () => {
    const handedOn = new Set(
      processes.flatMap(([, { environment = {} }]) =>
        Object.keys(environment).filter((name) => isHandedOn(name, environment[name])),
      ),
    )
    expect(handedOn.size).toBeGreaterThan(60)
    // Of one command, from the shell: it lies in no file of settings.
    const ofShell = 'CALSTREAM_REFRESH_TOKEN'
    const strange = [...handedOn].filter(
      (name) => !named.has(name) && !named.has(name.replace(/_FILE$/, '')) && !name.startsWith(ofShell),
    )
    expect(strange).toEqual([])
  })

  test('of .env.example is read somewhere, by a service, a command or Compose', () => {
    const text = readFileSync(path.join(ROOT, 'docker-compose.yml'), 'utf8')
    const read = new Set(ALL.flatMap(({ readers }) => readBy(readers)))
    const strange = [...named].filter((one) => !read.has(one) && !new RegExp(`\\b${one}\\b`).test(text))
    expect(strange).toEqual([])
  })

  test.each(['ingress', 'sync', 'retry', 'scheduler'] as const)(
    'that caps is heeded by %s, and is no cap where it is not set',
    (name) => {
      const load = (more: Readonly<Record<string, string>>) => services[name](environment(name, more))
      expect(load({}).CALENDAR_SYNC_ENABLED).toBeUndefined()
      expect(load({}).CALENDAR_ALLOWLIST_PROVIDER_IDS).toBeUndefined()
      expect(load({ CALENDAR_SYNC_ENABLED: 'false' }).CALENDAR_SYNC_ENABLED).toBe(false)
      expect(load({ CALENDAR_ALLOWLIST_PROVIDER_IDS: '' }).CALENDAR_ALLOWLIST_PROVIDER_IDS).toEqual([])
    },
  )

  test("lets the ingress check an issuer's keys where the secret's file is empty", () => {
    const place = path.join(made('own'), '.secrets')
    const env = {
      ...environment('ingress', { GOOGLE_CLIENT_ID: 'id' }, 'own'),
      API_JWKS_URL: 'https://issuer.example.com/keys',
      API_JWT_ISSUER: 'https://issuer.example.com/',
      API_JWT_AUDIENCE: 'calstream',
    }
    expect(() => ingress(env)).toThrow(/exactly one of API_JWT_SECRET and API_JWKS_URL/)
    const empty = path.join(place, 'empty')
    writeFileSync(empty, '')
    const config = ingress({ ...env, API_JWT_SECRET_FILE: empty })
    expect(config.API_JWKS_URL).toBe('https://issuer.example.com/keys')
    expect(config.API_JWT_SECRET).toBeUndefined()
    rmSync(empty)
  })
})

describe('after init', () => {
  test.each(ALL)(
    '$name is given all that it needs, for play vendors and for real ones',
    ({ name, readers }) => {
      for (const read of readers) {
        expect(() => read(environment(name))).not.toThrow()
        const own = environment(name, { GOOGLE_CLIENT_ID: 'id' }, 'own')
        expect(() => read(own)).not.toThrow()
      }
    },
  )

  test('every secret that Compose names is there, and no other', () => {
    const secrets = Object.entries(compose.secrets)
    expect(secrets.length).toBeGreaterThan(10)
    for (const [name, { file }] of secrets) expect(file).toBe(`\${SECRETS_FOLDER:-./.secrets}/${name}`)
    for (const place of ['play', 'own'])
      expect(readdirSync(path.join(made(place), '.secrets')).toSorted()).toEqual(
        secrets.map(([name]) => name).toSorted(),
      )
  })

  test('a container may read its secrets under any user, and on the host their owner alone', () => {
    const secrets = path.join(made('play'), '.secrets')
    const modeOf = (name: string) => statSync(name).mode & 0o777
    expect(modeOf(secrets)).toBe(0o700)
    for (const name of readdirSync(secrets)) expect(modeOf(path.join(secrets, name)), name).toBe(0o644)
    expect(modeOf(path.join(made('play'), '.env'))).toBe(0o600)
  })

  test('each part has a login of its own, whose password its database knows', () => {
    const secret = (name: string) => readFileSync(path.join(made('play'), '.secrets', name), 'utf8')
    const login = (name: string) => {
      const { username, password } = new URL(secret(name))
      return { username, password }
    }
    const roles: unknown = JSON.parse(secret('role_passwords'))
    const logins = ['ingress', 'sync', 'retry', 'relay', 'scheduler', 'console'].map((role) =>
      login(`postgres_url_${role}`),
    )
    expect(roles).toEqual(Object.fromEntries(logins.map(({ username, password }) => [username, password])))
    expect(login('postgres_url_owner')).toEqual({
      username: 'postgres',
      password: secret('postgres_password'),
    })
    expect(login('unleash_database_url')).toEqual({
      username: 'unleash',
      password: secret('unleash_db_password'),
    })
    expect(secret('registry.properties')).toContain(
      `REGISTRY_DATASOURCE_PASSWORD=${secret('registry_db_password')}\n`,
    )
    const passwords = [...logins, login('unleash_database_url')].map(({ password }) => password)
    expect(new Set([...passwords, secret('postgres_password'), secret('registry_db_password')]).size).toBe(9)
  })

  test('with a prefix the roles, their addresses and what `migrate` makes begin with it', () => {
    const secret = (name: string) => readFileSync(path.join(made('second'), '.secrets', name), 'utf8')
    const names = ['ingress', 'sync', 'retry', 'relay', 'scheduler', 'console'].map((role) => `acme_${role}`)
    expect(Object.keys(JSON.parse(secret('role_passwords')) as object)).toEqual(names)
    const addressed = names.map((name) => new URL(secret(name.replace('acme', 'postgres_url'))).username)
    expect(addressed).toEqual(names)
    expect(environment('migrate', {}, 'second')['POSTGRES_ROLE_PREFIX']).toBe('acme_')
    expect(environment('migrate')['POSTGRES_ROLE_PREFIX']).toBeUndefined()
    const all = readdirSync(path.join(made('second'), '.secrets')).map(secret)
    expect(all.filter((text) => text.includes('calstream_'))).toEqual([])
  })

  test.each(['Acme_', 'a-b_', '1_', ''])('a prefix that is none of a role is refused: %j', (rolePrefix) => {
    const place = mkdtempSync(path.join(folder, 'refused-'))
    expect(() => init({ folder: place, rolePrefix }, output)).toThrow(
      '--role-prefix cannot be used: it is not a lower-case letter',
    )
    expect(readdirSync(place)).toEqual([])
  })

  test('another init writes nothing over, and says what to do', () => {
    const before = readFileSync(path.join(made('own'), '.env'), 'utf8')
    expect(() => init({ folder: made('own') }, output)).toThrow(
      /already there, so nothing was written.*afresh/s,
    )
    expect(readFileSync(path.join(made('own'), '.env'), 'utf8')).toBe(before)
    rmSync(path.join(made('own'), '.env'))
    expect(() => init({ folder: made('own') }, output)).toThrow(/\.secrets: already there/)
    writeFileSync(path.join(made('own'), '.env'), before)
  })

  test('a folder that is not there is told as that', () => {
    expect(() => init({ folder: made('nowhere') }, output)).toThrow(/could not be written \(ENOENT\)/)
  })

  test.each([
    ['ftp://a.example', /it is no http or https address/],
    ['http://calendars.example.com', /it begins with http:\/\/ and leads to another machine/],
  ])('an address that no vendor would call is refused: %s', (publicUrl, words) => {
    const place = mkdtempSync(path.join(folder, 'refused-'))
    expect(() => init({ folder: place, publicUrl }, output)).toThrow(words)
    expect(readdirSync(place)).toEqual([])
  })

  test('says the next step', () => {
    const lines: string[] = []
    const place = mkdtempSync(path.join(folder, 'told-'))
    init({ folder: place }, { report: (told) => void lines.push(...told()) })
    expect(lines.join('\n')).toMatch(
      /Fill in: PUBLIC_URL in \.env.*\nNext: docker compose up --build --wait/s,
    )
    const secrets = readdirSync(path.join(place, '.secrets'))
    const values = secrets.map((name) => readFileSync(path.join(place, '.secrets', name), 'utf8'))
    expect(values.filter((value) => value !== '' && lines.join('\n').includes(value))).toEqual([])
  })
})
