import { expect, test } from 'vitest'
import { countTests, failuresInWords } from '../../../../infra/dev/test-counts.ts'

interface File {
  name?: string
  status: string
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
const skipped = { status: 'pending' }

test('passed and failed tests are counted over all files, skipped ones are neither', () => {
  const text = report(
    { status: 'passed', assertionResults: [passed, passed, skipped] },
    { status: 'failed', assertionResults: [passed, failed] },
  )
  expect(counted(text, 1)).toEqual({ passed: 3, failed: 1 })
})

test('a file that did not load is a failure', () => {
  const text = report(
    { status: 'failed', assertionResults: [] },
    { status: 'passed', assertionResults: [passed] },
  )
  expect(counted(text, 1)).toEqual({ passed: 1, failed: 1 })
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

test('what failed is named with the command that runs it alone', () => {
  const text = report(
    { status: 'passed', assertionResults: [passed] },
    {
      name: '/a/test/drills/smoke.test.ts',
      status: 'failed',
      assertionResults: [passed, { status: 'failed', fullName: 'GD-1 holds' }],
    },
    { name: '/a/test/architecture.test.ts', status: 'failed', assertionResults: [] },
  )
  const { failures } = countTests(text, 1)
  expect(failures).toEqual([
    { what: 'smoke.test.ts: GD-1 holds', again: 'npm test -- --only=drill smoke.test.ts' },
    { what: 'architecture.test.ts did not load', again: 'npm test -- --only=unit architecture.test.ts' },
  ])
  expect(failuresInWords(failures)).toContain('again: npm test -- --only=drill smoke.test.ts')
  expect(countTests(null, 1).failures).toHaveLength(1)
})

test('nothing is listed of a run that passed', () => {
  const { failures } = countTests(report({ status: 'passed', assertionResults: [passed] }), 0)
  expect(failuresInWords(failures)).toBe('')
})
