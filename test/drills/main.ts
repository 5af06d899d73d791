// `npm run drill -- [id…] [--profile smoke|ci|full] [--seed n] [--list] [--mutants] [--keep]`: executes drills on a stack of its
// own and judges them from outside. Ctrl-C stops clean. The exit code is 0 only if all are PASS.
//
// How to add a drill: write a value of type Drill (drill.ts) into the file of its group under catalogue/ (one file per group, listed in
// catalogue/all.ts). `system` says what has to run, `run` does it and returns the judge. Faults go through `d.inject` (proven active
// and healed) or `d.strike` (over at once); faults/*.ts has the usual ones. Name the criteria, the entries of the fault catalogue and
// the invariants beyond those that always hold (checkers/invariants.ts). Give witnesses: what has to have happened at least, so
// that a run in which nothing happened is INVALID. Then `npm run drill -- ID`, and prove by a mutant (mutants/list.ts) that it bites.
import { parseArgs } from 'node:util'
import { Progress, seconds } from '../../infra/local/progress.ts'
import { openRunFolder, killRun, removeRunFolder } from '../support/test-run.ts'
import { chosenDrills, DRILLS } from './catalogue/all.ts'
import type { Profile } from './drill.ts'
import { startDrillStack } from './environment/stack.ts'
import { runDrill, type DrillResult } from './run-drill.ts'

const USAGE = 'Usage: npm run drill -- [id…] [--profile smoke|ci|full] [--seed n] [--list] [--mutants]'
const START_MS = 35 * 60_000
const LINE_MAX = 300
const EVENTS_SHOWN = 30

const progress = new Progress(process.stdout)
const interrupt = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => interrupt.abort(name))

let background = 0
process.on('unhandledRejection', (error) => {
  background += 1
  progress.line(`    ✗ something in the background of a drill failed: ${String(error)}`)
})

process.exitCode = await main().catch((error: unknown) => {
  progress.line(
    error instanceof RangeError ? error.message : String(error instanceof Error ? error.stack : error),
  )
  return 2
})

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      profile: { type: 'string', default: 'ci' },
      seed: { type: 'string' },
      list: { type: 'boolean', default: false },
    },
    allowPositionals: true,
  })
  const profile = profileOf(values.profile)
  if (values.list) return list()
  const drills = chosenDrills(positionals, profile)
  const seed = values.seed === undefined ? Math.floor(Math.random() * 1_000_000_000) : Number(values.seed)
  if (!Number.isSafeInteger(seed)) throw new RangeError(`--seed must be a whole number. ${USAGE}`)
  progress.line(`${drills.length} drills, profile ${profile}, seed ${seed}`)
  const folder = await openRunFolder()
  process.once('exit', () => killRun(folder))
  const results: DrillResult[] = []
  try {
    const signal = AbortSignal.any([interrupt.signal, AbortSignal.timeout(START_MS)])
    await using stack = await startDrillStack(
      { folder, env: process.env, say: (line) => progress.line(line) },
      signal,
    )
    for (const [index, drill] of drills.entries()) {
      if (interrupt.signal.aborted) break
      progress.line(`\n[${index + 1}/${drills.length}] ${drill.id} ${drill.title}`)
      const began = performance.now()
      const say = (line: string) =>
        progress.line(`  ${seconds(performance.now() - began).padStart(7)}  ${line}`)
      const result = await runDrill(drill, { stack, profile, seed, say, signal: interrupt.signal })
      results.push(result)
      tell(result)
    }
  } finally {
    await removeRunFolder(folder)
  }
  return summary(results, drills.length)
}

function tell({
  drill,
  verdict,
  reasons,
  criteria,
  witnesses,
  ledgers,
  startedAt,
  endedAt,
}: DrillResult): void {
  for (const [id, one] of criteria)
    progress.line(`    ${one.verdict.padEnd(7)} ${id} ${drill.criteria[id]}: ${short(one.evidence)}`)
  for (const { name, need, got } of witnesses) progress.line(`    witness ${name}: ${got} (needed ${need})`)
  for (const reason of reasons) progress.line(`    ✗ ${short(reason)}`)
  if (verdict !== 'PASS')
    for (const { at, instance, event, detail } of ledgers?.processes.slice(-EVENTS_SHOWN) ?? [])
      progress.line(`    ${new Date(at).toISOString().slice(11, 23)} ${instance} ${event} ${short(detail)}`)
  progress.line(`  ${verdict} ${drill.id} in ${seconds(endedAt - startedAt)}`)
}

function summary(results: readonly DrillResult[], wanted: number): number {
  const passed = results.filter(({ verdict }) => verdict === 'PASS').length
  progress.line('')
  for (const { drill, verdict, reasons } of results)
    progress.line(
      `${verdict.padEnd(7)} ${drill.id.padEnd(10)} ${drill.title}${reasons[0] ? `: ${short(reasons[0])}` : ''}`,
    )
  if (interrupt.signal.aborted) progress.line(`Stopped by ${String(interrupt.signal.reason)} before the end.`)
  progress.line(`${passed} of ${wanted} drills PASS`)
  return passed === wanted && background === 0 ? 0 : 1
}

/** One line of a terminal or two; the report has it whole. */
function short(text: string): string {
  const [line = ''] = text.split('\n')
  return line.length > LINE_MAX ? `${line.slice(0, LINE_MAX)} …` : line
}

function list(): number {
  for (const { id, title, profiles, faults } of DRILLS)
    progress.line(`${id.padEnd(10)} ${profiles.join(',').padEnd(14)} ${title} (${faults.join(', ')})`)
  return 0
}

function profileOf(name: string): Profile {
  if (name === 'smoke' || name === 'ci' || name === 'full') return name
  throw new RangeError(`There is no profile "${name}". ${USAGE}`)
}
