// What happens while Postgres is away: reading stops, lanes pause, and one probe looks for
// its return. Invariant: nothing is recorded, so nothing is committed; work continues within
// two seconds of the return.
import type { Logger } from '#shared/process/log.ts'
import { pause, startLoop, until, type Loop } from '#shared/process/loop.ts'
import type { Queryable } from '#shared/store/database.ts'

export interface OutageDeps {
  readonly db: Queryable
  /** Stops or continues reading. */
  readonly suspend: (isSuspended: boolean) => void
  /** Lets the lanes continue. */
  readonly resume: () => void
  readonly logger: Logger
}

export interface Outage extends Loop {
  /** A unit could not reach the store. */
  begin(): void
}

/** Also the rhythm of claims while Postgres answers but accepts no writes (standby, full disk). */
const LOOK_EVERY_MS = 250

export function watchOutage(deps: OutageDeps): Outage {
  let outage = Promise.withResolvers<void>()
  const loop = startLoop(
    'the look for Postgres',
    async (signal) => {
      await until(outage.promise, signal)
      await pause(LOOK_EVERY_MS, signal)
      if (signal.aborted) return 0
      await deps.db.query('select 1')
      outage = Promise.withResolvers()
      deps.logger.info('Postgres is back, work goes on')
      deps.suspend(false)
      deps.resume()
      return 0
    },
    deps.logger,
  )
  return {
    ...loop,
    begin() {
      deps.suspend(true)
      outage.resolve()
    },
  }
}
