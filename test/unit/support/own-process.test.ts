import path from 'node:path'
import { expect, test } from 'vitest'
import { byProcess, needsOwnProcess } from '../../support/own-process.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')

test.each([
  `import { processRoom } from '#shared/vendors/room.ts'`,
  `const logger = createLogger('test', { level: 'info' })`,
  `await using _ = startTelemetry('sync')`,
  `vi.useFakeTimers()`,
  `vi.stubEnv('LOG_LEVEL', 'debug')`,
  `vi.spyOn(process.stdout, 'write')`,
  `process.on('SIGTERM', () => {})`,
  `import { spawn } from 'node:child_process'`,
  `const config = loadConfig({ API_JWT_SECRET: 'a secret' })`,
])('a file that looks at what its process has once has a process of its own: %s', (line) => {
  expect(needsOwnProcess(line)).toBe(true)
})

test('a file of rules shares one', () => {
  expect(needsOwnProcess(`expect(judgeClaim(state, now)).toEqual({ kind: 'run' })`)).toBe(false)
})

test('each file is run once: alone or together with others', () => {
  const { alone, together } = byProcess(ROOT, ['test/*.test.ts', 'test/unit/**/*.test.ts'])
  expect(alone).toContain('test/unit/shared/vendors/room.test.ts')
  expect(alone).toContain('test/unit/shared/process/log.test.ts')
  expect(together).toContain('test/unit/shared/domain/plan.test.ts')
  expect(alone.filter((file) => together.includes(file))).toEqual([])
  expect(alone.length + together.length).toBeGreaterThan(130)
})

test('a contract file that sets its environment or reads its output is alone, too', () => {
  const { alone, together } = byProcess(ROOT, ['test/contract/**/*.test.ts'])
  expect(alone).toContain('test/contract/simulator-start-page.test.ts')
  expect(together).toContain('test/contract/google.test.ts')
  expect(alone.filter((file) => together.includes(file))).toEqual([])
  expect(alone.length + together.length).toBeGreaterThan(20)
})
