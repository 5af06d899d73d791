// Refusals that are kept: work that met a closed gate becomes a held_requests row before its 403 is
// sent, because vendors do not repeat a 403. Grouped, so that a storm against a closed gate costs
// few statements; a refusal joins only a group whose statement has not been sent, since the
// scheduler may delete the row at the seq of an earlier one.
import { whyClosed, type GateDecision, type GateName } from '#shared/domain/gates.ts'
import type { ConnectionId } from '#shared/domain/ids.ts'
import { step } from '#shared/process/step.ts'
import type { Logger } from '#shared/process/log.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { Queryable } from '#shared/store/database.ts'
import { holdRequests, type HeldRow } from '#shared/store/held-requests.ts'
import { createGroupCommit } from './group-commit.ts'
import { unavailable, type ProblemDetails } from './server.ts'

export interface Refusals extends AsyncDisposable {
  /**
   * Whether the rows of all these connections are committed; false is answered 503. Never rejects.
   */
  hold(connections: readonly ConnectionId[], gate: GateName): Promise<boolean>
}

export const GATES_UNKNOWN = unavailable('The gates cannot be read at the moment. Send it again later.')

/** What is said at a closed gate once `what` is kept. */
export function keptUntilOpen(
  what: string,
  decision: Extract<GateDecision, { state: 'off' }>,
): ProblemDetails {
  const detail = `${whyClosed(decision)} ${what} is kept and handled once the gate is open.`
  return { status: 403, error: decision.text, detail }
}

const GROUP_MAX = 1000
const QUEUE_MAX = 10_000
const WAIT_MAX_MS = 2500

/** A writer of refusals over an open database, which the caller closes after it. */
export function createRefusals(deps: { readonly db: Queryable; readonly logger: Logger }): Refusals {
  const commits = createGroupCommit<HeldRow>({
    what: 'held',
    write: (rows) => holdRequests(deps.db, rows),
    groupMax: GROUP_MAX,
    queueMax: QUEUE_MAX,
    waitMaxMs: WAIT_MAX_MS,
    onFailure: (error, refusals) => {
      deps.logger.warn(
        { err: error, refusals },
        'refusals could not be kept; their callers were told to come again',
      )
    },
    onRefused: (error, { connectionId }) => {
      deps.logger.error(
        { err: error, connectionId },
        'Postgres does not take a refusal; its neighbours are kept',
      )
    },
  })
  return {
    hold: async (connections, gate) => {
      const answers = await Promise.all(
        connections.map((connectionId) => commits.commit({ connectionId, gate })),
      )
      step('ingress.held')
      const stored = answers.filter((answer) => answer === 'durable').length
      metrics.heldRequests.add(stored, { gate })
      return stored === connections.length
    },
    [Symbol.asyncDispose]: () => commits[Symbol.asyncDispose](),
  }
}
