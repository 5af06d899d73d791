// How the shards are shared out among the relays that are alive.
import { describe, expect, test } from 'vitest'
import { SHARDS } from '#shared/domain/ids.ts'
import { fairShare } from '../../../services/relay/shards.ts'

describe('the fair share of shards', () => {
  test('adds up to all shards and differs by at most one, for any number of relays up to twice the shards', () => {
    for (let count = 1; count <= 2 * SHARDS; count++) {
      const members = Array.from({ length: count }, (_, index) => `relay-${index}`)
      const shares = members.map((member) => fairShare(members, member))
      expect(shares.reduce((sum, share) => sum + share, 0)).toBe(SHARDS)
      expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1)
    }
  })

  test('is nothing for a relay that is not among the living', () => {
    expect(fairShare(['a'], 'b')).toBe(0)
    expect(fairShare(['a'], 'a')).toBe(SHARDS)
  })
})
