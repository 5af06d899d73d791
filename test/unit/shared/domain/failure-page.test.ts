// docs/errors.md says what the code decides.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { FAILURE_CODES } from '#shared/domain/failure.ts'
import { failurePage } from '#shared/domain/failure-page.ts'

test('the page of errors is current: `npm run gen` would change nothing', () => {
  expect(readFileSync(new URL('../../../../docs/errors.md', import.meta.url), 'utf8')).toBe(failurePage())
})

test('every code has a section with its text, and says what follows', () => {
  const page = failurePage()
  for (const [code, { text }] of Object.entries(FAILURE_CODES)) {
    const section = page.split(`### \`${code}\``)[1]?.split('###')[0] ?? ''
    expect(section, code).toContain(text)
    expect(section, code).toMatch(
      /ried again automatically, after|waits as|list of calendars is read|takes the place of the record|No action needed|The work waits/,
    )
  }
})
