// Event rows that go because a person said so. Invariant: their removals are told in the order of
// their versions, in the transaction that deletes them.
import type { CalendarId } from '#shared/domain/ids.ts'
import { eventsChanged, type RemovalReason } from '#shared/messages/event-changed.ts'
import { sentBy } from '#shared/messages/message.ts'
import type { Codec } from '#shared/kafka/codec.ts'
import type { Queryable } from '#shared/store/database.ts'
import { takeEvents, type LockedConnection, type RemovedEvent } from '#shared/store/disconnect.ts'
import { insertOutbox } from '#shared/store/outbox.ts'

/**
 * Keeps each statement far from its limit of 4 s and each round of the event loop short:
 * with 10 000 rows at once a loaded machine took 3 s.
 */
const CHUNK = 1000

interface Removal {
  readonly connection: LockedConnection
  /** null: all of the connection. */
  readonly calendar: CalendarId | null
  readonly reason: RemovalReason
}

/**
 * Deletes event rows and tells it: the first one gets the version after the connection's.
 * @returns how many there were.
 */
export async function removeEvents(
  codec: Pick<Codec, 'encode'>,
  tx: Queryable,
  removal: Removal,
): Promise<number> {
  const { connection, calendar } = removal
  let removed = 0
  for (;;) {
    const events = await takeEvents(tx, { connection: connection.connectionId, calendar }, CHUNK)
    await insertOutbox(tx, messagesOf(codec, removal, { events, after: connection.version + removed }))
    removed += events.length
    if (events.length < CHUNK) return removed
  }
}

function messagesOf(
  codec: Pick<Codec, 'encode'>,
  { connection, reason }: Removal,
  { events, after }: { readonly events: readonly RemovedEvent[]; readonly after: number },
) {
  const origin = sentBy('api', codec)
  return events.flatMap(({ calendarId, eventId, vendorEventId }, i) => {
    const changes = [{ eventId, vendorEventId, event: null, reason, sequence: after + 1 + i }]
    const told = { calendarId, observedAt: connection.now, isIncremental: false, changes }
    return eventsChanged(connection, told, origin)
  })
}
