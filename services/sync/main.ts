// The sync process.
import { run } from '#shared/process/run.ts'
import { loadConfig } from './config.ts'
import { startSync } from './service.ts'

await run('sync', (signal) => startSync(loadConfig(process.env), signal))
