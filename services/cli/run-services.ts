// `calstream <service>` and `calstream all`. Each service is loaded only when it runs.
import { run } from '#shared/process/run.ts'
import { envOf, urlOf, type ServiceName } from './config.ts'

type Start = (env: NodeJS.ProcessEnv, signal: AbortSignal) => Promise<AsyncDisposable>

const STARTERS: Record<ServiceName, () => Promise<Start>> = {
  ingress: async () => {
    const { startIngress } = await import('../ingress/service.ts')
    const { loadConfig } = await import('../ingress/config.ts')
    return (env, signal) => startIngress(loadConfig(env), signal)
  },
  sync: async () => {
    const { startSync } = await import('../sync/service.ts')
    const { loadConfig } = await import('../sync/config.ts')
    return (env, signal) => startSync(loadConfig(env), signal)
  },
  retry: async () => {
    const { startRetry } = await import('../retry/service.ts')
    const { loadConfig } = await import('../retry/config.ts')
    return (env, signal) => startRetry(loadConfig(env), signal)
  },
  relay: async () => {
    const { startRelay } = await import('../relay/service.ts')
    const { loadConfig } = await import('../relay/config.ts')
    return (env, signal) => startRelay(loadConfig(env), signal)
  },
  scheduler: async () => {
    const { startScheduler } = await import('../scheduler/service.ts')
    const { loadConfig } = await import('../scheduler/config.ts')
    return (env, signal) => startScheduler(loadConfig(env), signal)
  },
  console: async () => {
    const { startConsole } = await import('../console/service.ts')
    const { loadConfig } = await import('../console/config.ts')
    return (env, signal) => startConsole(loadConfig(env), signal)
  },
}

/** Runs one service until it is told to stop. */
export async function runService(name: ServiceName, env: NodeJS.ProcessEnv): Promise<void> {
  const start = await STARTERS[name]()
  await run(name, (signal) => start(urlOf(name, env), signal))
}

/** Runs all six in one process; a service that does not start takes those before it down again. */
export async function runAll(env: NodeJS.ProcessEnv): Promise<void> {
  await run('all', async (signal) => {
    await using started = new AsyncDisposableStack()
    for (const name of STOP_LAST_FIRST) {
      const start = await STARTERS[name]()
      started.use(await start(urlOf(name, envOf(name, env)), signal))
    }
    return started.move()
  })
}

/**
 * The outlet starts first and stops last, the inlet the other way round,
 * so that stopping strands nothing in between.
 */
const STOP_LAST_FIRST: readonly ServiceName[] = ['relay', 'retry', 'sync', 'scheduler', 'ingress', 'console']
