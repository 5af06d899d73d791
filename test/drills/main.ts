// `npm run drill`: executes drills on stacks of their own and judges them from outside. Its
// arguments: main.usage.txt. Ctrl-C stops clean. The exit code is 0 only if all are PASS (with
// --mutants: all caught).
//
// Evidence and pages go to docs/drills, the raw ledgers of each drill's last run to
// .calstream/drills. An hour of chaos has millions of entries: give Node 8 GB
// (NODE_OPTIONS=--max-old-space-size=8192).
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Progress, seconds } from '../../infra/stack/progress.ts'
import { REPOSITORY } from '../../infra/stack/services.ts'
import { parsedOrUsage } from '../../infra/stack/usage.ts'
import { openRunFolder, killRun, removeRunFolder } from '../support/test-run.ts'
import { allDrills, chosenDrills } from './catalogue/all.ts'
import type { Drill, Profile } from './drill.ts'
import { startDrillStack, type DrillStack } from './environment/stack.ts'
import { type DrillEnd, type LaneOptions, runSideBySide, serveLane } from './lanes.ts'
import { type Mutant, MUTANTS } from './mutants/list.ts'
import { controlRun, runMutant } from './mutants/run.ts'
import type { MutantLine } from './report/pages.ts'
import { figures } from './report/evidence.ts'
import { keepLedgers } from './report/raw.ts'
import { catalogueLines, keepEvidence, keepMutants, writePages } from './report/write.ts'
import { runDrill, type DrillResult } from './run-drill.ts'

const START_MS = 35 * 60_000
const LINE_MAX = 300
/** As many as a machine of two cores carries without its load changing a verdict. */
const LANES = 2
/** So few are not worth another infrastructure. */
const ALONE_MAX = 3
const EVENTS_SHOWN = 30
const RAW = path.join(REPOSITORY, '.calstream', 'drills')
const PLACE = { folder: path.join(REPOSITORY, 'docs', 'drills'), repository: REPOSITORY }

const plan = parsedOrUsage(import.meta.filename, process.argv.slice(2), planOf)
const progress = new Progress(process.stdout)
const interrupt = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => interrupt.abort(name))
let background = 0
process.on('unhandledRejection', (error) => {
  background += 1
  progress.line(`    ✗ something in the background of a drill failed: ${String(error)}`)
})

process.exitCode = await main(plan).catch((error: unknown) => {
  progress.line(
    error instanceof RangeError ? error.message : String(error instanceof Error ? error.stack : error),
  )
  return 2
})

type Plan = ReturnType<typeof planOf>

/** Everything that the arguments name, looked up before anything starts. */
function planOf(args: readonly string[]) {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      profile: { type: 'string', default: 'ci' },
      seed: { type: 'string' },
      minutes: { type: 'string' },
      lanes: { type: 'string' },
      lane: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      mutants: { type: 'boolean', default: false },
      secure: { type: 'boolean', default: false },
      'no-report': { type: 'boolean', default: false },
    },
    allowPositionals: true,
  })
  const seed = numberOf('seed', values.seed) ?? Math.floor(Math.random() * 1_000_000_000)
  const profile = values.secure ? 'secure' : profileOf(values.profile)
  const options: Options = { profile, seed, report: !values['no-report'] }
  const minutes = numberOf('minutes', values.minutes)
  const drills = values.mutants ? [] : chosenDrills(positionals, options.profile, minutes)
  const lanes = numberOf('lanes', values.lanes) ?? (drills.length > ALONE_MAX ? LANES : 1)
  const mutants = values.mutants ? chosenMutants(positionals) : []
  return { values, options, minutes, lanes, drills, mutants }
}

function chosenMutants(ids: readonly string[]): readonly Mutant[] {
  const unknown = ids.filter((id) => !MUTANTS.some((mutant) => mutant.id === id))
  if (unknown.length > 0) throw new RangeError(`There is no mutant ${unknown.join(', ')}.`)
  return ids.length === 0 ? MUTANTS : MUTANTS.filter(({ id }) => ids.includes(id))
}

interface Options {
  readonly profile: Profile
  readonly seed: number
  readonly report: boolean
}

async function main({ values, options, minutes, lanes, drills, mutants }: Plan): Promise<number> {
  if (values.list) return list()
  if (values.mutants) return withStack(options, (stack) => runMutants(stack, mutants, options))
  if (values.lane) return withStack(options, (stack) => serveDrills(stack, drills, options))
  const { seed } = options
  progress.line(`${drills.length} drills, profile ${options.profile}, seed ${seed}`)
  const began = performance.now()
  const ends =
    lanes > 1
      ? await runSideBySide(drills, laneOptions(lanes, options, minutes))
      : await withStack(options, (stack) => runDrills(stack, drills, options))
  if (options.report) writePages(PLACE, allDrills(), Date.now())
  return summary(ends, drills.length, performance.now() - began)
}

function laneOptions(
  lanes: number,
  { profile, seed, report }: Options,
  minutes: number | undefined,
): LaneOptions {
  const args = ['--lane', '--profile', profile, '--seed', String(seed)]
  if (minutes !== undefined) args.push('--minutes', String(minutes))
  if (!report) args.push('--no-report')
  const say = (line: string) => progress.line(line)
  return { program: import.meta.filename, args, lanes, say, signal: interrupt.signal }
}

/** One lane of several: drills as they are told. */
async function serveDrills(stack: DrillStack, drills: readonly Drill[], options: Options): Promise<number> {
  const endings = collectEndings()
  await serveLane(async (id) => {
    const drill = drills.find((one) => one.id === id)
    if (!drill) throw new RangeError(`There is no drill ${id} in the profile ${options.profile}.`)
    progress.line(`\n${drill.id} ${drill.title}`)
    return executeDrill(stack, drill, { ...options, tidy: endings.tidy })
  })
  await endings.over()
  return background === 0 ? 0 : 1
}

/** Starts the infrastructure, and takes everything down again whatever happens. */
async function withStack<T>({ profile }: Options, work: (stack: DrillStack) => Promise<T>): Promise<T> {
  const folder = await openRunFolder()
  process.once('exit', () => killRun(folder))
  try {
    const signal = AbortSignal.any([interrupt.signal, AbortSignal.timeout(START_MS)])
    const say = (line: string) => progress.line(line)
    const isSecured = profile === 'secure'
    await using stack = await startDrillStack({ folder, env: process.env, say, isSecured }, signal)
    return await work(stack)
  } finally {
    await removeRunFolder(folder)
  }
}

async function runDrills(
  stack: DrillStack,
  drills: readonly Drill[],
  options: Options,
): Promise<readonly DrillEnd[]> {
  const ends: DrillEnd[] = []
  const endings = collectEndings()
  for (const [index, drill] of drills.entries()) {
    if (interrupt.signal.aborted) break
    progress.line(`\n[${index + 1}/${drills.length}] ${drill.id} ${drill.title}`)
    ends.push(await executeDrill(stack, drill, { ...options, tidy: endings.tidy }))
  }
  await endings.over()
  return ends
}

/** One drill, told, with its ledgers and its evidence kept. */
async function executeDrill(
  stack: DrillStack,
  drill: Drill,
  options: Options & { readonly tidy: (ending: Promise<void>) => void },
): Promise<DrillEnd> {
  const began = performance.now()
  const say = (line: string) => progress.line(`  ${seconds(performance.now() - began).padStart(7)}  ${line}`)
  const result = await runDrill(drill, { ...options, stack, say, signal: interrupt.signal })
  // First: an hour's ledgers take a minute to write. A disk that refuses them must not cost the
  // verdict.
  if (options.report) keepEvidence(PLACE, result)
  tell(result)
  if (result.ledgers) await keepLedgers(path.join(RAW, drill.id), result.ledgers)
  return endOf(result)
}

/** Systems that end while the next drill runs; the infrastructure has to wait for all of them. */
function collectEndings() {
  const all: Promise<void>[] = []
  return { tidy: (ending: Promise<void>) => void all.push(ending), over: () => Promise.all(all) }
}

function endOf({ drill, verdict, reasons, numbers, ledgers }: DrillResult): DrillEnd {
  const { id, title, faults } = drill
  const all = { ...numbers, ...(ledgers ? figures(ledgers) : {}) }
  return { id, title, faults, verdict, reason: reasons[0] ?? null, numbers: all }
}

async function runMutants(
  stack: DrillStack,
  chosen: readonly Mutant[],
  { seed, report }: Options,
): Promise<number> {
  const lines: MutantLine[] = []
  const controls = new Map<string, string | null>()
  for (const [index, mutant] of chosen.entries()) {
    if (interrupt.signal.aborted) break
    progress.passing(`[${index + 1}/${chosen.length}] ${mutant.id} …`)
    const began = performance.now()
    const how = { stack, seed, say: () => {}, signal: interrupt.signal }
    const drill = `${mutant.drill} ${mutant.profile}`
    if (!controls.has(drill)) controls.set(drill, await controlRun(mutant, how))
    const problem = controls.get(drill) ?? null
    const line =
      problem === null
        ? await runMutant(mutant, how)
        : { id: mutant.id, what: mutant.what, drill: mutant.drill, caught: false, by: problem }
    lines.push(line)
    if (report) keepMutants(PLACE, [line])
    const mark = line.caught ? 'caught  ' : 'SURVIVED'
    progress.line(
      `${mark} ${line.id.padEnd(24)} ${line.drill.padEnd(9)} ${seconds(performance.now() - began)} ${short(line.by)}`,
    )
  }
  if (report) writePages(PLACE, allDrills(), Date.now())
  const caught = lines.filter((line) => line.caught).length
  progress.line(`${caught} of ${chosen.length} mutants caught`)
  return caught === chosen.length ? 0 : 1
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
    progress.line(`    ${one.verdict.padEnd(7)} ${id} ${drill.criteria[id]?.text}: ${short(one.evidence)}`)
  for (const { name, need, got } of witnesses) progress.line(`    witness ${name}: ${got} (needed ${need})`)
  for (const reason of reasons) progress.line(`    ✗ ${short(reason)}`)
  if (verdict !== 'PASS')
    for (const { at, instance, event, detail } of ledgers?.processes.slice(-EVENTS_SHOWN) ?? [])
      progress.line(`    ${new Date(at).toISOString().slice(11, 23)} ${instance} ${event} ${short(detail)}`)
  progress.line(`  ${verdict} ${drill.id} in ${seconds(endedAt - startedAt)}`)
}

function summary(ends: readonly DrillEnd[], wanted: number, wallMs: number): number {
  const passed = ends.filter(({ verdict }) => verdict === 'PASS').length
  progress.line('')
  for (const { id, title, verdict, reason } of ends)
    progress.line(
      `${verdict.padEnd(7)} ${id.padEnd(11)} ${title}${reason === null ? '' : `: ${short(reason)}`}`,
    )
  if (interrupt.signal.aborted) progress.line(`Stopped by ${String(interrupt.signal.reason)} before the end.`)
  progress.line(`${passed} of ${wanted} drills PASS; ${totals(ends)} in ${seconds(wallMs)}`)
  return passed === wanted && background === 0 ? 0 : 1
}

/** What a run adds up to: only faults of drills that came to a verdict of PASS count. */
function totals(ends: readonly DrillEnd[]): string {
  const sum = (name: string) => ends.reduce((all, { numbers }) => all + (numbers[name] ?? 0), 0)
  const shown = ends.filter(({ verdict }) => verdict === 'PASS').flatMap(({ faults }) => faults)
  return `${sum('changes')} changes, ${sum('kills')} ends of processes, ${new Set(shown).size} faults of the catalogue`
}

/** One line of a terminal or two; the report has it whole. */
function short(text: string): string {
  const [line = ''] = text.split('\n')
  return line.length > LINE_MAX ? `${line.slice(0, LINE_MAX)} …` : line
}

function list(): number {
  const drills = allDrills()
  for (const { id, title, profiles, faults } of drills)
    progress.line(`${id.padEnd(12)} ${profiles.join(',').padEnd(14)} ${title} (${faults.join(', ')})`)
  const lines = catalogueLines(drills)
  progress.line('')
  for (const { id, what, drills: own, reason } of lines)
    progress.line(`${id.padEnd(4)} ${what}: ${own.length > 0 ? own.join(', ') : `not executed, ${reason}`}`)
  const executed = lines.filter((line) => line.drills.length > 0).length
  progress.line(
    `\n${drills.length} drills, ${executed} of ${lines.length} faults of the catalogue, ${MUTANTS.length} mutants`,
  )
  return 0
}

function profileOf(name: string): Profile {
  if (name === 'smoke' || name === 'ci' || name === 'full' || name === 'secure') return name
  throw new RangeError(`There is no profile "${name}".`)
}

function numberOf(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!Number.isFinite(value) || value < 0) throw new RangeError(`--${name} must be a number, not "${text}".`)
  return value
}
