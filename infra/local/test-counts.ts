// How many tests passed and failed, from vitest's JSON report. Whatever went wrong counts: a file
// that did not load and a run that ended badly without a failed test are failures too.

export interface Counts {
  passed: number
  failed: number
}

interface Report {
  readonly testResults: readonly {
    readonly status: string
    readonly assertionResults: readonly { readonly status: string }[]
  }[]
}

/** @param report text of the report, null when there is none. @param exitCode of vitest. */
export function countTests(report: string | null, exitCode: number): Counts {
  const { testResults } = report === null ? { testResults: [] } : (JSON.parse(report) as Report)
  const tests = testResults.flatMap(({ assertionResults }) => assertionResults)
  const passed = tests.filter(({ status }) => status === 'passed').length
  const failedTests = tests.filter(({ status }) => status === 'failed').length
  const failedFiles = testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  ).length
  const failed = failedTests + failedFiles
  return { passed, failed: failed === 0 && exitCode !== 0 ? 1 : failed }
}
