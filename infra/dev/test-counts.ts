// How many tests passed and failed, from vitest's JSON report, and which failed.
// Whatever went wrong counts: a file that did not load and a run that ended badly
// without a failed test are failures too.
import path from 'node:path'

/** The projects of test/vitest.config.ts, in the order in which they run. */
export const PROJECTS = ['unit', 'contract', 'integration', 'field', 'drill'] as const
export type Project = (typeof PROJECTS)[number]

/** Something that failed. */
export interface Failed {
  readonly what: string
  /** The command that runs it alone. */
  readonly again: string
}

export interface Counts {
  readonly passed: number
  readonly failed: number
  readonly failures: readonly Failed[]
}

interface TestFile {
  /** Absolute path. */
  readonly name: string
  readonly status: string
  readonly assertionResults: readonly { readonly status: string; readonly fullName?: string }[]
}

/** @param report text of the report, null when there is none. @param exitCode of vitest. */
export function countTests(report: string | null, exitCode: number): Counts {
  const { testResults } = report === null ? { testResults: [] } : (JSON.parse(report) as Report)
  const passed = testResults
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => status === 'passed').length
  const failures = testResults.flatMap(failuresOf)
  if (failures.length > 0 || exitCode === 0) return { passed, failed: failures.length, failures }
  const what = 'the run of tests ended badly, though no test failed; see above'
  return { passed, failed: 1, failures: [{ what, again: 'npm test' }] }
}

interface Report {
  readonly testResults: readonly TestFile[]
}

function failuresOf({ name, status, assertionResults }: TestFile): readonly Failed[] {
  const failed = assertionResults.filter((test) => test.status === 'failed')
  const again = `npm test -- --only=${projectOf(name)} ${path.basename(name)}`
  if (failed.length > 0)
    return failed.map(({ fullName = '' }) => ({ what: `${path.basename(name)}: ${fullName}`, again }))
  return status === 'failed' ? [{ what: `${path.basename(name)} did not load`, again }] : []
}

function projectOf(file: string): Project {
  const folder = /\/test\/([^/]+)\//.exec(file)?.[1]
  return PROJECTS.find((name) => name === folder || `${name}s` === folder) ?? 'unit'
}

/** The list at the end of a run that failed; empty when nothing did. */
export function failuresInWords(failures: readonly Failed[]): string {
  if (failures.length === 0) return ''
  const lines = failures.map(({ what, again }) => `  ✗ ${what}\n    again: ${again}\n`)
  return `\nWhat failed, and how to run it again:\n${lines.join('')}\n`
}
