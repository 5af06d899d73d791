// Carries out mutants. A copy of the tree has one bug, its services are drilled, the verdict has to
// be FAIL. A bug that survives is a defect of the drills.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { REPOSITORY } from '../../../infra/stack/services.ts'
import { chosenDrills } from '../catalogue/all.ts'
import type { DrillStack } from '../environment/stack.ts'
import { copyTree } from '../environment/tree.ts'
import type { MutantLine } from '../report/pages.ts'
import { runDrill } from '../run-drill.ts'
import type { Mutant } from './list.ts'

export interface MutantOptions {
  readonly stack: DrillStack
  readonly seed: number
  readonly say: (line: string) => void
  readonly signal: AbortSignal
  /** Root of the tree that is copied; the repository by default. */
  readonly tree?: string
}

/** Long enough for a healthy system; a broken one never gets there. */
const PATIENCE_MS = 30_000
/** Whose healthy systems take longer: backoffs or sweeps have to end. */
const LONGER_MS: ReadonlyMap<string, number> = new Map([
  ['STORM', 120_000],
  // 120 connections read for the first time.
  ['THROTTLE', 90_000],
  ['WAVE', 120_000],
  // A dozen failures are rung by the sweep alone, every half a minute.
  ['PLACE', 120_000],
  ['ENDLESS', 90_000],
  // Everything is read from its beginning.
  ['RESTORE', 90_000],
  ['UPGRADE', 90_000],
])

/**
 * A mutant's drill without any bug, in a copy as the mutants' are and as impatient. Where the
 * machine is too slow, or the copy lacks something, a mutant's FAIL would prove nothing.
 * @returns null when it passes, else why not.
 */
export async function controlRun(mutant: Mutant, options: MutantOptions): Promise<string | null> {
  const [drill] = chosenDrills([mutant.drill], mutant.profile)
  if (!drill) return `there is no drill ${mutant.drill}`
  const tree = mkdtempSync(path.join(tmpdir(), 'calstream-control-'))
  try {
    copyTree(options.tree ?? REPOSITORY, tree)
    const { verdict, reasons } = await runDrill(drill, {
      ...options,
      profile: mutant.profile,
      tree,
      patienceMs: LONGER_MS.get(mutant.drill) ?? PATIENCE_MS,
    })
    return verdict === 'PASS'
      ? null
      : `without a bug ${mutant.drill} is ${verdict}: ${(reasons[0] ?? '').slice(0, 160)}`
  } finally {
    rmSync(tree, { recursive: true, force: true })
  }
}

/** Runs one mutant. Never rejects: a mutant that cannot be applied is not caught. */
export async function runMutant(mutant: Mutant, options: MutantOptions): Promise<MutantLine> {
  const line = (caught: boolean, by: string): MutantLine => ({
    id: mutant.id,
    what: mutant.what,
    drill: mutant.drill,
    caught,
    by,
  })
  const tree = mkdtempSync(path.join(tmpdir(), `calstream-mutant-${mutant.id}-`))
  try {
    copyTree(options.tree ?? REPOSITORY, tree)
    const problem = applyMutant(mutant, tree)
    if (problem !== null) return line(false, problem)
    const [drill] = chosenDrills([mutant.drill], mutant.profile)
    if (!drill) return line(false, `there is no drill ${mutant.drill}`)
    const { verdict, reasons } = await runDrill(drill, {
      ...options,
      profile: mutant.profile,
      tree,
      patienceMs: LONGER_MS.get(mutant.drill) ?? PATIENCE_MS,
    })
    return line(
      verdict === 'FAIL',
      `${verdict}: ${(reasons[0] ?? 'nothing was found').replaceAll(/\s+/g, ' ').slice(0, 200)}`,
    )
  } catch (error) {
    return line(false, String(error))
  } finally {
    rmSync(tree, { recursive: true, force: true })
  }
}

/** Puts the bug in. @returns why it cannot be, else null. */
export function applyMutant({ file, find, replace }: Mutant, tree: string): string | null {
  const target = path.join(tree, file)
  const source = readFileSync(target, 'utf8')
  const times = source.split(find).length - 1
  if (times !== 1) return `its text stands ${times} times in ${file}, not once`
  writeFileSync(
    target,
    source.replace(find, () => replace),
  )
  return null
}
