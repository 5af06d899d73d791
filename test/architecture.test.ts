// The rooms of the house and their doors. The table below is the one in docs/architecture.md;
// a new door is a decision.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { importsOf, targetOf } from './support/imports.ts'

const ROOT = path.resolve(import.meta.dirname, '..')

const SERVICES = ['ingress', 'sync', 'retry', 'relay', 'scheduler', 'console'] as const

/** The rooms that every service is built of, lowest first: each may enter those before it. */
const BELOW_BOOT = ['domain', 'process', 'kafka', 'gates', 'vendors', 'messages', 'store'].map(
  (name) => `shared/${name}`,
)
const ALL_SHARED = ['schemas', ...BELOW_BOOT, 'shared/boot']

/** room → rooms it may import from (itself is always allowed). */
const DOORS: Record<string, readonly string[]> = {
  schemas: [],
  'shared/domain': ['schemas'],
  'shared/process': ['shared/domain'],
  'shared/kafka': ['schemas', 'shared/domain', 'shared/process'],
  'shared/gates': ['shared/domain', 'shared/process'],
  'shared/vendors': ['shared/domain', 'shared/process'],
  'shared/messages': ['schemas', 'shared/domain', 'shared/process', 'shared/kafka'],
  'shared/store': ['schemas', 'shared/domain', 'shared/process', 'shared/messages'],
  'shared/boot': ['schemas', ...BELOW_BOOT],
  ...Object.fromEntries([...SERVICES, 'cli'].map((name) => [name, ALL_SHARED])),
  'infra/simulator': [],
  'infra/image': [],
  'infra/monitoring': [],
  'infra/stack': [
    'schemas',
    'shared/domain',
    'shared/process',
    'shared/kafka',
    'shared/gates',
    'shared/store',
    'infra/simulator',
  ],
  'infra/oracle': [
    'schemas',
    'shared/domain',
    'shared/process',
    'shared/kafka',
    'shared/store',
    'infra/stack',
  ],
  'infra/demo': ['schemas', 'shared/domain', 'shared/gates', 'shared/process', 'infra/stack', 'infra/oracle'],
  'infra/dev': [
    'schemas',
    'shared/domain',
    'shared/process',
    'infra/stack',
    'infra/oracle',
    'infra/demo',
    'infra/simulator',
    'infra/monitoring',
    'shared/gates',
  ],
}

/** What messages need of the rooms below: what a record is, its value and its trace. */
const MESSAGES_TAKE = /\/(?:broker|codec|telemetry)\.ts$/
/** What the pure room may take from outside: hashing without randomness, and name-based uuids. */
const DOMAIN_PACKAGES: Record<string, RegExp> = {
  'node:crypto':
    /^\{\s*(?:type\s+)?(?:createHash|createHmac|timingSafeEqual)(?:\s*,\s*(?:createHash|createHmac|timingSafeEqual))*\s*,?\s*\}$/,
  uuid: /^\{\s*v5\s*\}$/,
}

/** Every rule broken by one file, as sentences; pure, so that a planted bad import can be tried. */
function violations(file: string, source: string): string[] {
  const room = roomOf(file)
  if (room === null) return [`${file} lies in no room`]
  const found: string[] = []
  for (const { clause, specifier } of importsOf(source)) {
    const target = targetOf(file, specifier)
    if (target === null) {
      if (room === 'shared/domain' && !DOMAIN_PACKAGES[specifier]?.test(clause)) {
        found.push(`${file} imports ${specifier} ${clause}: domain is pure`)
      }
      continue
    }
    const other = roomOf(target)
    if (other === null) found.push(`${file} imports ${specifier}, which lies in no room`)
    else if (other !== room && !mayEnter(room, other, target))
      found.push(`${file} (${room}) imports ${specifier} (${other})`)
    else if (other !== room && specifier.startsWith('.') && other.startsWith('shared/')) {
      found.push(`${file} reaches ${other} by ${specifier}: use #shared/…`)
    }
  }
  return [...found, ...contentViolations(file, room, source)]
}

function mayEnter(room: string, other: string, target: string): boolean {
  // The command starts services, so it may open their front door and read their
  // label; nothing else of them.
  if (room === 'cli' && (SERVICES as readonly string[]).includes(other))
    return /\/(?:service|config)\.ts$/.test(target)
  // The page of the settings is made from the schemas by which they are read.
  if (room === 'infra/dev' && /^services\/.*\/(?:config|settings)\.ts$/.test(target)) return true
  if (room === 'shared/messages' && /^shared\/(?:kafka|process)$/.test(other))
    return MESSAGES_TAKE.test(target)
  // Whoever could make headers could make a second builder.
  if (target.endsWith('/shared/messages/envelope.ts') && room !== 'shared/messages') return false
  return DOORS[room]?.includes(other) ?? false
}

function contentViolations(file: string, room: string, source: string): string[] {
  const found: string[] = []
  const code = source.replaceAll(/\/\*[\s\S]*?\*\/|(?<![:'"`])\/\/.*$/gm, '')
  const readsEnv =
    /(?:config|main)\.ts$/.test(file) ||
    /shared\/(?:process\/settings|gates\/flags)\.ts$/.test(file) ||
    /^infra\/(?:stack|demo|dev)$/.test(room)
  if (!readsEnv && /process\.env\b/.test(code)) found.push(`${file} reads process.env`)
  if (
    (room === 'shared/domain' || room === 'shared/messages') &&
    /\bDate\.now\b|Math\.random|new Date\(\)|\bprocess\.|performance\./.test(code)
  ) {
    found.push(`${file}: ${room} has no clock, no randomness and no process`)
  }
  const mayHoldSql = room === 'shared/store' || room === 'schemas' || room.startsWith('infra/')
  if (
    !mayHoldSql &&
    /\b(?:select\s[\s\S]{1,200}?\sfrom\s|insert\s+into\s|delete\s+from\s|update\s+\w+\s+set\s)/i.test(
      strings(code),
    )
  ) {
    found.push(`${file} holds SQL outside the store`)
  }
  if (/\benum\s+\w+\s*\{/.test(code)) found.push(`${file} declares an enum`)
  return found
}

function strings(code: string): string {
  return [...code.matchAll(/`[^`]*`|'[^'\n]*'|"[^"\n]*"/g)].map((match) => match[0]).join('\n')
}

function roomOf(file: string): string | null {
  const shared = /^services\/(shared\/(?:domain|process|kafka|gates|vendors|messages|store|boot))\//.exec(
    file,
  )
  if (shared?.[1]) return shared[1]
  const service = /^services\/([a-z]+)\//.exec(file)
  if (service?.[1] && service[1] !== 'shared') return service[1]
  const infra = /^(infra\/(?:simulator|image|monitoring|stack|demo|oracle|dev))\//.exec(file)
  if (infra?.[1]) return infra[1]
  return file.startsWith('schemas/') ? 'schemas' : null
}

function sourceFiles(): string[] {
  return ['services', 'schemas', 'infra'].flatMap((top) =>
    readdirSync(path.join(ROOT, top), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => path.posix.join(top, name)),
  )
}

describe('the house', () => {
  test('keeps its doors: every file imports only from rooms it may enter', () => {
    const files = sourceFiles()
    expect(files.length).toBeGreaterThan(40)
    expect(files.flatMap((file) => violations(file, readFileSync(path.join(ROOT, file), 'utf8')))).toEqual([])
  })

  test.each([
    ['a service that imports another', 'services/sync/x.ts', `import { a } from '../relay/relay.ts'`],
    [
      'store that imports vendors',
      'services/shared/store/x.ts',
      `import { a } from '#shared/vendors/vendor.ts'`,
    ],
    [
      'a process that imports the store',
      'services/shared/process/x.ts',
      `import type { A } from '#shared/store/events.ts'`,
    ],
    [
      'Kafka that knows the gates',
      'services/shared/kafka/x.ts',
      `import { a } from '#shared/gates/flags.ts'`,
    ],
    ['gates that know Kafka', 'services/shared/gates/x.ts', `import { a } from '#shared/kafka/open.ts'`],
    [
      'a store that opens a process',
      'services/shared/store/x.ts',
      `import { a } from '#shared/boot/open-service.ts'`,
    ],
    ['the oracle that looks at the demo', 'infra/oracle/x.ts', `import { a } from '../demo/demo.ts'`],
    [
      'a message that imports the store',
      'services/shared/messages/x.ts',
      `import { a } from '#shared/store/outbox.ts'`,
    ],
    [
      'a message that imports vendors',
      'services/shared/messages/x.ts',
      `import type { A } from '#shared/vendors/vendor.ts'`,
    ],
    ['a message that sends', 'services/shared/messages/x.ts', `import { a } from '#shared/kafka/open.ts'`],
    [
      'a message that reads the clock',
      'services/shared/messages/x.ts',
      `export const now = () => Date.now()`,
    ],
    [
      'a service that makes headers of a message',
      'services/sync/x.ts',
      `import { a } from '#shared/messages/envelope.ts'`,
    ],
    ['domain that imports node:fs', 'services/shared/domain/x.ts', `import { readFileSync } from 'node:fs'`],
    [
      'domain that draws random bytes',
      'services/shared/domain/x.ts',
      `import { randomBytes } from 'node:crypto'`,
    ],
    ['domain that reads the clock', 'services/shared/domain/x.ts', `export const now = () => Date.now()`],
    [
      'a simulator that shares code with the adapters',
      'infra/simulator/x.ts',
      `import { map } from '#shared/vendors/google/map.ts'`,
    ],
    [
      'a simulator that shares the domain',
      'infra/simulator/x.ts',
      `import type { A } from '../../services/shared/domain/event.ts'`,
    ],
    [
      'the environment read in the middle of a service',
      'services/sync/x.ts',
      `export const level = process.env.LOG_LEVEL`,
    ],
    ['SQL outside the store', 'services/sync/x.ts', 'export const q = `select id from outbox where id = 1`'],
    ['the command reaching into a service', 'services/cli/x.ts', `import { lanes } from '../sync/lanes.ts'`],
    [
      'the local commands reaching into a service',
      'infra/dev/x.ts',
      `import { startSync } from '../../services/sync/service.ts'`,
    ],
    [
      'a dynamic import through a wall',
      'services/relay/x.ts',
      `const m = await import('../sync/service.ts')`,
    ],
    ['an enum', 'services/sync/x.ts', 'enum Colour { red }'],
  ])('catches %s', (_what, file, source) => {
    expect(violations(file, source)).toHaveLength(1)
  })

  test.each([
    [
      'the command opening the front door of a service',
      'services/cli/x.ts',
      `import { startSync } from '../sync/service.ts'`,
    ],
    [
      'the page of the settings reading a schema of settings',
      'infra/dev/x.ts',
      `import { schema } from '../../services/sync/config.ts'`,
    ],
    ['domain hashing', 'services/shared/domain/x.ts', `import { createHash } from 'node:crypto'`],
    [
      'store using the process',
      'services/shared/store/x.ts',
      `import type { Secret } from '#shared/process/secret.ts'`,
    ],
    [
      'store using messages',
      'services/shared/store/x.ts',
      `import type { A } from '#shared/messages/message.ts'`,
    ],
    ['a service using the store', 'services/sync/x.ts', `import { a } from '#shared/store/events.ts'`],
    [
      'prose that mentions select and from',
      'services/sync/x.ts',
      `// select one from the lane\nexport const a = 1`,
    ],
  ])('allows %s', (_what, file, source) => {
    expect(violations(file, source)).toEqual([])
  })

  test('has one kind of folder in services: a process with its three files, or shared', () => {
    const folders = readdirSync(path.join(ROOT, 'services'), { withFileTypes: true })
    const processes = folders.filter(
      (entry) => entry.isDirectory() && entry.name !== 'shared' && entry.name !== 'cli',
    )
    expect(processes.map((entry) => entry.name).toSorted()).toEqual(SERVICES.toSorted())
    for (const { name } of processes) {
      const files = readdirSync(path.join(ROOT, 'services', name))
      expect(files, name).toEqual(expect.arrayContaining(['main.ts', 'config.ts', 'service.ts']))
    }
  })

  test('has at its top only what was asked for', () => {
    const allowed = [
      'package.json',
      'package-lock.json',
      'tsconfig.json',
      'README.md',
      'CONTRIBUTING.md',
      'CHANGELOG.md',
      'SECURITY.md',
      'LICENSE',
      'docker-compose.yml',
      'services',
      'schemas',
      'infra',
      'test',
      'docs',
    ]
    const entries = readdirSync(ROOT).filter((name) => !name.startsWith('.') && name !== 'node_modules')
    expect(entries.filter((name) => !allowed.includes(name))).toEqual([])
  })
})

describe('the play vendors of test/field', () => {
  /**
   * Beyond Node and each other. What stands in for a vendor has nothing from anybody,
   * or a belief could be shared.
   */
  const MAY_IMPORT = {
    vendors: /^(?:node:|\.\/)/,
    cases: /^(?:node:|\.\/|\.\.\/support\/|vitest$|jose$|\.\.\/\.\.\/infra\/demo\/browser\.ts$)/,
  }

  function strangers(file: string, source: string): string[] {
    const allowed = file.includes('/vendors/') ? MAY_IMPORT.vendors : MAY_IMPORT.cases
    return importsOf(source)
      .filter(({ specifier }) => !allowed.test(specifier))
      .map(({ specifier }) => `${file} imports ${specifier}`)
  }

  test('share nothing with the simulator and nothing with the product', () => {
    const folder = path.join(ROOT, 'test/field')
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.ts'),
    )
    expect(files.length).toBeGreaterThan(5)
    expect(
      files.flatMap((name) => strangers(`test/field/${name}`, readFileSync(path.join(folder, name), 'utf8'))),
    ).toEqual([])
  })

  test.each([
    ['test/field/vendors/x.ts', `import { a } from '../../../infra/simulator/random.ts'`],
    ['test/field/vendors/x.ts', `import { a } from '../../support/eventually.ts'`],
    ['test/field/vendors/x.ts', `import { a } from '#shared/domain/event.ts'`],
    ['test/field/x.test.ts', `import { a } from '../../infra/simulator/random.ts'`],
    ['test/field/x.test.ts', `import { a } from '../../services/sync/unit/unit.ts'`],
  ])('may not have, in %s, %s', (file, source) => {
    expect(strangers(file, source)).toHaveLength(1)
  })
})

describe('the dependencies', () => {
  const manifest: {
    dependencies: Record<string, string>
    devDependencies: Record<string, string>
    optionalDependencies: Record<string, string>
  } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'))
  const lock: { packages: Record<string, { version?: string; dev?: boolean }> } = JSON.parse(
    readFileSync(path.join(ROOT, 'package-lock.json'), 'utf8'),
  )
  const direct = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies }

  test.each(Object.entries(direct))('%s is pinned to %s and locked to it', (name, version) => {
    expect(version).toMatch(/^\d+\.\d+\.\d+(?:-[\w.]+)?$/)
    expect(lock.packages[`node_modules/${name}`]?.version).toBe(version)
  })

  test('are declared where they are imported, and the images, built without those of developers, have them', () => {
    const wrong = sourceFiles().flatMap((file) => {
      const isShipped = /^(?:services|schemas|infra\/simulator)\//.test(file)
      const source = readFileSync(path.join(ROOT, file), 'utf8')
      // Types are gone before anything runs.
      return importsOf(source.replaceAll(/^(?:import|export) type [^;'"]*? from ['"][^'"]+['"]/gm, ''))
        .filter(({ specifier }) => /^[@a-z]/.test(specifier) && !specifier.startsWith('node:'))
        .map(({ specifier }) => /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? '')
        .filter((name) => !(name in direct) || (isShipped && lock.packages[`node_modules/${name}`]?.dev))
        .map((name) => `${file} imports ${name}`)
    })
    expect(wrong).toEqual([])
  })

  // A lockfile written under an older Node resolves older majors without a word;
  // these are the lines we build on.
  test.each([
    ['@opentelemetry/sdk-node', /^0\.30\d\./],
    ['@opentelemetry/sdk-metrics', /^3\./],
    ['@kafkajs/confluent-schema-registry', /^4\./],
    ['vitest', /^5\.1\.0$/],
    ['googleapis', /^188\./],
    ['typescript', /^7\./],
  ])('%s is of the line we build on', (name, line) => {
    expect(direct[name]).toMatch(line)
  })
})
