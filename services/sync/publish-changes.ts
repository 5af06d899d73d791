// What a unit tells the world, as outbox rows.
import type { SchemaTopic, TopicMessages } from '#schemas/topics.ts'
import type { Micros } from '#shared/domain/ids.ts'
import type { OutboxMessage } from '#shared/store/outbox.ts'
import * as messages from '#shared/store/outbox-messages.ts'
import type { Unit, UnitDeps } from './unit.ts'

export type { RemovalReason, RowChange } from '#shared/store/outbox-messages.ts'

const SOURCE = '/calstream/sync'

/** The messages of changed rows, in the order of their sequence. */
export function changeMessages(
  deps: Pick<UnitDeps, 'codec'>,
  { connection }: Pick<Unit, 'connection'>,
  changes: messages.ChangesOf,
): readonly OutboxMessage[] {
  const { connectionId, providerId, vendor } = connection
  return messages.changeMessages(deps.codec, { connectionId, providerId, vendor, source: SOURCE }, changes)
}

/** One message keyed by its connection. `type`: the CloudEvents type. `at`: database clock. */
export function connectionMessage<T extends SchemaTopic>(
  deps: Pick<UnitDeps, 'codec'>,
  topic: T,
  message: TopicMessages[T] & { readonly connectionId: string },
  about: { readonly type: string; readonly at: Micros },
): OutboxMessage {
  return messages.connectionMessage(deps.codec, topic, message, { ...about, source: SOURCE })
}
