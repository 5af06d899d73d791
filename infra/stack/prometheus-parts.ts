// Finds Prometheus and its promtool, which test the alerts: in the cache, on PATH, or in Debian's
// package, which is unpacked into the cache and not installed, so that it needs no rights. A cache
// entry is complete or absent: it is filled beside its place and renamed into it.
import { execFile, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { UserError } from '#shared/process/user-error.ts'

export interface PrometheusParts {
  readonly prometheus: string
  readonly promtool: string
  /** Like `2.42.0`. */
  readonly version: string
}

export interface PrometheusPartsOptions {
  /** The folder of all caches of calstream, see cacheFolder. */
  readonly cache: string
  readonly env: NodeJS.ProcessEnv
}

/** Debian 12 has it. The rules are written so that 3.x reads them alike. */
const OLDEST = [2, 42] as const
const DOWNLOAD_MAX_MS = 5 * 60_000
const run = promisify(execFile)

const INSTALL =
  'Install Prometheus: `apt-get install prometheus` on Debian or Ubuntu, `brew install prometheus` on macOS.'

/**
 * The two programs. Throws a UserError that says what to install when they are missing or too old,
 * and cannot be fetched.
 */
export async function fetchPrometheus(
  { cache, env }: PrometheusPartsOptions,
  signal: AbortSignal,
): Promise<PrometheusParts> {
  const kept = path.join(cache, 'prometheus')
  const bin = path.join(kept, 'usr', 'bin')
  const found = partsIn(bin, env) ?? partsIn('', env)
  if (found) return found
  await unpack(kept, env, signal)
  const fetched = partsIn(bin, env)
  if (!fetched) throw new UserError(`Debian's package brought no Prometheus that runs here. ${INSTALL}`)
  return fetched
}

/** Both programs of a folder, or of PATH for ''; null when one does not run or is too old. */
function partsIn(folder: string, env: NodeJS.ProcessEnv): PrometheusParts | null {
  const at = (name: string) => (folder === '' ? name : path.join(folder, name))
  const versions = ['prometheus', 'promtool'].map((name) => versionOf(at(name), env))
  const [version, other] = versions
  if (!version || version !== other || !isNewEnough(version)) return null
  return { prometheus: at('prometheus'), promtool: at('promtool'), version }
}

function versionOf(program: string, env: NodeJS.ProcessEnv): string | null {
  const { error, stdout, stderr } = spawnSync(program, ['--version'], { encoding: 'utf8', env })
  return error ? null : prometheusVersion(`${stdout}${stderr}`)
}

/** `prometheus, version 2.42.0+ds (branch: …` is 2.42.0; null when there is no version in it. */
export function prometheusVersion(text: string): string | null {
  return /version (\d+\.\d+\.\d+)/.exec(text)?.[1] ?? null
}

/** Whether the rules may be read by this version. */
export function isNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])
}

async function unpack(place: string, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<void> {
  const temporary = `${place}.${process.pid}`
  mkdirSync(temporary, { recursive: true })
  try {
    const file = await download(temporary, env, signal)
    await command('dpkg-deb', ['-x', file, temporary], { env, signal })
    rmSync(file)
    rmSync(place, { recursive: true, force: true })
    renameSync(temporary, place)
  } catch (error) {
    signal.throwIfAborted()
    // Another run finished first: its copy is as good as ours.
    if (!existsSync(place)) throw error
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

/** Of this machine's package lists, or of lists of its own when those are missing or old. */
async function download(folder: string, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<string> {
  // `apt-get download` writes into its working folder; the user _apt may not.
  const asUs = ['-o', 'APT::Sandbox::User=', '-qq']
  const how = { env, signal, cwd: folder }
  try {
    await command('apt-get', [...asUs, 'download', 'prometheus'], how)
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof UserError) throw error
    const own = ['-o', `Dir::State::Lists=${folder}/lists`, '-o', `Dir::Cache=${folder}/cache`]
    for (const one of ['lists/partial', 'cache/archives/partial'])
      mkdirSync(path.join(folder, one), { recursive: true })
    await command('apt-get', [...asUs, ...own, 'update'], how).catch(unfetched)
    await command('apt-get', [...asUs, ...own, 'download', 'prometheus'], how).catch(unfetched)
    for (const one of ['lists', 'cache']) rmSync(path.join(folder, one), { recursive: true })
  }
  const file = readdirSync(folder).find((name) => name.endsWith('.deb'))
  if (!file) throw new UserError(`apt-get ended well but brought no package. ${INSTALL}`)
  return path.join(folder, file)
}

function unfetched(error: unknown): never {
  if (error instanceof UserError) throw error
  const said = error instanceof Error ? (error.message.split('\n')[1] ?? error.message) : String(error)
  throw new UserError(`Debian's package of Prometheus could not be fetched: ${said.slice(0, 300)} ${INSTALL}`)
}

interface How {
  readonly env: NodeJS.ProcessEnv
  readonly signal: AbortSignal
  readonly cwd?: string
}

/** Rejects with the command's own words. Throws UserError where there is no such command. */
async function command(name: string, args: readonly string[], { env, signal, cwd }: How): Promise<void> {
  try {
    await run(name, [...args], { env, signal, timeout: DOWNLOAD_MAX_MS, ...(cwd ? { cwd } : {}) })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new UserError(`Prometheus is missing, and ${name} is not here to fetch it. ${INSTALL}`)
    throw error
  }
}
