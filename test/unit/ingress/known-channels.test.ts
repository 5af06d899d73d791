// Which channels are remembered, for how long, and how many.
import { expect, test } from 'vitest'
import { calendarId, connectionId, providerId } from '#shared/domain/ids.ts'
import { createKnownChannels } from '../../../services/ingress/webhooks/known-channels.ts'

const CLAIMS = { connectionId: connectionId('c'), providerId: providerId('p'), calendarId: calendarId('k') }
const HOUR = 3_600_000_000

test('a channel is known for a day after its last token', () => {
  let now = 0
  const known = createKnownChannels({ now: () => now })
  known.learn('one', CLAIMS)
  now += 23 * HOUR
  expect(known.claimsOf('one')).toEqual(CLAIMS)
  known.learn('one', CLAIMS)
  now += 23 * HOUR
  expect(known.claimsOf('one')).toEqual(CLAIMS)
  now += HOUR
  expect(known.claimsOf('one')).toBeNull()
  expect(known.claimsOf('other')).toBeNull()
})

test('an item without an id makes nothing known', () => {
  const known = createKnownChannels({ now: () => 0 })
  known.learn('', CLAIMS)
  expect(known.claimsOf('')).toBeNull()
})

test('of many the one that was told longest ago is forgotten', () => {
  const known = createKnownChannels({ now: () => 0 })
  for (let i = 0; i < 20_000; i += 1) known.learn(`channel ${i}`, CLAIMS)
  known.learn('channel 0', CLAIMS)
  known.learn('one more', CLAIMS)
  expect(known.claimsOf('channel 1')).toBeNull()
  for (const id of ['channel 0', 'channel 2', 'one more']) expect(known.claimsOf(id)).toEqual(CLAIMS)
})
