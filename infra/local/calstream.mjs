#!/usr/bin/env node
// The `calstream` command (npx calstream …) on a clone: installs if needed and runs the command under the pinned Node.
process.argv.splice(2, 0, 'services/cli/main.ts')
await import('./bootstrap.mjs')
