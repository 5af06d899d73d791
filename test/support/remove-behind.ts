// Deletes folders while nobody waits. A run leaves tens of thousands of small files, mostly of
// Kafka's partitions: deleting them took more than 10 s on a busy machine.
import { spawn } from 'node:child_process'

/** What is left after that is the next run's to delete (test-run.ts), or the system's. */
const WITHIN_MS = 120_000

const SCRIPT = `
  const { rm } = require('node:fs/promises')
  setTimeout(() => process.exit(1), ${WITHIN_MS}).unref()
  for (const folder of process.argv.slice(1)) rm(folder, { recursive: true, force: true, maxRetries: 3 }).catch(() => {})`

/** Returns at once. A process of its own deletes, and ends with that or after two minutes. */
export function removeBehind(...folders: readonly string[]): void {
  spawn(process.execPath, ['--eval', SCRIPT, ...folders], { stdio: 'ignore', detached: true })
    // Where no process can be started, the next run deletes.
    .on('error', () => {})
    .unref()
}
