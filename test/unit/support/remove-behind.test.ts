import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { removeBehind } from '../../support/remove-behind.ts'

test('folders are gone a moment later, whatever they hold and although one was never there', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'calstream-behind-'))
  mkdirSync(path.join(folder, 'a', 'b'), { recursive: true })
  for (let index = 0; index < 50; index += 1) writeFileSync(path.join(folder, 'a', 'b', `${index}`), '')
  const other = mkdtempSync(path.join(tmpdir(), 'calstream-behind-'))
  removeBehind(folder, path.join(folder, '..', 'calstream-never-there'), other)
  await expect.poll(() => [existsSync(folder), existsSync(other)]).toEqual([false, false])
})
