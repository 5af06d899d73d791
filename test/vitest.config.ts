// Five parts, from fast to real: unit (no process, no network), contract, integration, field and
// drill. Unit and contract are two projects each, by what their files may share. The last four
// parts share one local stack, which support/global-setup.ts starts once for the whole run; a unit
// run never starts Java. The files of all parts take their turns in one pool: most of them wait
// most of the time, for a broker that is away or for a lease to end.
import { availableParallelism, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'
import { LongestFirst } from './support/longest-first.ts'
import { byProcess } from './support/own-process.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Includes the first start of the JVMs under a loaded machine; a test that hangs still ends. */
const STACK_TIMEOUT_MS = 120_000

/** A file of a core computes while another waits. With three, 2 cores were full all the time. */
const FILES_PER_CORE = 2
/** They share one broker and one database server with 200 connections. */
const FILES_MAX = 8
/** A file with services, a broker and a registry of its own. */
const BYTES_PER_FILE = 1.5 * 2 ** 30
const maxWorkers = Math.max(
  2,
  Math.min(FILES_MAX, availableParallelism() * FILES_PER_CORE, Math.floor(totalmem() / BYTES_PER_FILE)),
)

/** `npm test -- --only=unit` is both, and so with contract. */
const UNIT = byProcess(ROOT, ['test/*.test.ts', 'test/unit/**/*.test.ts'])
const CONTRACT = byProcess(ROOT, ['test/contract/**/*.test.ts'])

export default defineConfig({
  root: ROOT,
  test: {
    // Stopping the stack may take up to 10 s; the default of vitest is 10 s for everything.
    teardownTimeout: 30_000,
    // The standard is 1 s, which a busy machine takes for anything.
    expect: { poll: { timeout: 15_000 } },
    sequence: { sequencer: LongestFirst },
    projects: [
      unit('unit', UNIT.alone, true),
      unit('unit-together', UNIT.together, false),
      onTheStack('contract', CONTRACT.alone),
      { test: { ...onTheStack('contract-together', CONTRACT.together).test, isolate: false } },
      onTheStack('integration', ['test/integration/**/*.test.ts']),
      onTheStack('field', ['test/field/**/*.test.ts']),
      onTheStack('drill', ['test/drills/**/*.test.ts']),
    ],
  },
})

function unit(name: string, include: string[], isolate: boolean): TestProjectInlineConfiguration {
  return { test: { name, include, isolate, testTimeout: 20_000, maxWorkers } }
}

function onTheStack(name: string, include: string[]): TestProjectInlineConfiguration {
  return {
    test: {
      name,
      include,
      globalSetup: ['test/support/global-setup.ts'],
      testTimeout: STACK_TIMEOUT_MS,
      hookTimeout: STACK_TIMEOUT_MS,
      maxWorkers,
    },
  }
}
