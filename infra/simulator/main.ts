// The simulator as a process: settings from the environment, one JSON line on stdout when it
// listens, ends at SIGTERM or SIGINT.
import { loadConfig } from './config.ts'
import { startSimulator } from './service.ts'

const simulator = await start()
if (simulator) {
  const { googleUrl, adminUrl } = simulator
  console.log(JSON.stringify({ ready: true, googleUrl, adminUrl }))
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    // A Ctrl-C reaches a process group two or three times; disposing twice is harmless.
    process.on(signal, () => void simulator[Symbol.asyncDispose]())
  }
}

async function start() {
  try {
    return await startSimulator(loadConfig(process.env))
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    process.exitCode = 1
    return null
  }
}
