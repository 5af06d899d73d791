import { expect, test } from 'vitest'
import { countTests, failuresInWords } from '../../../../infra/dev/test-counts.ts'

interface File {
  name?: string
  status: string
  message?: string
  assertionResults: { status: string; fullName?: string }[]
}
const report = (...files: File[]): string =>
  JSON.stringify({ testResults: files.map((file) => ({ name: '/a/test/unit/one.test.ts', ...file })) })
const counted = (text: string | null, code: number) => {
  const { passed, failed } = countTests(text, code)
  return { passed, failed }
}
const passed = { status: 'passed' }
const failed = { status: 'failed' }
const skipped = { status: 'skipped' }
const pending = { status: 'pending' }

test('passed and failed tests are counted over all files, skipped ones are neither', () => {
  const text = report(
    { status: 'passed', assertionResults: [passed, passed, skipped] },
    { status: 'failed', assertionResults: [passed, failed] },
  )
  expect(counted(text, 1)).toEqual({ passed: 3, failed: 1 })
})

test('a file that fails outside of its tests is a failure', () => {
  for (const assertionResults of [[], [skipped, skipped], [passed]]) {
    const text = report(
      { status: 'failed', assertionResults },
      { status: 'passed', assertionResults: [passed] },
    )
    expect(counted(text, 1)).toMatchObject({ failed: 1 })
  }
})

test('a file whose process ended before its tests is a failure, beside others too, unless somebody stopped the run', () => {
  const text = report(
    { name: '/a/test/integration/kafka/dead.test.ts', status: 'passed', assertionResults: [] },
    { name: '/a/test/field/dying.test.ts', status: 'passed', assertionResults: [passed, pending] },
    { status: 'failed', assertionResults: [failed] },
  )
  expect(counted(text, 1)).toEqual({ passed: 1, failed: 3 })
  expect(countTests(text, 1).failures.slice(1)).toEqual([
    {
      what: 'test/integration/kafka/dead.test.ts: did not run to its end; see above',
      again: 'npm test -- --only=integration test/integration/kafka/dead.test.ts',
    },
    {
      what: 'test/field/dying.test.ts: did not run to its end; see above',
      again: 'npm test -- --only=field test/field/dying.test.ts',
    },
  ])
  expect(countTests(text, 130, true)).toMatchObject({ passed: 1, failed: 1 })
  expect(countTests(null, 130, true)).toMatchObject({ failed: 0 })
})

test('a run that ended badly without a failed test is a failure', () => {
  expect(counted(report({ status: 'passed', assertionResults: [passed] }), 1)).toEqual({
    passed: 1,
    failed: 1,
  })
  expect(counted(report({ status: 'passed', assertionResults: [passed] }), 0)).toEqual({
    passed: 1,
    failed: 0,
  })
})

test('a run that wrote no report is a failure', () => {
  expect(counted(null, 1)).toEqual({ passed: 0, failed: 1 })
})

test.each([
  ['unit', 'test/architecture.test.ts'],
  ['unit', 'test/unit/sync/lanes.test.ts'],
  ['contract', 'test/contract/google.test.ts'],
  ['integration', 'test/integration/sync/microsoft.test.ts'],
  ['field', 'test/field/consent.test.ts'],
  ['drill', 'test/drills/smoke.test.ts'],
])('what failed of %s is named with the command that runs it alone', (project, file) => {
  const text = report(
    { status: 'passed', assertionResults: [passed] },
    {
      name: `/a/${file}`,
      status: 'failed',
      assertionResults: [passed, { status: 'failed', fullName: 'one holds' }],
    },
    { name: `/a/${file}`, status: 'failed', message: 'no stack\nat x', assertionResults: [] },
  )
  const { failures } = countTests(text, 1)
  const again = `npm test -- --only=${project} ${file}`
  expect(failures).toEqual([
    { what: `${file}: one holds`, again },
    { what: `${file}: outside of its tests: no stack`, again },
  ])
  expect(failuresInWords(failures)).toContain(`again: ${again}`)
})

test('nothing is listed of a run that passed', () => {
  const { failures } = countTests(report({ status: 'passed', assertionResults: [passed] }), 0)
  expect(failuresInWords(failures)).toBe('')
})
