import { expect, test } from 'vitest'
import { countTests } from '../../../infra/local/test-counts.ts'

const report = (...files: { status: string; assertionResults: { status: string }[] }[]): string =>
  JSON.stringify({ testResults: files })
const passed = { status: 'passed' }
const failed = { status: 'failed' }
const skipped = { status: 'pending' }

test('passed and failed tests are counted over all files, skipped ones are neither', () => {
  const text = report(
    { status: 'passed', assertionResults: [passed, passed, skipped] },
    { status: 'failed', assertionResults: [passed, failed] },
  )
  expect(countTests(text, 1)).toEqual({ passed: 3, failed: 1 })
})

test('a file that did not load is a failure', () => {
  const text = report(
    { status: 'failed', assertionResults: [] },
    { status: 'passed', assertionResults: [passed] },
  )
  expect(countTests(text, 1)).toEqual({ passed: 1, failed: 1 })
})

test('a run that ended badly without a failed test is a failure', () => {
  expect(countTests(report({ status: 'passed', assertionResults: [passed] }), 1)).toEqual({
    passed: 1,
    failed: 1,
  })
  expect(countTests(report({ status: 'passed', assertionResults: [passed] }), 0)).toEqual({
    passed: 1,
    failed: 0,
  })
})

test('a run that wrote no report is a failure', () => {
  expect(countTests(null, 1)).toEqual({ passed: 0, failed: 1 })
})
