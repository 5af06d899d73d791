// The image's files, made by the Dockerfile's own lines: they are few, nothing that runs is
// missing, and the bill of materials names each package. There is no engine, and so no layer.
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { sizeOf, trim } from '../../../infra/image/trim.ts'
import { SERVICES } from '../../../services/cli/config.ts'
import { type Built, buildImage, REPOSITORY } from '../../support/image.ts'
import { importsOf } from '../../support/imports.ts'
import { measured } from '../../support/measured.ts'
import { VERSION } from '#shared/process/version.ts'

const BYTES_MAX = 80e6
const BUILD_WITHIN_MS = 600_000
const STEP_WITHIN_MS = 120_000

const lockfile = z.object({
  packages: z.record(
    z.string(),
    z.object({
      version: z.string().optional(),
      dev: z.boolean().default(false),
      optional: z.boolean().default(false),
      devOptional: z.boolean().default(false),
    }),
  ),
})

/** `name@version` of every package that production installs. */
function productionOf(lock: unknown): readonly string[] {
  return Object.entries(lockfile.parse(lock).packages)
    .filter(([place, { dev, optional, devOptional }]) => place !== '' && !dev && !optional && !devOptional)
    .map(([place, { version }]) => `${place.replace(/^.*node_modules\//, '')}@${version}`)
}

const bill = z.object({
  bomFormat: z.literal('CycloneDX'),
  metadata: z.object({ component: z.object({ name: z.string(), version: z.string(), type: z.string() }) }),
  components: z.array(z.object({ name: z.string(), version: z.string(), purl: z.string() })),
})

let built: Built
/** Files of packages before the trim, by path below `node_modules`. */
let before: ReadonlySet<string> = new Set()

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))

beforeAll(async () => {
  built = await buildImage((packages) => {
    before = new Set(filesIn(path.join(packages, 'node_modules')))
  })
}, BUILD_WITHIN_MS)

afterAll(async () => {
  await built[Symbol.asyncDispose]()
})

/** Runs Node in the image's folder, with no other setting than these. */
async function node(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const options = { cwd: built.app, env: { PATH: '/nonexistent', ...env }, timeout: STEP_WITHIN_MS }
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [...args], options)
    return { code: 0, text: stdout + stderr }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
    return { code, text: stdout + stderr }
  }
}

const sources = (): string[] =>
  filesIn(path.join(built.app, 'services')).filter((name) => name.endsWith('.ts'))

describe('the files of the image', () => {
  test(`are at most ${BYTES_MAX / 1e6} MB on a disk of 4 kB blocks`, () => {
    expect(before.size).toBeGreaterThan(15_000)
    expect(sizeOf(built.app).blocks).toBeLessThanOrEqual(BYTES_MAX)
  })

  test('hold no file that is left asking for one that was taken out', () => {
    expect(broken(path.join(built.app, 'node_modules'), before)).toEqual([])
  })

  test('would be found to be broken without a file that others ask for (control)', () => {
    const folder = path.join(built.app, 'node_modules')
    const left = new Set(filesIn(folder))
    left.delete('yaml/dist/doc/Document.js')
    expect(broken(folder, before, left)).toContain('yaml/dist/index.js → ./doc/Document.js')
  })

  test('are as they were after a second trim', () => {
    expect(trim(path.join(built.app, 'node_modules'))).toMatchObject({ files: 0, bytes: 0 })
  })

  test('keep the licence of every package that has one', () => {
    const licences = [...before].filter(
      (name) => /(?:^|\/)(?:licen[cs]e|notice|copying)[^/]*$/i.test(name) && !/\/(?:test|docs?)\//.test(name),
    )
    const isCode = (name: string) => /\.(?:[cm]?js|json|ts|map)$/.test(name)
    const lost = licences.filter(
      (name) => !isCode(name) && !existsSync(path.join(built.app, 'node_modules', name)),
    )
    expect(licences.length).toBeGreaterThan(200)
    expect(lost).toEqual([])
  })
})

describe('what runs in the image', () => {
  test('is every module of the services, loaded', async () => {
    // Those that start something when they are loaded are tried below, or are for scripts.
    const modules = sources().filter((name) => !/(?:main|gates\/flags)\.ts$/.test(name))
    expect(modules.length).toBeGreaterThan(180)
    const script = `for (const name of ${JSON.stringify(modules)}) await import('./services/' + name); process.exit()`
    expect(await node(['--input-type=module', '--eval', script])).toEqual({ code: 0, text: '' })
  })

  test('is every package that they name, also where it is loaded late', async () => {
    const named = new Set(
      sources().flatMap((name) => {
        const source = readFileSync(path.join(built.app, 'services', name), 'utf8')
        const typesOnly = /^(?:import|export) type [^;'"]*? from ['"][^'"]+['"]/gm
        const required = [...source.matchAll(/createRequire\([^)]*\)\('([^']+)'\)/g)].map((match) => match[1])
        return [
          ...importsOf(source.replaceAll(typesOnly, '')).map(({ specifier }) => specifier),
          ...required.flatMap((one) => one ?? []),
        ].filter((one) => /^[@a-z]/.test(one) && !one.startsWith('node:'))
      }),
    )
    expect([...named]).toEqual(
      expect.arrayContaining(['googleapis/build/src/apis/calendar/index.js', '@opentelemetry/sdk-node']),
    )
    const script = `for (const name of ${JSON.stringify([...named])}) await import(name, name.endsWith('.json') ? { with: { type: 'json' } } : {}); process.exit()`
    expect(await node(['--input-type=module', '--eval', script])).toEqual({ code: 0, text: '' })
  })

  test('is a client of each vendor', async () => {
    const script = `
      const { calendar } = await import('googleapis/build/src/apis/calendar/index.js')
      const { Client } = await import('@microsoft/microsoft-graph-client')
      const google = calendar({ version: 'v3' })
      const graph = Client.init({ authProvider: (done) => done(null, 'token') })
      console.log(typeof google.events.list, typeof graph.api('/me').get)
      process.exit()`
    expect((await node(['--input-type=module', '--eval', script])).text).toBe('function function\n')
  })

  test.each(['grpc', 'http/protobuf', 'http/json'])(
    'is the exporter of traces and metrics over %s',
    async (protocol) => {
      const script = `
      import { startTelemetry } from '#shared/process/telemetry.ts'
      const telemetry = startTelemetry({ service: 'test', logger: { warn: (what) => console.log(what) } })
      console.log((await telemetry.scrape()).includes('calstream_build_info'))
      process.exit()`
      const env = { OTEL_EXPORTER_OTLP_PROTOCOL: protocol, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' }
      expect(await node(['--input-type=module-typescript', '--eval', script], env)).toEqual({
        code: 0,
        text: 'true\n',
      })
    },
  )

  test.each(SERVICES)('is %s, up to the settings that it lacks', async (name) => {
    const began = performance.now()
    const { code, text } = await node(['services/cli/main.ts', name])
    measured(`${name} looked at its settings ${Math.round(performance.now() - began)} ms after its start`)
    expect(text).toContain(`calstream ${name} could not start or stop. The settings cannot be used:`)
    expect(code).toBe(1)
  })

  test('is the console with every file that it serves to browsers', async () => {
    const script = `
      const { registerAssets } = await import('./services/console/http/assets.ts')
      const paths = []
      const { gzippedBytes } = registerAssets({ get: (path) => paths.push(path) })
      console.log(paths.length, gzippedBytes > 20_000 && gzippedBytes < 60_000)
      process.exit()`
    expect((await node(['--input-type=module', '--eval', script])).text).toBe('7 true\n')
  })

  test('is the command, which tells the version and its commands', async () => {
    expect(await node(['services/cli/main.ts', '--version'])).toEqual({ code: 0, text: `${VERSION}\n` })
    expect((await node(['services/cli/main.ts', '--help'])).text).toContain('dead-letters')
  })

  test.each([
    [200, 0],
    [503, 1],
  ])('is the health check, which a readiness of %i ends with %i', async (status, code) => {
    const server = createServer((_request, response) => response.writeHead(status).end('{}'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const asked = await node(['services/cli/health-main.ts'], { ADMIN_PORT: String(port) })
    server.close()
    expect(asked.code, asked.text).toBe(code)
  })

  test('is not there any more when its package is gone (control)', async () => {
    const { app } = built
    rmSync(path.join(app, 'node_modules/html-escaper'), { recursive: true })
    const script = `await import('./services/ingress/oauth/page.ts')`
    expect((await node(['--input-type=module', '--eval', script])).text).toContain(
      "Cannot find package 'html-escaper'",
    )
  })
})

describe('the bill of materials', () => {
  test('names every package of production, once, and no other', () => {
    const lock: unknown = JSON.parse(readFileSync(path.join(REPOSITORY, 'package-lock.json'), 'utf8'))
    const { components } = bill.parse(JSON.parse(readFileSync(path.join(built.app, 'sbom.cdx.json'), 'utf8')))
    const names = components.map(({ name, version }) => `${name}@${version}`)
    const wanted = [...new Set(productionOf(lock))]
    expect(wanted.length).toBeGreaterThan(200)
    expect(names.toSorted()).toEqual(wanted.toSorted())
  })

  test('is that of calstream in this version', () => {
    const { metadata } = bill.parse(JSON.parse(readFileSync(path.join(built.app, 'sbom.cdx.json'), 'utf8')))
    expect(metadata.component).toMatchObject({ name: 'calstream', version: VERSION, type: 'application' })
  })
})

/** Each `file → specifier` among what is left whose target existed before and is gone. */
function broken(folder: string, were: ReadonlySet<string>, left = new Set(filesIn(folder))): string[] {
  const found: string[] = []
  for (const file of left) {
    if (!/\.[cm]?js$/.test(file)) continue
    const source = readFileSync(path.join(folder, file), 'utf8')
    for (const [, specifier = ''] of source.matchAll(
      /(?:require\(|from\s*|import\(|import\s*)['"](\.[^'"]*)['"]/g,
    )) {
      // For compilers, in a comment.
      if (/\.d\.[cm]?ts$/.test(specifier)) continue
      const target = path.posix.join(path.posix.dirname(file), specifier)
      const candidates = ['', '.js', '.json', '.cjs', '.mjs', '/index.js', '/index.cjs'].map((end) =>
        path.posix.normalize(target.replace(/\/$/, '') + end),
      )
      const isIn = (files: ReadonlySet<string>) => candidates.some((one) => files.has(one))
      if (isIn(were) && !isIn(left)) found.push(`${file} → ${specifier}`)
    }
  }
  return found
}
