// The outbox from the writing side. Invariant: rows get ids in the order in which they are
// given, so that within a connection, whose writers queue behind its row lock, the order of ids
// is the order of what happened.
import type { OutboxMessage } from '#shared/messages/message.ts'
import { columnsOf, type Queryable } from './database.ts'

/** Adds messages in one statement. They leave when the transaction has committed. */
export async function insertOutbox(tx: Queryable, messages: readonly OutboxMessage[]): Promise<void> {
  if (messages.length === 0) return
  await tx.query(
    `insert into outbox (shard, topic, key, value, headers)
     select m.shard, m.topic, m.key, m.value, m.headers::jsonb
       from unnest($1::smallint[], $2::text[], $3::text[], $4::bytea[], $5::text[]) with ordinality
         as m (shard, topic, key, value, headers, place)
      order by m.place`,
    [
      ...columnsOf(messages, 'shard', 'topic', 'key', 'value'),
      messages.map(({ headers }) => JSON.stringify(headers)),
    ],
  )
}
