// docs/configuration.md and the list of known names, both made from the schemas by which the
// services and the command read their environment. Pure but for reading .env.example, which names
// what docker-compose.yml alone asks for.
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { unleashEnv } from '#shared/gates/settings.ts'
import { kafkaEnv, registryEnv } from '#shared/kafka/settings.ts'
import { adminEnv } from '#shared/process/settings.ts'
import { credentialsEnv, postgresEnv } from '#shared/store/settings.ts'
import { channelEnv, googleEnv, microsoftEnv, quotaEnv } from '#shared/vendors/settings.ts'
import { allCommandsEnv, commandEnv } from '../../services/cli/settings.ts'
import { schema as webConsole } from '../../services/console/config.ts'
import { schema as ingress } from '../../services/ingress/config.ts'
import { schema as relay } from '../../services/relay/config.ts'
import { schema as retry } from '../../services/retry/config.ts'
import { schema as scheduler } from '../../services/scheduler/config.ts'
import { schema as sync } from '../../services/sync/config.ts'

type Pieces = Readonly<Record<string, z.ZodType>>

const READERS: Readonly<Record<string, Pieces>> = {
  ingress: ingress.shape,
  sync: sync.shape,
  retry: retry.shape,
  relay: relay.shape,
  scheduler: scheduler.shape,
  console: webConsole.shape,
  command: allCommandsEnv,
}
const SERVICES = Object.keys(READERS).filter((name) => name !== 'command')

/** In the order of the page; a setting stands in the first group that has it. */
const GROUPS: readonly { readonly title: string; readonly pieces: Pieces }[] = [
  { title: 'Kafka and the schema registry', pieces: { ...kafkaEnv, ...registryEnv } },
  { title: 'Postgres', pieces: postgresEnv },
  { title: 'Unleash, and the caps that it cannot lift', pieces: unleashEnv },
  { title: 'Port of the operators, and logs', pieces: adminEnv },
  { title: 'Keys, and the public address', pieces: { ...credentialsEnv, ...channelEnv } },
  { title: 'Google', pieces: googleEnv },
  { title: 'Microsoft', pieces: microsoftEnv },
  { title: 'Quotas of the vendors', pieces: quotaEnv },
  { title: 'sync', pieces: sync.shape },
  { title: 'ingress', pieces: ingress.shape },
  { title: 'console', pieces: webConsole.shape },
  { title: 'The command `calstream`', pieces: commandEnv },
  { title: 'More', pieces: Object.assign({}, ...Object.values(READERS)) as Pieces },
]

/** Read by `readEnv` itself, by Node or by OpenTelemetry: no schema has them. */
const OUTSIDE: readonly (readonly [name: string, what: string])[] = [
  [
    'ALLOW_HTTP_TO',
    'hosts of a private network that may be spoken to over http://, separated by commas; every other address that carries a token or a key begins with https:// or leads to this machine',
  ],
  [
    'HTTPS_PROXY',
    'the proxy on the way to vendors, flag server, registry and token endpoint; HTTP_PROXY is that of addresses in clear. Never for Kafka and Postgres',
  ],
  [
    'NO_PROXY',
    'what is reached without the proxy: host names or suffixes, separated by commas; this machine always is',
  ],
  [
    'OTEL_*',
    'the standard settings of OpenTelemetry; nothing is exported while none is set ([opentelemetry.io](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/))',
  ],
  [
    'NODE_EXTRA_CA_CERTS',
    'a file with certificates of authorities that Node trusts beside its own ([nodejs.org](https://nodejs.org/api/cli.html#node_extra_ca_certsfile)); read at the start of a process',
  ],
]

interface Setting {
  readonly name: string
  readonly what: string
  /** As a person would write it; null without one. */
  readonly standard: string | null
  readonly isNeeded: boolean
  readonly isSecret: boolean
  /** When a new value is taken without a restart; null: never. */
  readonly rotates: string | null
  readonly readers: readonly string[]
}

/** Every setting that a schema has, by group. */
export function settings(): readonly { readonly title: string; readonly settings: readonly Setting[] }[] {
  const told = new Set<string>()
  return GROUPS.map(({ title, pieces }) => {
    const names = Object.keys(pieces).filter((name) => !told.has(name))
    for (const name of names) told.add(name)
    return { title, settings: names.map((name) => settingOf(name, pieces[name])) }
  }).filter((group) => group.settings.length > 0)
}

/** The names that .env.example gives, commented out or not; NAME where it gives NAME_FILE. */
export function exampleNames(): readonly string[] {
  const text = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')
  const read = new Set(schemaNames())
  return [...text.matchAll(/^#?([A-Z][A-Z0-9_]*)=/gm)].map(([, name = '']) => {
    const bare = name.replace(/_FILE$/, '')
    return read.has(bare) ? bare : name
  })
}

/** What every process reads beside its schema; of OpenTelemetry, what .env.example gives of it. */
export function outsideNames(): readonly string[] {
  const names = OUTSIDE.map(([name]) => name).filter((name) => !name.endsWith('*'))
  return [...names, ...exampleNames().filter((name) => name.startsWith('OTEL_'))]
}

/** Names that .env.example has for docker-compose.yml alone. */
export function composeNames(): readonly string[] {
  const read = new Set([...schemaNames(), ...OUTSIDE.map(([name]) => name)])
  return exampleNames().filter((name) => !read.has(name) && !name.startsWith('OTEL_'))
}

function schemaNames(): readonly string[] {
  return settings().flatMap((group) => group.settings.map(({ name }) => name))
}

/** What setting-names.gen.ts holds: a name that is not among them has no effect. */
export function namesFile(): string {
  const names = [...schemaNames(), ...composeNames(), ...OUTSIDE.map(([name]) => name)]
  const lines = names
    .filter((name) => !name.endsWith('*'))
    .toSorted()
    .map((name) => `  '${name}',`)
  return [
    '// Generated by `npm run gen` from the schemas of all services and .env.example. Do not edit.',
    '// A process knows the names of its siblings, so that one file may hold the settings of all.',
    '',
    'export const SETTING_NAMES: readonly string[] = [',
    ...lines,
    ']',
    '',
  ].join('\n')
}

function settingOf(name: string, piece: z.ZodType | undefined): Setting {
  const facts = { description: '', secret: false, rotates: null as string | null }
  let standard: unknown
  let isNeeded = true
  for (let layer: unknown = piece; layer instanceof z.ZodType; layer = innerOf(layer)) {
    const { description = '', secret, rotates } = layer.meta() ?? {}
    if (facts.description === '') facts.description = description
    if (secret === true) facts.secret = true
    if (rotates === true) facts.rotates = 'when its file changes'
    if (layer instanceof z.ZodDefault || layer instanceof z.ZodPrefault) standard ??= layer.def.defaultValue
    if (standard !== undefined || layer instanceof z.ZodOptional) isNeeded = false
  }
  const readers = Object.keys(READERS).filter((reader) => name in (READERS[reader] ?? {}))
  return {
    name,
    what: facts.description,
    standard: standard === undefined ? null : String(standard as string | number | readonly string[]),
    isNeeded,
    isSecret: facts.secret,
    rotates: facts.rotates,
    readers,
  }
}

/** Below a default, an `optional` or a transformation; what was meant by a person is told there. */
function innerOf(layer: z.ZodType): unknown {
  if (layer instanceof z.ZodPipe) return layer.def.in
  return layer instanceof z.ZodOptional || layer instanceof z.ZodDefault || layer instanceof z.ZodPrefault
    ? layer.def.innerType
    : null
}

/** The page whole, as `npm run gen` writes it. */
export function configurationPage(): string {
  const groups = settings().flatMap(({ title, settings }) => [`## ${title}`, '', ...tableOf(settings), ''])
  return [...INTRODUCTION, ...groups, ...OUTSIDE_SECTION, ...composeSection()].join('\n')
}

const INTRODUCTION = [
  '# Configuration',
  '',
  'Generated by `npm run gen` from the schemas by which the services read their environment; a test fails when it is stale.',
  '[.env.example](../.env.example) has the same names with room for values.',
  '',
  '- Each `NAME` may be given as `NAME_FILE` instead: a file that holds the value. Both at once are refused.',
  '- An empty value counts as not set. The caps of the gates alone take it at its word: empty closes the gate.',
  '- `calstream all` runs all services in one process. There `NAME_SYNC` is `NAME` for sync alone, and so on for each service.',
  '- A start that fails names every wrong setting at once, and never a value.',
  '- A variable that looks like one of these and is none is a warning at the start. It names the nearest setting. `calstream doctor` says it too.',
  '- *needed* stands where a reader does not start without it. A dash stands for no default.',
  '',
]

const OUTSIDE_SECTION = [
  '## Around every process',
  '',
  '| setting | what it is |',
  '|---|---|',
  ...OUTSIDE.map(([name, what]) => `| \`${name}\` | ${what} |`),
  '',
]

function tableOf(settings: readonly Setting[]): readonly string[] {
  return [
    '| setting | what it is | default | read by | secret | a new value is taken |',
    '|---|---|---|---|---|---|',
    ...settings.map((setting) => `| ${cellsOf(setting).join(' | ')} |`),
  ]
}

function cellsOf({ name, what, standard, isNeeded, isSecret, rotates, readers }: Setting): readonly string[] {
  const byDefault = standard === null || standard === '' ? '–' : `\`${standard}\``
  return [
    `\`${name}\``,
    what.replaceAll('|', '\\|'),
    isNeeded ? '*needed*' : byDefault,
    readersOf(readers),
    isSecret ? 'yes' : '',
    rotates ?? 'at a restart',
  ]
}

function readersOf(readers: readonly string[]): string {
  const isAll = SERVICES.every((name) => readers.includes(name))
  return (isAll ? ['all services', ...readers.filter((name) => !SERVICES.includes(name))] : readers).join(
    ', ',
  )
}

function composeSection(): readonly string[] {
  return [
    '## docker-compose.yml alone',
    '',
    '`docker-compose.yml` makes settings of its parts from these; `.env.example` explains each.',
    '',
    ...composeNames().map((name) => `- \`${name}\``),
    '',
  ]
}
