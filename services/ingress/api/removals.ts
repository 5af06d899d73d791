// Event rows that go because a person said so. Invariant: their removals are told in the order of their versions, in the transaction
// that deletes them.
import type { Codec } from '#shared/platform/codec.ts'
import type { Queryable } from '#shared/platform/postgres.ts'
import type { LockedConnection, RemovedEvent } from '#shared/store/disconnect.ts'
import { changeMessages, type RemovalReason } from '#shared/store/outbox-messages.ts'
import { insertOutbox } from '#shared/store/outbox.ts'

export const SOURCE = '/calstream/api'

/** Two messages each; keeps a statement and the turns of the event loop short. */
const CHUNK = 500

export interface Removal {
  readonly connection: LockedConnection
  readonly events: readonly RemovedEvent[]
  readonly reason: RemovalReason
}

/** Writes the removals of deleted rows: the first one gets the version after the connection's. */
export async function tellRemovals(
  codec: Pick<Codec, 'encode'>,
  tx: Queryable,
  { connection, events, reason }: Removal,
): Promise<void> {
  const { connectionId, providerId, vendor, version, now } = connection
  for (let from = 0; from < events.length; from += CHUNK) {
    const messages = events.slice(from, from + CHUNK).flatMap(({ calendarId, eventId, vendorEventId }, i) =>
      changeMessages(
        codec,
        { connectionId, providerId, vendor, source: SOURCE },
        {
          calendarId,
          observedAt: now,
          isIncremental: false,
          changes: [{ eventId, vendorEventId, event: null, reason, sequence: version + 1 + from + i }],
        },
      ),
    )
    await insertOutbox(tx, messages)
  }
}
