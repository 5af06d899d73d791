// The ingress's settings: every problem at once, by name, and never a value.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { ConfigError } from '#shared/process/settings.ts'
import { loadConfig } from '../../../services/ingress/config.ts'

const GOOD = {
  KAFKA_BROKERS: 'localhost:9092',
  SCHEMA_REGISTRY_URL: 'http://localhost:8081/apis/ccompat/v7',
  POSTGRES_URL: 'postgres://calstream_ingress:pw@localhost:5432/calstream',
  UNLEASH_URL: 'http://localhost:4242/api',
  UNLEASH_TOKEN: 'default:development.secret',
  ADMIN_PORT: '0',
  CHANNEL_TOKEN_KEYS: `k1:${randomBytes(32).toString('base64')}`,
  API_JWT_SECRET: randomBytes(32).toString('base64url'),
  CREDENTIALS_KEYS: `k1:${randomBytes(32).toString('base64')}`,
  PUBLIC_URL: 'https://calendars.example.com',
}

function problemsOf(env: NodeJS.ProcessEnv): readonly string[] {
  try {
    loadConfig(env)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

test('good settings are taken, with loopback and 8080 for what is not set', () => {
  expect(problemsOf(GOOD)).toEqual([])
  expect(loadConfig(GOOD)).toMatchObject({ INGRESS_HOST: '127.0.0.1', INGRESS_PORT: 8080 })
})

test('everything that is missing is named at once', () => {
  const problems = problemsOf({})
  for (const name of Object.keys(GOOD)) {
    expect(
      problems.filter((problem) => problem.startsWith(`${name} `)),
      name,
    ).toHaveLength(1)
  }
})

test('everything that is wrong is named at once, and no value is repeated', () => {
  const secret = 'too-short-to-be-a-secret'
  const problems = problemsOf({
    ...GOOD,
    API_JWT_SECRET: secret,
    INGRESS_PORT: '99999',
    INGRESS_CONNECTIONS_MAX: 'many',
    INGRESS_TRUSTED_PROXIES: '10.0.0.0/8, 10.0.0.0/99',
  })
  expect(problems.map((problem) => problem.split(' ', 1).join()).toSorted()).toEqual([
    'API_JWT_SECRET',
    'INGRESS_CONNECTIONS_MAX',
    'INGRESS_PORT',
    'INGRESS_TRUSTED_PROXIES',
  ])
  expect(problems.join('\n')).not.toContain(secret)
})

test('bearer tokens have exactly one source of keys', () => {
  const url = 'https://issuer.example.com/keys'
  expect(problemsOf({ ...GOOD, API_JWKS_URL: url })).toEqual([
    expect.stringMatching(/^API_JWT_SECRET .*API_JWKS_URL/),
  ])
  const any = { API_JWT_ISSUER: 'any', API_JWT_AUDIENCE: 'any' }
  expect(problemsOf({ ...GOOD, API_JWT_SECRET: '', API_JWKS_URL: url, ...any })).toEqual([])
  expect(problemsOf({ ...GOOD, API_JWT_SECRET: '' })).toHaveLength(1)
})

test('published keys come with an issuer and an audience, or with the word that any will do', () => {
  const published = { ...GOOD, API_JWT_SECRET: '', API_JWKS_URL: 'https://issuer.example.com/keys' }
  const [issuer, audience] = ['API_JWT_ISSUER', 'API_JWT_AUDIENCE']
  const both = problemsOf({ ...published, INGRESS_PORT: 'x' })
  expect(both.map((problem) => problem.split(' ', 1).join()).toSorted()).toEqual([
    audience,
    issuer,
    'INGRESS_PORT',
  ])
  expect(problemsOf({ ...published, [audience]: 'calstream', [issuer]: '' })).toEqual([
    expect.stringMatching(
      /^API_JWT_ISSUER is not set\. Expected: .*needed with API_JWKS_URL, where "any" lets in/,
    ),
  ])
  expect(problemsOf({ ...published, [issuer]: 'https://issuer.example.com/' })).toEqual([
    expect.stringMatching(/^API_JWT_AUDIENCE is not set\. Expected: .*tokens for every other app/),
  ])
  expect(
    problemsOf({ ...published, [issuer]: 'https://issuer.example.com/', [audience]: 'calstream' }),
  ).toEqual([])
  expect(problemsOf(GOOD)).toEqual([])
})

test('addresses to go back to are whole origins, each listed, none of them hidden in another', () => {
  const origins = (text: string) => loadConfig({ ...GOOD, OAUTH_RETURN_ORIGINS: text }).OAUTH_RETURN_ORIGINS
  expect(loadConfig(GOOD).OAUTH_RETURN_ORIGINS).toEqual([])
  expect(origins('https://app.example.com, http://127.0.0.1:3000/')).toEqual([
    'https://app.example.com',
    'http://127.0.0.1:3000',
  ])
  expect(origins('http://localhost:*,http://[::1]:*')).toEqual(['http://localhost:*', 'http://[::1]:*'])
  for (const bad of [
    'app.example.com',
    '*',
    'https://app.example.com/path',
    'javascript:alert(1)',
    'https://a@b.example',
    'https://app.example.com:*',
    'http://*:3000',
    'https://*.example.com',
    'http://127.0.0.1.evil.example:*',
    'http://localhost:*/x',
  ])
    expect(problemsOf({ ...GOOD, OAUTH_RETURN_ORIGINS: bad }), bad).toHaveLength(1)
})

test('proxies are addresses or networks, none unless they are named', () => {
  expect(loadConfig(GOOD).INGRESS_TRUSTED_PROXIES).toEqual([])
  const env = { ...GOOD, INGRESS_TRUSTED_PROXIES: '10.0.0.0/8, 2001:db8::1' }
  expect(loadConfig(env).INGRESS_TRUSTED_PROXIES).toEqual(['10.0.0.0/8', '2001:db8::1'])
})
