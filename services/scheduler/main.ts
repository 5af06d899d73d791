// The scheduler process.
import { run } from '#shared/process/run.ts'
import { loadConfig } from './config.ts'
import { startScheduler } from './service.ts'

await run('scheduler', (signal) => startScheduler(loadConfig(process.env), signal))
