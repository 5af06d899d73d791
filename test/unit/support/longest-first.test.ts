import { existsSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { SECONDS } from '../../support/longest-first.ts'

const TESTS = path.resolve(import.meta.dirname, '../..')

test('each file that is known to last is there under its name', () => {
  const gone = Object.keys(SECONDS).filter((name) => !existsSync(path.join(TESTS, `${name}.test.ts`)))
  expect(gone).toEqual([])
})
