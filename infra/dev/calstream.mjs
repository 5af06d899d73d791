#!/usr/bin/env node
// The `calstream` command (npx calstream …) on a clone:
// installs if needed and runs the command under the pinned Node.
import { existsSync } from 'node:fs'

// In a fresh clone nothing runs, and nobody waits for a minute of packages to be told so.
const root = new URL('../../', import.meta.url)
const isThere = (name) => existsSync(new URL(name, root))
const isSet = (name) => Boolean(process.env[name])
const needsNoStack = [
  undefined,
  '-h',
  '--help',
  'help',
  '-V',
  '--version',
  'reset',
  'init',
  'health',
  'completion',
]
if (
  !isThere('node_modules/.calstream-installed') &&
  !isThere('.calstream/stack.json') &&
  !['POSTGRES_URL', 'KAFKA_BROKERS', 'API_JWT_SECRET', 'UNLEASH_URL'].some(isSet) &&
  !process.argv.slice(2).some((arg) => ['-h', '--help'].includes(arg)) &&
  !needsNoStack.includes(process.argv[2])
) {
  process.stderr.write('No stack runs in this folder. Start it: npm start.\n')
  process.exit(1)
}
// The local stack is a clone's own: the command that a container holds knows nothing of it.
const args = process.argv.slice(2)
const isReset = args.includes('reset') && args.every((arg) => ['reset', '--json'].includes(arg))
const entry = isReset ? ['infra/dev/reset-main.ts'] : ['services/cli/main.ts', ...args]
process.argv.splice(2, Infinity, ...entry)
await import('./bootstrap.mjs')
