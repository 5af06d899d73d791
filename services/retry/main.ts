// The retry process.
import { run } from '#shared/platform/run.ts'
import { loadConfig } from './config.ts'
import { startRetry } from './service.ts'

await run('retry', (signal) => startRetry(loadConfig(process.env), signal))
