// The life of a process: start, wait for a signal, stop in reverse order, end.
// Invariants: a second signal changes nothing (Ctrl-C arrives two or three times through npm),
// stopping ends within ten seconds, and a process that failed ends with a code other than 0.
import { endNow } from './end.ts'
import { createLogger, type Logger } from './log.ts'
import { redact } from './redact.ts'
import { strangeNames, takeProxy } from './settings.ts'
import { isForPeople } from './user-error.ts'

/** What a service is to its process. */
interface Service extends AsyncDisposable {
  /**
   * Settles when the service cannot continue (for example a consumer that died for good):
   * the process then stops with code 1.
   */
  readonly crashed?: Promise<unknown>
}

/** After this long a stop that hangs is cut off; supervisors send SIGKILL at 10 to 30 s. */
const STOP_MAX_MS = 10_000
/**
 * After everything is disposed of: for what still holds the event loop, such as an exporter that
 * retries, or a name lookup without an answer.
 */
const LINGER_MAX_MS = 1_000

/**
 * Starts a service and keeps it until SIGTERM or SIGINT. `start` gets a signal that is aborted by
 * them too. Resolves when the service is stopped; the process's exit code is set: 0 after a
 * signal, 1 after a failure.
 */
export async function run(name: string, start: (signal: AbortSignal) => Promise<Service>): Promise<void> {
  const logger = createLogger({ service: name, level: 'info' })
  const stop = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => askToStop(stop, name, logger))
  for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
    process.on(event, (error: unknown) => {
      logger.fatal({ err: error }, `${name} met an error that nothing handled (${event}) and ends`)
      // What the error interrupted is in an unknown state;
      // everything of ours is safe against a kill at any point.
      endNow(1)
    })
  }
  for (const problem of strangeNames()) logger.warn(problem)
  try {
    takeProxy()
    await using service = await start(stop.signal)
    const crash = await Promise.race([aborted(stop.signal), crashOf(service)])
    if (crash !== null) {
      process.exitCode = 1
      logger.fatal({ err: crash.error }, `${name} cannot go on and stops`)
      askToStop(stop, name, logger)
    }
  } catch (error) {
    // A start that was cut off by a signal is no failure.
    if (!(stop.signal.aborted && isAbort(error))) fail(name, error, logger)
  }
  setTimeout(() => endNow(Number(process.exitCode ?? 0)), LINGER_MAX_MS).unref()
}

function askToStop(stop: AbortController, name: string, logger: Logger): void {
  if (stop.signal.aborted) return
  stop.abort()
  setTimeout(() => {
    logger.fatal(`${name} did not stop within ${STOP_MAX_MS / 1000} s and is cut off`)
    endNow(1)
  }, STOP_MAX_MS).unref()
}

function aborted(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(null)
    else signal.addEventListener('abort', () => resolve(null), { once: true })
  })
}

async function crashOf(service: Service): Promise<{ readonly error: unknown }> {
  // Never settles for a service that has no such promise.
  if (!service.crashed) return new Promise(() => undefined)
  try {
    return { error: await service.crashed }
  } catch (error) {
    return { error }
  }
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && (error.name === 'AbortError' || error.name === 'TimeoutError')
}

/**
 * For a person one clear line (or one per variable);
 * the stack goes to the log when the error is not one of ours.
 */
function fail(name: string, error: unknown, logger: Logger): void {
  process.exitCode = 1
  if (!isForPeople(error)) logger.fatal({ err: error }, `${name} failed`)
  const reason = error instanceof Error ? error.message : String(error)
  process.stderr.write(`calstream ${name} could not start or stop. ${redact(reason)}\n`)
}
