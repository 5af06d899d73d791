// How many tests passed and failed, from vitest's JSON report, and which failed.
// Whatever went wrong counts: a file that fails outside of its tests, a file whose process ended
// before them, and a run that ended badly without a failed test are failures too.

/** The projects of test/vitest.config.ts, from fast to real. */
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
  /** Of what failed outside of the tests: while the file loads, or in what stands around them. */
  readonly message?: string
  /** `pending` is a test that was still to run or to end. */
  readonly assertionResults: readonly { readonly status: string; readonly fullName?: string }[]
}

/**
 * @param report text of the report, null when there is none. @param exitCode of vitest.
 * @param stopped by somebody: what did not run then is no failure.
 */
export function countTests(report: string | null, exitCode: number, stopped = false): Counts {
  const { testResults } = report === null ? { testResults: [] } : (JSON.parse(report) as Report)
  const passed = testResults
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => status === 'passed').length
  const unended = exitCode === 0 || stopped ? [] : testResults.filter(isUnended)
  const failures = [
    ...testResults.flatMap(failuresOf),
    ...unended.map(({ name }) => failureOf(name, 'did not run to its end; see above')),
  ]
  if (failures.length > 0 || exitCode === 0 || stopped) return { passed, failed: failures.length, failures }
  const what = 'the run of tests ended badly, though no test failed; see above'
  return { passed, failed: 1, failures: [{ what, again: 'npm test' }] }
}

interface Report {
  readonly testResults: readonly TestFile[]
}

function failuresOf({ name, status, message = '', assertionResults }: TestFile): readonly Failed[] {
  const failed = assertionResults.filter((test) => test.status === 'failed')
  if (failed.length > 0) return failed.map(({ fullName = '' }) => failureOf(name, fullName))
  const [line = ''] = message.split('\n')
  return status === 'failed' ? [failureOf(name, `outside of its tests: ${line}`)] : []
}

/** As vitest leaves the file of a process that died: it calls it passed. */
function isUnended({ status, assertionResults }: TestFile): boolean {
  if (status === 'failed') return false
  return assertionResults.length === 0 || assertionResults.some((test) => test.status === 'pending')
}

function failureOf(file: string, what: string): Failed {
  const [, from = '', folder = ''] = /^.*\/(test\/(?:([^/]+)\/)?.*)$/.exec(file) ?? []
  return { what: `${from}: ${what}`, again: `npm test -- --only=${projectOf(folder)} ${from}` }
}

function projectOf(folder: string): Project {
  return PROJECTS.find((name) => name === folder || `${name}s` === folder) ?? 'unit'
}

/** The list at the end of a run that failed; empty when nothing did. */
export function failuresInWords(failures: readonly Failed[]): string {
  if (failures.length === 0) return ''
  const lines = failures.map(({ what, again }) => `  ✗ ${what}\n    again: ${again}\n`)
  return `\nWhat failed, and how to run it again:\n${lines.join('')}\n`
}
