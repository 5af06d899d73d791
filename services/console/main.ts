// The console's process.
import { run } from '#shared/process/run.ts'
import { loadConfig } from './config.ts'
import { startConsole } from './service.ts'

await run('console', (signal) => startConsole(loadConfig(process.env), signal))
