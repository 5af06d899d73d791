// From a Kafka that the test plays into a database that it plays. What every intake promises is in
// shared/kafka/intake.test.ts.
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { Failure } from '#shared/domain/failure.ts'
import type { Queryable } from '#shared/store/database.ts'
import { openDeadLetterIndex } from '../../../services/scheduler/dead-letter-index.ts'
import { eventually } from '../../support/eventually.ts'
import { HandMadeKafka } from '../../support/hand-made-kafka.ts'

/** A table that takes offsets, but not the refused one. */
function world({ refused }: { refused?: bigint } = {}) {
  const kafka = new HandMadeKafka(TOPICS.deadLetter)
  const table = { isAway: false, tries: 0, rows: [] as unknown[] }
  const db: Queryable = {
    async query(_text, values) {
      table.tries += 1
      if (table.isAway) throw new Failure('store/unavailable')
      const offsets = values?.[1] as readonly unknown[]
      if (offsets.includes(refused)) throw new Failure('store/rejected-data')
      table.rows.push(...offsets)
      return { rows: [], rowCount: offsets.length }
    },
  }
  const logger = pino({ level: 'silent' })
  const index = openDeadLetterIndex(kafka.open, {
    db,
    producer: kafka.producer,
    clock: { now: () => 1 },
    logger,
  })
  const stop = async () => {
    await index[Symbol.asyncDispose]()
    return kafka.committed.get(0)
  }
  return { kafka, table, stop }
}

describe('the dead-letter index', () => {
  test('commits a dead letter once it has its row, whatever its value is', async () => {
    const { kafka, table, stop } = world()
    kafka.deliver(kafka.record(1, 'strange'), kafka.record(2, null))
    await eventually('both rows', () => table.rows.length === 2)
    expect(await stop()).toBe(3n)
    expect(table.rows).toEqual([1n, 2n])
  })

  test('commits nothing while the table is away', async () => {
    const { kafka, table, stop } = world()
    table.isAway = true
    kafka.deliver(kafka.record(1))
    await eventually('a try', () => table.tries > 0)
    expect(await stop()).toBe(1n)
  })

  test('leaves out the one that the table does not take, and goes on with the others', async () => {
    const { kafka, table, stop } = world({ refused: 2n })
    kafka.deliver(kafka.record(1), kafka.record(2), kafka.record(3))
    await eventually('the other rows', () => table.rows.length === 2)
    expect(await stop()).toBe(4n)
    expect(table.rows).toEqual([1n, 3n])
  })

  test('leaves dead letters in their topic while many wait', async () => {
    const { kafka, table, stop } = world()
    table.isAway = true
    kafka.deliver(...Array.from({ length: 5000 }, (_, i) => kafka.record(i)))
    expect(kafka.paused.size).toBe(1)
    table.isAway = false
    await eventually('it to read on', () => kafka.paused.size === 0)
    await eventually('all rows', () => table.rows.length === 5000)
    expect(await stop()).toBe(5000n)
  })
})
