// `npm test`: typecheck, lint and format, and beside them every test on the real local stack. The
// last line is always `N passed, N failed` (each check counts as one), and the exit code says the
// same. Its arguments: test.usage.txt.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { compiledFolder, pruneDaily } from '../stack/compiled.ts'
import { cacheFolder } from '../stack/java-parts.ts'
import { signalProcess } from '../stack/signals.ts'
import { seconds } from '../stack/progress.ts'
import { countTests, failuresInWords, PROJECTS, type Counts, type Project } from './test-counts.ts'
import { parsedOrUsage } from '../stack/usage.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
/** Name → script of package.json. */
const CHECKS = { typecheck: 'typecheck', lint: 'lint', format: 'format:check' } as const
type Check = keyof typeof CHECKS

/** For vitest to stop its stack after a signal. */
const STOP_WITHIN_MS = 25_000

/** Each test file and each service is a process, and most of their start is compiling packages. */
const CACHE = cacheFolder(process.env, homedir())
const COMPILED = { NODE_COMPILE_CACHE: compiledFolder(CACHE) }
/** A pipe gets none by itself. */
const COLORS = process.stdout.isTTY && !process.env['NO_COLOR'] ? { FORCE_COLOR: '1' } : {}

const interrupt = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => interrupt.abort(name))

const plan = parsedOrUsage(import.meta.filename, process.argv.slice(2), planOf)
const NOTHING: Counts = { passed: 0, failed: 0, failures: [] }
const parts = [...plan.checks.map(runCheck), runTests(plan.projects, plan.filters)]
// Beside the tests, and no longer than they last.
const tested = new AbortController()
const pruned = pruneDaily(CACHE, AbortSignal.any([interrupt.signal, tested.signal]))
const total = (await Promise.all(parts)).reduce(sum, NOTHING)
process.stdout.write(failuresInWords(total.failures))
tested.abort()
await pruned
if (interrupt.signal.aborted)
  process.stdout.write(`Stopped by ${String(interrupt.signal.reason)} before the end.\n`)
process.stdout.write(`${total.passed} passed, ${total.failed} failed\n`)
process.exitCode = interrupt.signal.aborted ? 130 : total.failed > 0 ? 1 : 0

interface Plan {
  readonly checks: readonly Check[]
  readonly projects: readonly Project[]
  readonly filters: readonly string[]
}

function planOf(args: readonly string[]): Plan {
  const checks = Object.keys(CHECKS) as Check[]
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { only: { type: 'string' } },
    allowPositionals: true,
  })
  if (values.only === undefined)
    return { checks: positionals.length > 0 ? [] : checks, projects: PROJECTS, filters: positionals }
  const only = values.only.split(',')
  const unknown = only.filter((name) => !(name in CHECKS) && !(PROJECTS as readonly string[]).includes(name))
  if (unknown.length > 0) throw new Error(`There is no part named ${unknown.join(', ')}.`)
  return {
    checks: checks.filter((name) => only.includes(name)),
    projects: PROJECTS.filter((name) => only.includes(name)),
    filters: positionals,
  }
}

/**
 * Runs the script of package.json, whose words are a command of node_modules and its arguments.
 * What it says is written in one piece at its end: the others speak meanwhile.
 */
async function runCheck(check: Check): Promise<Counts> {
  if (interrupt.signal.aborted) return NOTHING
  const { scripts } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const [command = '', ...args] = (scripts[CHECKS[check]] ?? '').split(' ')
  const began = performance.now()
  let said = ''
  const code = await run(path.join(ROOT, 'node_modules', '.bin', command), args, (text) => (said += text))
  const mark = code === 0 ? '✓' : '✗'
  process.stdout.write(`${said}${mark} ${check} ${seconds(performance.now() - began)}\n`)
  if (code === 0) return { ...NOTHING, passed: 1 }
  return { ...NOTHING, failed: 1, failures: [{ what: check, again: `npm test -- --only=${check}` }] }
}

async function runTests(projects: readonly Project[], filters: readonly string[]): Promise<Counts> {
  if (interrupt.signal.aborted || projects.length === 0) return NOTHING
  const folder = mkdtempSync(path.join(tmpdir(), 'calstream-test-'))
  const report = path.join(folder, 'report.json')
  try {
    const vitest = path.join(ROOT, 'node_modules', 'vitest', 'vitest.mjs')
    const args = [
      vitest,
      'run',
      '--config=test/vitest.config.ts',
      ...projects.map((name) => `--project=${name}*`),
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
      ...filters,
    ]
    const code = await run(process.execPath, args, (text) => process.stdout.write(text))
    return countTests(readReport(report), code, interrupt.signal.aborted)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * Runs a command to its end and returns its exit code. In a group of its own: Ctrl-C then reaches
 * it once, through us, because a second one would make vitest leave before its stack has stopped.
 * @param say gets what it writes. To a terminal vitest would write over what the checks say.
 */
async function run(
  command: string,
  args: readonly string[],
  say: (text: string) => unknown,
): Promise<number> {
  const child = spawn(command, args, {
    cwd: ROOT,
    env: { ...process.env, ...COMPILED, ...COLORS },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', say)
  const stop = (): void => {
    if (child.pid === undefined) return
    const { pid } = child
    signalProcess(pid, 'SIGINT')
    setTimeout(() => signalProcess(-pid, 'SIGKILL'), STOP_WITHIN_MS).unref()
  }
  interrupt.signal.addEventListener('abort', stop, { once: true })
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code) => resolve(code ?? 1))
    })
  } finally {
    interrupt.signal.removeEventListener('abort', stop)
  }
}

function readReport(file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return null
  }
}

function sum(one: Counts, other: Counts): Counts {
  return {
    passed: one.passed + other.passed,
    failed: one.failed + other.failed,
    failures: [...one.failures, ...other.failures],
  }
}
