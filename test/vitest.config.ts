// Five projects, from fast to real: unit (no process, no network), contract, integration, field and
// drill. The last four share one local stack, which support/global-setup.ts starts once for the
// whole run; a unit run never starts Java.
import { fileURLToPath } from 'node:url'
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'

/** Includes the first start of the JVMs under a loaded machine; a test that hangs still ends. */
const STACK_TIMEOUT_MS = 120_000

export default defineConfig({
  root: fileURLToPath(new URL('..', import.meta.url)),
  test: {
    // Stopping the stack may take up to 10 s; the default of vitest is 10 s for everything.
    teardownTimeout: 30_000,
    // The standard is 1 s, which a busy machine takes for anything.
    expect: { poll: { timeout: 15_000 } },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/*.test.ts', 'test/unit/**/*.test.ts'],
          testTimeout: 20_000,
          sequence: { groupOrder: 0 },
        },
      },
      // Files share one broker and one database server, so a small machine runs two at a time;
      // drills measure, so they run alone.
      onTheStack('contract', 1, 2),
      onTheStack('integration', 2, 2),
      onTheStack('field', 3, 2),
      onTheStack('drill', 4, 1),
    ],
  },
})

function onTheStack(name: string, groupOrder: number, maxWorkers: number): TestProjectInlineConfiguration {
  const folder = name === 'drill' ? 'drills' : name
  return {
    test: {
      name,
      include: [`test/${folder}/**/*.test.ts`],
      globalSetup: ['test/support/global-setup.ts'],
      testTimeout: STACK_TIMEOUT_MS,
      hookTimeout: STACK_TIMEOUT_MS,
      maxWorkers,
      sequence: { groupOrder },
    },
  }
}
