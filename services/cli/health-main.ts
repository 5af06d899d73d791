// `calstream health` without the other commands: `node services/cli/health-main.ts`.
import { health } from './health.ts'

process.exitCode = await health(process.env)
