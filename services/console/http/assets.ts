// Styles and scripts, ours and those of two packages, served from the files that were installed.
// Invariant: an address names its content, so a browser may keep it for ever.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { gzipSync } from 'node:zlib'
import type { FastifyInstance } from 'fastify'

const require = createRequire(import.meta.url)
const own = (name: string): URL => new URL(`../assets/${name}`, import.meta.url)

/** name → where it lies. */
const FILES: Readonly<Record<string, () => URL | string>> = {
  'console.css': () => own('console.css'),
  'console.js': () => own('console.js'),
  'icon.svg': () => own('icon.svg'),
  'htmx.js': () => require.resolve('htmx.org/dist/htmx.min.js'),
  'htmx-sse.js': () => require.resolve('htmx.org/dist/ext/hx-sse.min.js'),
  'uplot.js': () => require.resolve('uplot/dist/uPlot.iife.min.js'),
  'uplot.css': () => require.resolve('uplot/dist/uPlot.min.css'),
}

const TYPES: Readonly<Record<string, string>> = {
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
}

const A_YEAR = 'public, max-age=31536000, immutable'

interface Asset {
  readonly path: string
  readonly type: string
  readonly body: Buffer
  readonly gzipped: Buffer
}

export interface Assets {
  /** The address of a file by its name. */
  pathOf(name: string): string
  /** Bytes of all of them together, as they travel. */
  readonly gzippedBytes: number
}

/** Reads the files and registers a route for each. Throws when one is missing. */
export function registerAssets(app: FastifyInstance): Assets {
  const all = new Map(Object.entries(FILES).map(([name, place]) => [name, assetOf(name, place())]))
  for (const { path, type, body, gzipped } of all.values()) {
    app.get(path, (request, reply) => {
      const isGzip = /\bgzip\b/.test(request.headers['accept-encoding'] ?? '')
      void reply.headers({ 'cache-control': A_YEAR, 'content-type': type, vary: 'accept-encoding' })
      if (isGzip) void reply.header('content-encoding', 'gzip')
      return reply.send(isGzip ? gzipped : body)
    })
  }
  return {
    pathOf(name) {
      const asset = all.get(name)
      if (!asset) throw new Error(`There is no asset ${name}.`)
      return asset.path
    },
    gzippedBytes: [...all.values()].reduce((sum, { gzipped }) => sum + gzipped.length, 0),
  }
}

function assetOf(name: string, place: URL | string): Asset {
  const body = readFileSync(place)
  const [stem = '', extension = ''] = name.split('.')
  const mark = createHash('sha256').update(body).digest('hex').slice(0, 12)
  return {
    path: `/assets/${stem}.${mark}.${extension}`,
    type: TYPES[extension] ?? 'application/octet-stream',
    body,
    gzipped: gzipSync(body, { level: 9 }),
  }
}
