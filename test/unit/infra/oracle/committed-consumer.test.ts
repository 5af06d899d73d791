// What a reader of committed records gets, decided by the markers in the log.
import { describe, expect, test } from 'vitest'
import { committedBatches, type LogBatch } from '../../../../infra/oracle/committed-consumer.ts'

interface Named extends LogBatch {
  readonly name: string
}

const data = (name: string, producer: number): Named => ({
  name,
  attributes: 0b01_0000,
  producerId: BigInt(producer),
  records: [{ key: Buffer.from(name) }],
})
const plain = (name: string): Named => ({ ...data(name, -1), attributes: 0 })
const marker = (producer: number, type: 0 | 1): Named => ({
  name: type === 1 ? 'commit' : 'abort',
  attributes: 0b11_0000,
  producerId: BigInt(producer),
  records: [{ key: Buffer.from([0, 0, 0, type]) }],
})
const shown = (...batches: Named[]) =>
  committedBatches(batches)
    .map(({ name }) => name)
    .filter((name) => name !== 'commit' && name !== 'abort')

describe('committed batches', () => {
  test('are those whose transaction committed, and those of no transaction', () => {
    expect(
      shown(data('a', 1), plain('p'), data('b', 2), marker(2, 0), marker(1, 1), data('c', 2), marker(2, 1)),
    ).toEqual(['a', 'p', 'c'])
  })

  test('are not hidden by an abort of the same producer that had no record', () => {
    expect(
      shown(
        data('aborted', 1),
        marker(1, 0),
        data('a', 1),
        marker(1, 1),
        data('b', 1),
        marker(1, 1),
        marker(1, 0),
      ),
    ).toEqual(['a', 'b'])
  })

  test('are told apart when a producer aborts more than once', () => {
    expect(shown(data('x', 1), marker(1, 0), data('a', 1), marker(1, 1), data('y', 1), marker(1, 0))).toEqual(
      ['a'],
    )
  })

  test('end before the first that is undecided, whoever committed behind it', () => {
    expect(shown(data('a', 1), marker(1, 1), data('open', 2), data('b', 1), marker(1, 1))).toEqual(['a'])
    expect(shown(data('open', 2), marker(1, 1))).toEqual([])
  })

  test('keep their markers, so that a reader moves on past an aborted transaction', () => {
    expect(committedBatches([data('x', 1), marker(1, 0)]).map(({ name }) => name)).toEqual(['abort'])
  })
})
