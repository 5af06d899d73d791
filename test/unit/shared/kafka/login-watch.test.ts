// What is read off a connection about its login. The bytes are written by hand, from Kafka's
// description of its protocol (https://kafka.apache.org/protocol).
import { expect, test } from 'vitest'
import { LoginWatch } from '#shared/kafka/login-watch.ts'

const [METADATA, HANDSHAKE, API_VERSIONS, AUTHENTICATE] = [3, 17, 18, 36]

function watched() {
  const seen: string[] = []
  const watch = new LoginWatch({
    refused: (error) => seen.push(`${'type' in error ? String(error.type) : ''}: ${error.message}`),
    taken: () => seen.push('taken'),
  })
  return { watch, seen, ask: (key: number, id: number) => watch.asked(request(key, id)) }
}

function sized(...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([int32(body.length), body])
}

const int16 = (value: number) => Buffer.from([(value >> 8) & 0xff, value & 0xff])
const int32 = (value: number) => Buffer.concat([int16(value >> 16), int16(value)])
const text = (value: string) => Buffer.concat([int16(value.length), Buffer.from(value)])
const NOTHING = int16(-1)

const request = (key: number, id: number) => sized(int16(key), int16(1), int32(id), text('calstream'))
const answer = (id: number, error: number, ...rest: readonly Buffer[]) =>
  sized(int32(id), int16(error), ...rest)

test('a mechanism that is not offered is a refusal', () => {
  const { watch, seen, ask } = watched()
  ask(API_VERSIONS, 0)
  watch.answered(answer(0, 0))
  ask(HANDSHAKE, 1)
  watch.answered(answer(1, 33, int32(0)))
  expect(seen).toEqual([
    'UNSUPPORTED_SASL_MECHANISM: The broker does not support the requested SASL mechanism',
  ])
})

test.each([
  ['in the words of the broker', text('Invalid credentials'), 'Invalid credentials'],
  ['in the words of the protocol', NOTHING, 'SASL Authentication failed'],
])('a login that is refused after its first round is told %s', (_how, own, words) => {
  const { watch, seen, ask } = watched()
  ask(HANDSHAKE, 1)
  watch.answered(answer(1, 0, int32(0)))
  ask(AUTHENTICATE, 2)
  watch.answered(answer(2, 0, NOTHING, int32(0)))
  ask(AUTHENTICATE, 3)
  expect(seen).toEqual([])
  watch.answered(answer(3, 58, own, int32(0)))
  expect(seen).toEqual([`SASL_AUTHENTICATION_FAILED: ${words}`])
})

test('we are taken by the first answer that strangers do not get, once; a session that is not renewed is a refusal', () => {
  const { watch, seen, ask } = watched()
  ask(AUTHENTICATE, 1)
  watch.answered(answer(1, 0, NOTHING, int32(0)))
  for (const id of [2, 3]) ask(METADATA, id)
  watch.answered(Buffer.concat([answer(2, 0), answer(3, 0)]))
  expect(seen).toEqual(['taken'])
  ask(METADATA, 4)
  ask(AUTHENTICATE, 5)
  // Error codes of other answers lie elsewhere: these bytes are none.
  watch.answered(Buffer.concat([answer(4, 58), answer(5, 34, NOTHING, int32(0))]))
  expect(seen).toEqual(['taken', 'ILLEGAL_SASL_STATE: Request is not valid given the current SASL state'])
})

test('what is too short for a head is nobody’s answer', () => {
  const { watch, seen, ask } = watched()
  watch.asked(Buffer.from([0, 0]))
  ask(HANDSHAKE, 1)
  watch.answered(Buffer.concat([sized(int32(1)), sized(), answer(1, 33, int32(0))]))
  expect(seen).toHaveLength(1)
})
