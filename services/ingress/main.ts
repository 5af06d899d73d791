// The ingress process.
import { run } from '#shared/process/run.ts'
import { loadConfig } from './config.ts'
import { startIngress } from './service.ts'

await run('ingress', (signal) => startIngress(loadConfig(process.env), signal))
