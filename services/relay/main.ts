// The relay process.
import { run } from '#shared/process/run.ts'
import { loadConfig } from './config.ts'
import { startRelay } from './service.ts'

await run('relay', (signal) => startRelay(loadConfig(process.env), signal))
