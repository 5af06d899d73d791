// The first thing `npm start` and `npm test` run, in plain JavaScript so that any Node >= 18
// can run it. It installs the packages when the lockfile changed, then hands over to the
// pinned Node 24 that the lockfile brings. Usage: node infra/dev/bootstrap.mjs <entry.ts>
// [arguments for the entry]
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const [entry, ...args] = process.argv.slice(2)
if (!entry)
  fail('bootstrap: name the entry to run, for example: node infra/dev/bootstrap.mjs infra/dev/start.ts')
process.chdir(root)
explain()
install()
const entryPath = path.resolve(root, entry)
if (isNewEnough(process.versions.node)) {
  process.argv = [process.argv[0], entryPath, ...args]
  await import(pathToFileURL(entryPath).href)
} else {
  handOver(pinnedNode(), entryPath)
}

/** `--help` is answered at once: nobody waits for packages to read ten lines. */
function explain() {
  const usage = path.resolve(root, entry.replace(/\.ts$/, '.usage.txt'))
  if (!args.some((arg) => arg === '--help' || arg === '-h') || !existsSync(usage)) return
  process.stdout.write(readFileSync(usage))
  process.exit(0)
}

/**
 * Runs `npm ci` unless this exact lockfile is already installed;
 * the stamp is written last, so half an install is redone.
 */
function install() {
  const lock = createHash('sha256').update(readFileSync('package-lock.json')).digest('hex')
  const stamp = path.join('node_modules', '.calstream-installed')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return
  process.stderr.write('Installing packages (first run, about a minute) …\n')
  const started = Date.now()
  // The flags undo user settings under which the install would miss parts:
  // omit=dev, omit=optional, ignore-scripts=true.
  const flags = [
    '--include=dev',
    '--include=optional',
    '--ignore-scripts=false',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ]
  const result = spawnSync('npm', ['ci', ...flags], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, NODE_ENV: 'development', SCARF_ANALYTICS: 'false' },
  })
  if (result.error)
    fail(`npm could not be started (${result.error.message}). Install Node.js with npm, version 18 or newer.`)
  if (result.status !== 0)
    fail('npm ci failed; its message is above. Check the network, then run the same command again.')
  writeFileSync(stamp, lock)
  // Read by start.ts, which reports it.
  process.env.CALSTREAM_INSTALL_MS = String(Date.now() - started)
  process.stderr.write(`Packages installed in ${Math.round((Date.now() - started) / 1000)} s.\n`)
}

function isNewEnough(version) {
  const [major, minor] = version.split('.').map(Number)
  return major > 24 || (major === 24 && minor >= 12)
}

function pinnedNode() {
  const binary = path.join(root, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin', 'node')
  if (!existsSync(binary))
    fail(
      `This needs Node 24.12 or newer; you run ${process.versions.node}. Install Node 24 and run the same command again.`,
    )
  return binary
}

function handOver(binary, entryPath) {
  // PATH too: children that are started as `node` must get the pinned one.
  const env = { ...process.env, PATH: `${path.dirname(binary)}${path.delimiter}${process.env.PATH ?? ''}` }
  const child = spawn(binary, [entryPath, ...args], { stdio: 'inherit', env })
  // Ctrl-C reaches the child from the terminal as well; forwarding covers `kill <pid>`.
  // Repeats are harmless by contract.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => fail(`The pinned Node could not be started: ${error.message}`))
  child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code))
}

function fail(message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}
