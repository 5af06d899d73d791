// Settings: every problem at once, no value ever printed, secrets from files.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { adminEnv, ConfigError, readEnv, telemetryWanted } from '#shared/process/settings.ts'
import { channelEnv, vendorsEnv } from '#shared/vendors/settings.ts'
import { credentialsEnv, postgresEnv } from '#shared/store/settings.ts'
import { kafkaEnv, registryEnv } from '#shared/kafka/settings.ts'
import { unleashEnv } from '#shared/gates/settings.ts'
import { Secret } from '#shared/process/secret.ts'

const KEY = Buffer.alloc(32, 7).toString('base64')
const PIECES = {
  ...kafkaEnv,
  ...registryEnv,
  ...postgresEnv,
  ...unleashEnv,
  ...adminEnv,
  ...credentialsEnv,
  ...channelEnv,
  ...vendorsEnv,
}
const everything = z.object(PIECES)
const NEEDED = {
  KAFKA_BROKERS: 'one:9092, two:9092',
  SCHEMA_REGISTRY_URL: 'http://registry:8081/',
  POSTGRES_URL: 'postgres://calstream_sync:p%40ss-word-1@db:5432/calstream',
  UNLEASH_URL: 'http://unleash:4242/api',
  UNLEASH_TOKEN: 'default:development.0123456789',
  ADMIN_PORT: '9464',
  CREDENTIALS_KEYS: `k2:${KEY},k1:${KEY}`,
  CHANNEL_TOKEN_KEYS: `k1:${KEY}`,
  PUBLIC_URL: 'https://calendars.example.com/',
  ALLOW_HTTP_TO: 'registry, unleash',
}
const GOOD = { ...NEEDED, GOOGLE_CLIENT_ID: 'client', GOOGLE_CLIENT_SECRET: 'GOCSPX-something' }

/** What a setting needs beside it. */
function companyOf(name: string): NodeJS.ProcessEnv {
  if (!name.startsWith('KAFKA_SASL_OAUTHBEARER')) return {}
  return {
    KAFKA_SECURITY_PROTOCOL: 'SASL_SSL',
    KAFKA_SASL_MECHANISM: 'OAUTHBEARER',
    KAFKA_SASL_OAUTHBEARER_CLIENT_ID: 'calstream',
    KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET: 'a-secret-of-ours',
  }
}

function problemsOf(env: NodeJS.ProcessEnv, schema: z.ZodObject = everything): readonly string[] {
  try {
    readEnv(schema, env)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

describe('readEnv', () => {
  test('reads good settings, with defaults for what has one', () => {
    const config = readEnv(everything, GOOD)
    expect(config).toMatchObject({
      KAFKA_BROKERS: ['one:9092', 'two:9092'],
      KAFKA_PREFIX: '',
      SCHEMA_REGISTRY_URL: 'http://registry:8081',
      PUBLIC_URL: 'https://calendars.example.com',
      ADMIN_PORT: 9464,
      ADMIN_HOST: '127.0.0.1',
      LOG_LEVEL: 'info',
      GOOGLE_API_URL: 'https://www.googleapis.com',
    })
    expect(config.POSTGRES_URL.reveal()).toBe(GOOD.POSTGRES_URL)
  })

  test('tells everything that is missing at once, each by its variable', () => {
    const named = problemsOf({}).map((problem) => `${problem.split(' ')[0]}`)
    const needed = Object.keys(NEEDED).filter((name) => name !== 'ALLOW_HTTP_TO')
    expect(named.toSorted()).toEqual(needed.toSorted())
  })

  test.each([
    ['KAFKA_BROKERS', 'broker-without-port'],
    ['KAFKA_PREFIX', 'with space'],
    ['SCHEMA_REGISTRY_URL', 'ftp://registry'],
    ['POSTGRES_URL', 'mysql://user:hunter2hunter2@db/x'],
    ['UNLEASH_URL', 'unleash'],
    ['ADMIN_PORT', '65536'],
    ['ADMIN_PORT', '80.5'],
    ['LOG_LEVEL', 'loud'],
    ['CREDENTIALS_KEYS', `k1:${KEY.slice(4)}`],
    ['CREDENTIALS_KEYS', KEY],
    ['CHANNEL_TOKEN_KEYS', `k1:${KEY},k1:${KEY}`],
    ['CALENDAR_SYNC_ENABLED', 'nope'],
    ['CALENDAR_ALLOWLIST_PROVIDER_IDS', 'acme'],
  ])('refuses %s=%s and does not repeat the value', (name, value) => {
    const problems = problemsOf({ ...GOOD, [name]: value })
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(new RegExp(`^${name} cannot be used: .+ Expected: .+`))
    expect(problems[0]).not.toContain(value)
  })

  test('tells broken, missing and unreadable variables together, and prints no secret', () => {
    const problems = problemsOf({
      ...GOOD,
      KAFKA_BROKERS: undefined,
      POSTGRES_URL: 'hunter2-pasted-into-the-wrong-place',
      ADMIN_PORT: 'hunter2-again',
      GOOGLE_CLIENT_SECRET: undefined,
      GOOGLE_CLIENT_SECRET_FILE: '/does/not/exist',
    })
    expect(problems.map((problem) => `${problem.split(' ')[0]}`).toSorted()).toEqual([
      'ADMIN_PORT',
      'GOOGLE_CLIENT_SECRET_FILE',
      'KAFKA_BROKERS',
      'POSTGRES_URL',
    ])
    expect(problems.join('\n')).not.toContain('hunter2')
  })

  test('takes a value from the file that NAME_FILE names, without its last newline', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'calstream-env-'))
    try {
      const file = path.join(folder, 'token')
      writeFileSync(file, 'default:development.from-a-file\n')
      const { UNLEASH_TOKEN: _plain, ...rest } = GOOD
      const config = readEnv(everything, { ...rest, UNLEASH_TOKEN_FILE: file })
      expect(config.UNLEASH_TOKEN.reveal()).toBe('default:development.from-a-file')
      expect(problemsOf({ ...GOOD, UNLEASH_TOKEN_FILE: file })).toEqual([
        'UNLEASH_TOKEN_FILE and UNLEASH_TOKEN are both set; keep one.',
      ])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('counts an empty variable as not set', () => {
    expect(problemsOf({ ...GOOD, UNLEASH_TOKEN: '' })[0]).toMatch(/^UNLEASH_TOKEN is not set/)
    expect(readEnv(everything, { ...GOOD, LOG_LEVEL: '' }).LOG_LEVEL).toBe('info')
  })

  test('reads caps: unset is no cap, empty is nobody', () => {
    const id = '6F9619FF-8B86-D011-B42D-00C04FC964FF'
    const unset = readEnv(everything, GOOD)
    expect(unset.CALENDAR_SYNC_ENABLED).toBeUndefined()
    expect(unset.CALENDAR_ALLOWLIST_PROVIDER_IDS).toBeUndefined()
    const set = readEnv(everything, {
      ...GOOD,
      CALENDAR_SYNC_ENABLED: '',
      CALENDAR_JOBS_ENABLED: 'false',
      CALENDAR_OAUTH_ENABLED: 'true',
      CALENDAR_ALLOWLIST_PROVIDER_IDS: '',
      CALENDAR_ALLOWLIST_CONNECTION_IDS: ` ${id} ,`,
    })
    expect(set).toMatchObject({
      CALENDAR_SYNC_ENABLED: false,
      CALENDAR_JOBS_ENABLED: false,
      CALENDAR_OAUTH_ENABLED: true,
      CALENDAR_ALLOWLIST_PROVIDER_IDS: [],
      CALENDAR_ALLOWLIST_CONNECTION_IDS: [id.toLowerCase()],
    })
  })
})

describe('an address', () => {
  const addresses = Object.keys(PIECES).filter((name) => name.endsWith('_URL') && name !== 'POSTGRES_URL')

  test('is each of these variables', () => {
    expect(addresses.length).toBeGreaterThan(7)
    const read = Object.keys(PIECES).filter((name) => /_URL|ADDRESS|ENDPOINT/.test(name))
    expect(read.filter((name) => name !== 'POSTGRES_URL').toSorted()).toEqual(addresses.toSorted())
  })

  test.each(addresses)('of %s leads over TLS, to this machine, or to a host that is named', (name) => {
    const at = (value: string, allowed = '') =>
      problemsOf({ ...GOOD, ALLOW_HTTP_TO: `registry,unleash,${allowed}`, ...companyOf(name), [name]: value })
    for (const value of [
      'https://host.example',
      'http://127.0.0.1:4101',
      'http://[::1]/x',
      'http://localhost:8',
    ])
      expect(at(value)).toEqual([])
    const refused = at('http://host.example/x')
    expect(refused).toHaveLength(1)
    expect(refused[0]).toMatch(new RegExp(`^${name} cannot be used: it begins with http://`))
    expect(at('http://host.example/x', 'HOST.example')).toEqual([])
  })

  test.each([
    'http://10.0.0.1',
    'http://0.0.0.0',
    'http://127.0.0.1.example.com',
    'http://localhost.example.com',
    'http://[::ffff:10.0.0.1]',
    'http://ingress:4101',
    'http://127.0.0.1@host.example',
    'http://registry.example.com',
    'http:/\\host.example',
    'HTTP://HOST.EXAMPLE',
  ])('in clear to another machine is refused: %s', (value) => {
    expect(problemsOf({ ...GOOD, GOOGLE_API_URL: value })).toHaveLength(1)
  })

  test.each([
    ['user and password', 'https://me:hunter2hunter2@host.example/token'],
    ['a user', 'https://hunter2hunter2@host.example/token'],
    ['a password', 'https://:hunter2hunter2@host.example/token'],
    ['user and password, in clear', 'http://me:hunter2hunter2@10.0.0.1/token'],
    ['user and password on this machine', 'http://me:hunter2hunter2@127.0.0.1/token'],
  ])('with %s is refused, and the text is not repeated', (_what, value) => {
    for (const name of addresses) {
      const problems = problemsOf({ ...GOOD, ...companyOf(name), [name]: value })
      expect(problems).toHaveLength(1)
      expect(problems[0]).toMatch(new RegExp(`^${name} cannot be used: it holds a user or a password`))
      expect(problems[0]).not.toContain('hunter2')
    }
  })

  test.each(['http://registry', 'registry:8080', 'registry unleash', '*', 'registry/x', 'me@registry'])(
    'is not let through by a list that is none: ALLOW_HTTP_TO=%s',
    (value) => {
      const problems = problemsOf({ ...GOOD, ALLOW_HTTP_TO: value })
      expect(problems.map((problem) => `${problem.split(' ')[0]}`).toSorted()).toEqual([
        'ALLOW_HTTP_TO',
        'SCHEMA_REGISTRY_URL',
        'UNLEASH_URL',
      ])
    },
  )
})

describe('a Secret', () => {
  test('prints as [secret] wherever it lands, and gives its value only to reveal()', () => {
    const secret = new Secret('hunter2-hunter2')
    const printed = [
      String(secret),
      `${JSON.stringify({ secret })}`,
      inspect({ secret }, { showHidden: true, depth: 9 }),
    ]
    for (const text of printed) {
      expect(text).toContain('[secret]')
      expect(text).not.toContain('hunter2')
    }
    expect(secret.reveal()).toBe('hunter2-hunter2')
  })
})

describe('OpenTelemetry', () => {
  test('is wanted when one of its variables is set, and not by an empty one', () => {
    expect(telemetryWanted({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' })).toBe(true)
    expect(telemetryWanted({ OTEL_SERVICE_NAME: '' })).toBe(false)
    expect(telemetryWanted({ HOTEL_NAME: 'x' })).toBe(false)
  })
})
