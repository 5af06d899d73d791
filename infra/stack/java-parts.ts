// Fetches Kafka and the schema registry (pom.xml) with Maven into a cache outside the repository,
// shared by all clones. A cache entry is complete or absent: it is filled beside its place and
// renamed into it, so a cut-off first run heals itself.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { UserError } from '#shared/process/user-error.ts'

export interface JavaParts {
  /** The `java` command. */
  readonly java: string
  /** Class path with all of Kafka. */
  readonly kafkaClassPath: string
  /** Where Kafka's classes are kept for this Java, see class-archive.ts. */
  readonly kafkaArchive: string
  /** The registry's jar; it runs in its own folder. */
  readonly registryJar: string
  /** As kafkaArchive. */
  readonly registryArchive: string
}

export interface JavaPartsOptions {
  /** The folder of all caches of calstream, see cacheFolder. */
  readonly cache: string
  readonly env: NodeJS.ProcessEnv
  /** Called about once a second while Maven works, with a line for a person. */
  readonly progress: (line: string) => void
}

const POM = path.join(import.meta.dirname, 'pom.xml')
/** Kafka 4 brokers need it; the registry runs on it too. */
const JAVA_MIN = 17
/** 205 MB on a slow line; beyond that something hangs. */
const FETCH_TIMEOUT_MS = 30 * 60_000

const INSTALL_JAVA = `Install Java ${JAVA_MIN} or newer: \`apt-get install openjdk-17-jre-headless\` on Debian or Ubuntu, \`brew install openjdk\` on macOS.`
const INSTALL_MAVEN =
  'Install Maven: `apt-get install maven` on Debian or Ubuntu, `brew install maven` on macOS.'

/** `$XDG_CACHE_HOME/calstream`, or `~/.cache/calstream` (XDG Base Directory Specification). */
export function cacheFolder(env: NodeJS.ProcessEnv, home: string): string {
  const base = env['XDG_CACHE_HOME']
  // "All paths set in these environment variables must be absolute.
  // … relative … should be ignored."
  return path.join(base && path.isAbsolute(base) ? base : path.join(home, '.cache'), 'calstream')
}

/**
 * The Java parts, from the cache or by Maven. Throws a UserError that says what to install when
 * Java (or, on a first run, Maven) is missing or too old, and when the download fails.
 */
export async function fetchJavaParts(options: JavaPartsOptions, signal: AbortSignal): Promise<JavaParts> {
  const { java, version } = findJava(options.env)
  const folder = path.join(options.cache, shortHash(readFileSync(POM)))
  if (!existsSync(folder)) await fillCache(folder, options, signal)
  const registryFolder = path.join(folder, 'registry')
  const runner = readdirSync(registryFolder).find((name) => name.endsWith('-runner.jar'))
  if (!runner) throw new UserError(`The cache is damaged. Delete ${folder} and run the same command again.`)
  return {
    java,
    kafkaClassPath: path.join(folder, 'kafka', '*'),
    kafkaArchive: path.join(folder, `kafka-${shortHash(version)}.jsa`),
    registryJar: path.join(registryFolder, runner),
    registryArchive: path.join(folder, `registry-${shortHash(version)}.jsa`),
  }
}

function shortHash(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex').slice(0, 16)
}

/**
 * The java command, checked, and all that it says of its version. JAVA_HOME wins over PATH, as in
 * Maven.
 */
function findJava(env: NodeJS.ProcessEnv): { readonly java: string; readonly version: string } {
  const java = env['JAVA_HOME'] ? path.join(env['JAVA_HOME'], 'bin', 'java') : 'java'
  const { error, status, stderr } = spawnSync(java, ['-version'], { encoding: 'utf8', env })
  // macOS ships a /usr/bin/java that only explains that there is none.
  if (error || status !== 0)
    throw new UserError(`Java is missing (\`${java}\` does not run). ${INSTALL_JAVA}`)
  const major = javaMajor(stderr)
  if (major === null || major < JAVA_MIN)
    throw new UserError(`Java ${major ?? '(unknown)'} is too old. ${INSTALL_JAVA}`)
  return { java, version: stderr }
}

/**
 * `openjdk version "17.0.15" …` is 17, `java version "1.8.0_392"` is 8;
 * null when there is no version in the text.
 */
export function javaMajor(versionText: string): number | null {
  const match = /version "(?:1\.)?(\d+)/.exec(versionText)
  return match ? Number(match[1]) : null
}

async function fillCache(folder: string, options: JavaPartsOptions, signal: AbortSignal): Promise<void> {
  mkdirSync(path.dirname(folder), { recursive: true })
  removeLeftovers(folder)
  const temporary = `${folder}.${process.pid}`
  try {
    await runMaven(temporary, options, signal)
    if (!existsSync(path.join(temporary, 'kafka')) || !existsSync(path.join(temporary, 'registry')))
      throw new UserError('Maven ended well but brought no files. Run the same command again.')
    renameSync(temporary, folder)
  } catch (error) {
    // Another run finished first: its copy is as good as ours.
    if (!existsSync(folder)) throw error
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

/** Half-filled folders of runs that are no more. */
function removeLeftovers(folder: string): void {
  for (const name of readdirSync(path.dirname(folder))) {
    const match = /^(.+)\.(\d+)$/.exec(name)
    if (match?.[1] !== path.basename(folder) || isAlive(Number(match[2]))) continue
    rmSync(path.join(path.dirname(folder), name), { recursive: true, force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Not `-B` and not `-q`: those hide the progress of a single file, and one file is 140 MB. */
async function runMaven(target: string, options: JavaPartsOptions, signal: AbortSignal): Promise<void> {
  const args = ['-f', POM, 'generate-resources', `-Dcalstream.parts=${target}`, '-Dstyle.color=never']
  const maven = spawn('mvn', args, {
    env: options.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: AbortSignal.any([signal, AbortSignal.timeout(FETCH_TIMEOUT_MS)]),
    // A group of its own: Ctrl-C must not cut it off before we do.
    detached: true,
  })
  const meter = new DownloadMeter()
  let last = ''
  for (const stream of [maven.stdout, maven.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      meter.read(text)
      last = `${last}${text}`.slice(-4_000)
    })
  const started = Date.now()
  const ticker = setInterval(() => options.progress(meter.line(Date.now() - started)), 1_000)
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      maven.once('error', reject)
      maven.once('close', resolve)
    })
    if (code !== 0) throw new UserError(mavenFailure(last))
  } catch (error) {
    signal.throwIfAborted()
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new UserError(`Maven is missing; it fetches Kafka and the schema registry. ${INSTALL_MAVEN}`)
    throw error
  } finally {
    clearInterval(ticker)
  }
}

function mavenFailure(output: string): string {
  const reason = /\[ERROR\] (.+)/.exec(output)?.[1] ?? output.trimEnd().split('\n').at(-1) ?? ''
  return `Maven could not fetch Kafka and the schema registry: ${reason.slice(0, 500)} Check the network, then run the same command again.`
}

/**
 * Adds up what Maven reports: `Downloaded from central: … (142 MB at 9.5 MB/s)` and
 * `Progress (1): 12/142 MB`.
 */
export class DownloadMeter {
  #doneBytes = 0
  #currentBytes = 0

  read(text: string): void {
    for (const line of text.split(/[\r\n]+/)) {
      const done = /Downloaded from .*\((\d+(?:\.\d+)?) (B|kB|MB|GB) at/.exec(line)
      if (done) {
        this.#doneBytes += bytes(done)
        this.#currentBytes = 0
      }
      const current = /Progress \(\d+\): (\d+(?:\.\d+)?)(?:\/\d+(?:\.\d+)?)? (B|kB|MB|GB)/.exec(line)
      if (current) this.#currentBytes = bytes(current)
    }
  }

  line(elapsedMs: number): string {
    const megabytes = ((this.#doneBytes + this.#currentBytes) / 1e6).toFixed(0)
    return `Fetching Kafka and the schema registry: ${megabytes} MB of about 205 MB, ${Math.round(elapsedMs / 1000)} s`
  }
}

function bytes(match: RegExpExecArray): number {
  const unit = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9 }[match[2] ?? 'B'] ?? 1
  return Number(match[1]) * unit
}
