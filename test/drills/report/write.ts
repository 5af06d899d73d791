// Writes docs/drills: evidence and timeline of the drills that ran, then every page from all
// evidence.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { FAULT_CATALOGUE } from '../catalogue/faults.ts'
import type { Drill, Profile } from '../drill.ts'
import type { DrillResult } from '../run-drill.ts'
import { currentBuild, evidenceOf, type Evidence } from './evidence.ts'
import { indexPage, reportPage, REPORTS, type CatalogueLine, type MutantLine } from './pages.ts'
import { timelineSvg } from './timeline.ts'

const MUTANTS_FILE = 'mutants.json'
const PROFILES: readonly Profile[] = ['full', 'ci', 'smoke', 'secure']

export interface Place {
  /** docs/drills */
  readonly folder: string
  readonly repository: string
}

/** Keeps the evidence of one drill; the pages follow by writePages. */
export function keepEvidence({ folder, repository }: Place, result: DrillResult): void {
  // A short run must not replace what a long one showed.
  const evidence = path.join(folder, 'evidence', result.profile)
  mkdirSync(evidence, { recursive: true })
  const kept = evidenceOf(result, currentBuild(repository))
  writeFileSync(path.join(evidence, `${result.drill.id}.json`), `${JSON.stringify(kept, null, 1)}\n`)
  if (result.ledgers)
    writeFileSync(
      path.join(evidence, `${result.drill.id}.svg`),
      timelineSvg(`${result.drill.id} ${result.drill.title}`, result.ledgers),
    )
}

/** Keeps what the mutants showed; lines of mutants that did not run now stay. */
export function keepMutants({ folder }: Place, lines: readonly MutantLine[]): readonly MutantLine[] {
  const file = path.join(folder, 'evidence', MUTANTS_FILE)
  mkdirSync(path.dirname(file), { recursive: true })
  const known = new Map(readMutants(file).map((line) => [line.id, line]))
  for (const line of lines) known.set(line.id, line)
  const all = [...known.values()].toSorted((a, b) => a.id.localeCompare(b.id))
  writeFileSync(file, `${JSON.stringify(all, null, 1)}\n`)
  return all
}

/** All pages, from what is kept. */
export function writePages({ folder }: Place, drills: readonly Drill[], now: number): void {
  const evidence = readEvidence(path.join(folder, 'evidence'), drills)
  const mutants = readMutants(path.join(folder, 'evidence', MUTANTS_FILE))
  for (const report of Object.keys(REPORTS)) {
    const own = evidence.filter((one) => one.report === report)
    if (own.length === 0) continue
    const ids = new Set(own.map(({ drill }) => drill))
    writeFileSync(
      path.join(folder, `${report}.md`),
      reportPage(
        report,
        own,
        mutants.filter(({ drill }) => ids.has(drill)),
      ),
    )
  }
  writeFileSync(
    path.join(folder, 'README.md'),
    indexPage({ evidence, drills, catalogue: catalogueLines(drills), now }),
  )
}

/** Each entry of the fault catalogue with the drills that execute it. */
export function catalogueLines(drills: readonly Drill[]): readonly CatalogueLine[] {
  return FAULT_CATALOGUE.map(({ id, what, reason }) => {
    const own = drills.filter(({ faults }) => faults.includes(id)).map((drill) => drill.id)
    return { id, what, drills: own, reason: own.length > 0 ? '' : reason }
  })
}

function readEvidence(folder: string, drills: readonly Drill[]): readonly Evidence[] {
  const files = drills.flatMap(({ id }) =>
    PROFILES.map((profile) => path.join(folder, profile, `${id}.json`)),
  )
  return files
    .filter((file) => existsSync(file))
    .map((file) => JSON.parse(readFileSync(file, 'utf8')) as Evidence)
}

function readMutants(file: string): readonly MutantLine[] {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as readonly MutantLine[]) : []
}
