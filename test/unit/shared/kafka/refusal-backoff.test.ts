// How long one who refused us is left in peace.
import { expect, test } from 'vitest'
import { RefusalBackoff } from '#shared/kafka/refusal-backoff.ts'

const BROKER = 'b:1'
const SECRET = ['secret']
const STEPS = [
  [1_000, 1_250],
  [2_000, 2_500],
  [4_000, 5_000],
  [8_000, 10_000],
  [16_000, 20_000],
  [30_000, 30_000],
  [30_000, 30_000],
] as const

function openBackoff() {
  let now = 0
  const backoff = new RefusalBackoff(() => now)
  return {
    backoff,
    lasts: (ms: number) => (now += ms),
    enters: () => backoff.enter(BROKER, SECRET) === null,
    refuse: (of: readonly string[] = SECRET) => backoff.refused(BROKER, of, new Error(`no ${of[0]}`)),
  }
}

test('who refused us is asked again after 1 s, then 2 s, up to 30 s, by one at a time, until we are taken', () => {
  const { backoff, lasts, enters, refuse } = openBackoff()
  for (const [least, most] of STEPS) {
    refuse()
    lasts(least - 1)
    expect(enters()).toBe(false)
    lasts(most - least + 1)
    expect(backoff.held(BROKER, SECRET)).toBeNull()
    expect(enters()).toBe(true)
    expect(enters()).toBe(false)
  }
  backoff.taken(BROKER)
  expect([enters(), enters()]).toEqual([true, true])
  refuse()
  lasts(1_250)
  expect(enters()).toBe(true)
})

test('many who are refused at the same moment are one refusal, and it is the first that is told', () => {
  const { backoff, lasts, enters, refuse } = openBackoff()
  backoff.refused(BROKER, SECRET, new Error('the first'))
  for (let other = 0; other < 8; other += 1) refuse()
  expect(backoff.held(BROKER, SECRET)?.message).toBe('the first')
  lasts(1_250)
  expect(enters()).toBe(true)
})

test('a trial of which nothing is heard is followed by another after 2 s', () => {
  const { lasts, enters, refuse } = openBackoff()
  refuse()
  lasts(1_250)
  expect(enters()).toBe(true)
  lasts(1_999)
  expect(enters()).toBe(false)
  lasts(1)
  expect(enters()).toBe(true)
})

test('other credentials and other places are tried at once; refused too, they begin with 1 s', () => {
  const { backoff, lasts, refuse } = openBackoff()
  const another = ['another secret']
  refuse()
  lasts(1_250)
  backoff.enter(BROKER, SECRET)
  refuse()
  expect(backoff.enter('b:2', SECRET)).toBeNull()
  expect(backoff.enter(BROKER, another)).toBeNull()
  refuse(another)
  expect(backoff.held(BROKER, another)?.message).toBe('no another secret')
  lasts(1_250)
  expect(backoff.held(BROKER, another)).toBeNull()
})
