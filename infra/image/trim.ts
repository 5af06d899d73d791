// Takes out of a folder of production packages what no process of the image can load: the other
// APIs of Google, types and their sources, maps, pages, tests. It says in one line what is left.
// Invariants: licences stay; a file that Node could load stays, but for Google's other APIs and the
// tests and examples at the top of a package; a second run finds nothing; only Node is imported,
// since the image's stage `packages` holds nothing else.
// Usage: node infra/image/trim.ts node_modules
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

/**
 * What is imported of googleapis: services/shared/vendors/google/call.ts. All 340 APIs are 246 MB.
 */
const GOOGLE_KEPT = ['package.json', 'LICENSE', 'build/src/apis/calendar']
/** Node strips no types in node_modules, so a file of TypeScript there is for compilers alone. */
const UNLOADABLE = /\.(?:[cm]?ts|[cm]?ts\.map|[cm]?js\.map|css\.map|tsbuildinfo|flow|md|markdown)$/i
const LICENCE = /^(?:licen[cs]e|notice|copying|copyright|patents|authors)/i
const BLOCK = 4096
/**
 * At the top of a package only: deeper ones, as yaml's dist/doc, hold code that runs. One that the
 * package offers to others by name stays.
 */
const BESIDE_THE_CODE = /^(?:tests?|__tests__|docs?|examples?|benchmarks?|bench|coverage|\.github)$/

interface Size {
  files: number
  /** As the files themselves tell. */
  bytes: number
  /** The same on a disk of 4 kB blocks. */
  blocks: number
}

/**
 * Trims a `node_modules` in place and returns what was taken out. Throws when the folder cannot be
 * read, or when googleapis has another form than the one known here.
 */
export function trim(folder: string): Size {
  const removed: Size = { files: 0, bytes: 0, blocks: 0 }
  for (const name of packagesIn(folder)) {
    const home = path.join(folder, name)
    const offered = readFileSync(path.join(home, 'package.json'), 'utf8')
    for (const entry of readdirSync(home, { withFileTypes: true }))
      if (entry.isDirectory() && BESIDE_THE_CODE.test(entry.name) && !offered.includes(`./${entry.name}/`))
        drop(path.join(home, entry.name), removed)
    if (existsSync(path.join(home, 'node_modules'))) add(removed, trim(path.join(home, 'node_modules')))
    if (name === 'googleapis') keepOnly(home, GOOGLE_KEPT, removed)
    dropUnloadable(home, removed)
  }
  // npm's own list of what it installed; only npm reads it.
  drop(path.join(folder, '.package-lock.json'), removed)
  return removed
}

/** The names of the packages that lie in a `node_modules`, with their scopes. */
function packagesIn(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .flatMap(({ name }) =>
      name.startsWith('@') ? readdirSync(path.join(folder, name)).map((own) => `${name}/${own}`) : [name],
    )
}

/** Drops what neither is kept nor leads to what is kept. Throws when a kept name is missing. */
function keepOnly(home: string, kept: readonly string[], removed: Size): void {
  for (const name of kept)
    if (!existsSync(path.join(home, name)))
      throw new Error(`${path.join(home, name)} is missing: infra/image/trim.ts has to learn its new form.`)
  const visit = (inside: string): void => {
    for (const entry of readdirSync(path.join(home, inside))) {
      const name = inside === '' ? entry : `${inside}/${entry}`
      if (kept.includes(name)) continue
      if (kept.some((one) => one.startsWith(`${name}/`))) visit(name)
      else drop(path.join(home, name), removed)
    }
  }
  visit('')
}

function dropUnloadable(folder: string, removed: Size): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name)
    if (entry.isDirectory()) {
      if (entry.name !== 'node_modules') dropUnloadable(file, removed)
    } else if (UNLOADABLE.test(entry.name) && !LICENCE.test(entry.name)) drop(file, removed)
  }
  if (readdirSync(folder).length === 0) rmSync(folder, { recursive: true })
}

function drop(target: string, removed: Size): void {
  if (!existsSync(target)) return
  add(removed, sizeOf(target))
  rmSync(target, { recursive: true })
}

/** What lies under a path; a symbolic link counts as itself. Throws when there is nothing. */
export function sizeOf(target: string): Readonly<Size> {
  const stat = lstatSync(target)
  if (!stat.isDirectory()) return { files: 1, bytes: stat.size, blocks: Math.ceil(stat.size / BLOCK) * BLOCK }
  const sum: Size = { files: 0, bytes: 0, blocks: BLOCK }
  for (const name of readdirSync(target)) add(sum, sizeOf(path.join(target, name)))
  return sum
}

function add(sum: Size, one: Readonly<Size>): void {
  sum.files += one.files
  sum.bytes += one.bytes
  sum.blocks += one.blocks
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const folder = process.argv[2]
  if (!folder) {
    process.stderr.write('Name the folder: node infra/image/trim.ts node_modules\n')
    process.exit(1)
  }
  const { files, bytes } = trim(folder)
  const left = sizeOf(folder)
  const inMb = (count: number) => `${(count / 1e6).toFixed(1)} MB`
  process.stdout.write(
    `${files} files of ${inMb(bytes)} taken out; ${left.files} of ${inMb(left.bytes)} are left, ${inMb(left.blocks)} on disk\n`,
  )
}
