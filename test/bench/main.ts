// `npm run bench [-- name…]`: starts the local stack, runs the benchmarks one after the other,
// prints what they found and writes docs/performance.md. Sections of benchmarks that did not run
// now stay as they were. Ends by itself; Ctrl-C stops clean.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { parsedOrUsage } from '../../infra/stack/usage.ts'
import { startSharedStack } from '../support/shared-stack.ts'
import type { TestStack } from '../support/test-stack.ts'
import { killRun, openRunFolder, removeRunFolder } from '../support/test-run.ts'
import { benchConsole } from './console.ts'
import { benchFreshness } from './freshness.ts'
import { benchIngress } from './ingress.ts'
import { benchRelay } from './relay.ts'
import { document, loadBefore, machineFacts, type BenchResult } from './report.ts'
import { benchRetry } from './retry.ts'

type Bench = (stack: TestStack, say: (line: string) => void, signal: AbortSignal) => Promise<BenchResult>

const BENCHES: Readonly<Record<string, Bench>> = {
  freshness: benchFreshness,
  relay: benchRelay,
  ingress: benchIngress,
  retry: benchRetry,
  console: benchConsole,
}
const ROOT = path.resolve(import.meta.dirname, '../..')
const DOCUMENT = path.join(ROOT, 'docs/performance.md')
const RESULTS = path.join(ROOT, 'docs/performance.json')
/** One benchmark may take four minutes; a first start fetches the broker besides. */
const LIMIT_MS = 30 * 60_000

const say = (line: string): void => void process.stderr.write(`${line}\n`)
process.exitCode = await run(parsedOrUsage(import.meta.filename, process.argv.slice(2), namesOf))

function namesOf(args: readonly string[]): readonly string[] {
  const { positionals } = parseArgs({ args: [...args], options: {}, allowPositionals: true })
  const unknown = positionals.filter((name) => !(name in BENCHES))
  if (unknown.length > 0) throw new Error(`There is no benchmark named ${unknown.join(', ')}.`)
  return positionals.length > 0 ? positionals : Object.keys(BENCHES)
}

async function run(names: readonly string[]): Promise<number> {
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort(new Error(name)))
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(LIMIT_MS)])
  const run = { at: new Date().toISOString(), load: loadBefore() }
  say(`one-minute load before the run: ${run.load.toFixed(1)}`)
  const folder = await openRunFolder()
  process.once('exit', () => killRun(folder))
  const found: BenchResult[] = []
  try {
    await using started = await startSharedStack(folder, process.env, signal)
    for (const name of names) {
      say(`── ${name}`)
      const result = await BENCHES[name]!(started.stack, say, signal)
      for (const verdict of result.verdicts) say(verdict.replaceAll('**', ''))
      found.push({ ...result, run })
    }
  } finally {
    await removeRunFolder(folder)
  }
  const all = Object.keys(BENCHES).flatMap(
    (name) => [...found, ...earlier()].find((result) => result.name === name) ?? [],
  )
  writeFileSync(DOCUMENT, document(all, machineFacts()))
  writeFileSync(RESULTS, `${JSON.stringify(all, null, 2)}\n`)
  say(`written: ${path.relative(ROOT, DOCUMENT)}`)
  return 0
}

/** What the last run of each benchmark found. */
function earlier(): readonly BenchResult[] {
  return existsSync(RESULTS) ? (JSON.parse(readFileSync(RESULTS, 'utf8')) as BenchResult[]) : []
}
