// Dead letters on their way back by a repair: once, with their own bytes.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { connectionId } from '#shared/domain/ids.ts'
import { deadLetterRecord } from '#shared/kafka/dead-letter.ts'
import { indexDeadLetters } from '#shared/store/dead-letters.ts'
import { withAdmin } from '../../support/offsets.ts'
import { openRepairWorld, type RepairWorld } from '../../support/repair-world.ts'

let w: RepairWorld

beforeAll(async () => {
  w = await openRepairWorld('repair letters')
})
afterAll(() => w?.[Symbol.asyncDispose]())
beforeEach(() => w.clear())

describe('dead letters', () => {
  const key = randomUUID()

  async function give(...letters: readonly { topic: string; code: string; value: string }[]): Promise<void> {
    const records = letters.map(({ topic, code, value }) =>
      deadLetterRecord(
        {
          topic,
          partition: 0,
          offset: 7n,
          timestampMs: Date.now(),
          key: Buffer.from(key),
          value: Buffer.from(value),
          headers: new Map([['ce_id', value]]),
        },
        { code, lastFailedAt: Date.now() * 1000 },
      ),
    )
    await w.deps.producer.send(records)
    // They have one key, so they lie in one partition, which was empty.
    const topic = w.kafka.prefix + TOPICS.deadLetter
    const ends = await withAdmin(w.kafka, (admin) => admin.fetchTopicOffsets(topic))
    const partition = ends.find(({ high }) => high === String(letters.length))!.partition
    await indexDeadLetters(
      w.deps.db,
      letters.map(({ topic, code }, index) => ({
        partition,
        offset: BigInt(index),
        connectionId: connectionId(key),
        vendor: 'google',
        code,
        attempts: 12,
        firstFailedAt: null,
        lastFailedAt: Date.now() * 1000,
        originTopic: topic,
        originPartition: 0,
        originOffset: 7n,
      })),
    )
  }

  test('come back once with their own bytes; one whose bytes are gone is counted and told', async () => {
    const request = { topic: TOPICS.requestedGoogle, code: 'sync/gave-up' }
    await give(
      { ...request, value: 'one' },
      { ...request, value: 'two' },
      { topic: TOPICS.requestedGoogle, code: 'message/unreadable', value: 'poison' },
      { topic: TOPICS.eventChanged, code: 'kafka/rejected', value: 'of a stream' },
    )
    await w.db.query(
      `insert into dead_letters (partition, topic_offset, code, attempts, last_failed_at, origin_topic, vendor)
       values (3, 999999, 'sync/gave-up', 1, calstream_now(), $1, 'google')`,
      [TOPICS.requestedGoogle],
    )
    const done = await w.workOff(await w.ask('replay_dead_letters', { vendor: 'google' }))
    expect(done).toMatchObject({ total: 3, done: 2, failed: 1, state: 'done' })
    expect(done.lastError).toMatch(/3\/999999 was not replayed: its bytes are older/)
    const sent = await w.rowsOf<{ topic: string; key: string; value: Buffer; headers: object }>(
      'select topic, key, value, headers from outbox order by id',
    )
    expect(sent.map((row) => [row.topic, row.key, row.value.toString()])).toEqual([
      [TOPICS.requestedGoogle, key, 'one'],
      [TOPICS.requestedGoogle, key, 'two'],
    ])
    expect(sent[0]?.headers).toEqual({ ce_id: 'one', 'replayed-dead-letter': expect.any(String) })
    // A second time none of them comes back.
    await w.workOff(await w.ask('replay_dead_letters', { all: true }))
    expect(await w.outbox()).toHaveLength(2)
    // What no reader understood comes back only when that is meant.
    expect(
      await w.workOff(await w.ask('replay_dead_letters', { code: 'message/unreadable', anyway: true })),
    ).toMatchObject({
      done: 1,
    })
    expect(await w.outbox()).toHaveLength(3)
  })
})
