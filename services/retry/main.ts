// The retry process.
import { run } from '#shared/process/run.ts'
import { loadConfig } from './config.ts'
import { startRetry } from './service.ts'

await run('retry', (signal) => startRetry(loadConfig(process.env), signal))
