// The partition of a key, against the partitioner that the producer uses.
import { randomUUID } from 'node:crypto'
import { Partitioners } from 'kafkajs'
import { expect, test } from 'vitest'
import { partitionOf } from '#shared/domain/partition-of.ts'

const theirs = Partitioners.DefaultPartitioner()

function byKafka(key: string, count: number): number {
  const partitionMetadata = Array.from({ length: count }, (_, partitionId) => ({
    partitionErrorCode: 0,
    partitionId,
    leader: 1,
    replicas: [1],
    isr: [1],
  }))
  return theirs({ topic: 'any', partitionMetadata, message: { key, value: null } })
}

test('is the one that the producer takes, for ids and for keys of every length', () => {
  const ids = Array.from({ length: 500 }, () => randomUUID())
  const odd = Array.from({ length: 40 }, (_, length) => 'äxβ-'.repeat(length).slice(0, length))
  const seen = new Set<number>()
  for (const key of [...ids, ...odd])
    for (const count of [1, 3, 24]) {
      const partition = partitionOf(key, count)
      expect(partition, key).toBe(byKafka(key, count))
      if (count === 24) seen.add(partition)
    }
  expect(seen.size).toBe(24)
})
