// Which ids of channels count: those of the vendor's shape, whoever says them.
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readChannelId, readResourceId } from '#shared/domain/channel-ids.ts'

test("Graph's are guids, kept in lower case", () => {
  const id = randomUUID()
  expect(readChannelId('microsoft', id.toUpperCase())).toBe(id)
  // İ and K (the Kelvin sign) have a lower case that is ASCII or longer.
  for (const text of [
    '',
    id.slice(1),
    `${id}a`,
    `\u0130${id.slice(1)}`,
    `\u212a${id.slice(1)}`,
    `g${id.slice(1)}`,
  ])
    expect(readChannelId('microsoft', text), text).toBe('')
})

test("Google's are as they were asked for, up to 64 characters", () => {
  for (const id of [randomUUID(), 'A/b+c_d=', 'x'.repeat(64)]) expect(readChannelId('google', id)).toBe(id)
  for (const text of ['', 'x'.repeat(65), 'a b', 'a\u0000', 'ä', "a'b", 'a\n'])
    expect(readChannelId('google', text), text).toBe('')
})

test('any text is an id of bounded length that Postgres and a log can take, or none', () => {
  const texts = fc.oneof(fc.string({ unit: 'binary', maxLength: 300 }), fc.string({ maxLength: 80 }))
  fc.assert(
    fc.property(texts, (text) => {
      const ids = [readChannelId('google', text), readChannelId('microsoft', text), readResourceId(text)]
      return ids.every((id) => /^[\x21-\x7e]{0,256}$/.test(id))
    }),
  )
})
