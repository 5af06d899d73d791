// What a refusal leads to. Pure, and tried over sequences of answers:
// nothing irreversible follows from one of them.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Failure, FAILURE_CODES, type FailureCode } from '#shared/domain/failure.ts'
import { settlementOf } from '#shared/domain/failure-settlement.ts'
import {
  FLEET_MIN,
  judgeRefusal,
  REFUSED_MS_MIN,
  REFUSED_TOKENS_MIN,
  WAVE_MIN,
  WAVE_MS_MAX,
  type RefusalFacts,
} from '../../../../services/sync/unit/judge-refusal.ts'

const ALONE: RefusalFacts = { refusedMs: 0, freshTokens: 1, peers: 0, parkedLately: 0, connections: 1000 }
const LASTING = { refusedMs: REFUSED_MS_MIN, freshTokens: REFUSED_TOKENS_MIN }
const revoked = new Failure('vendor/grant-revoked')
const refused = new Failure('vendor/account-refused')

const CODES = Object.keys(FAILURE_CODES) as FailureCode[]
const judged = CODES.map((code) => new Failure(code)).filter(
  (failure) => settlementOf(failure).action === 'judge',
)

describe('documented words', () => {
  test('park at the first answer; whether it is asked about again is what the word says', () => {
    expect(judgeRefusal(revoked, ALONE)).toEqual({ kind: 'park', isProbed: false })
    const blocked = new Failure('vendor/admin-required', undefined, { mayHeal: true })
    expect(judgeRefusal(blocked, ALONE)).toEqual({ kind: 'park', isProbed: true })
  })

  test('for half a fleet at once are doubted for half an hour, and asked about again after that', () => {
    const fleet = { ...ALONE, parkedLately: FLEET_MIN, connections: FLEET_MIN * 2 }
    expect(judgeRefusal(revoked, fleet)).toMatchObject({ kind: 'wait', isBraked: true, isWave: true })
    // The first ones are parked longer ago by then; those that wait count like them.
    const later = { ...fleet, parkedLately: 0, peers: FLEET_MIN, ...LASTING }
    expect(judgeRefusal(revoked, { ...later, freshTokens: 2 })).toMatchObject({ kind: 'wait' })
    expect(judgeRefusal(revoked, later)).toEqual({ kind: 'park', isProbed: true })
    expect(judgeRefusal(revoked, { ...fleet, connections: FLEET_MIN * 3 }).kind).toBe('park')
    expect(judgeRefusal(revoked, { ...fleet, parkedLately: FLEET_MIN - 1 }).kind).toBe('park')
  })
})

describe('any other refusal', () => {
  test('waits for half an hour and three fresh tokens, and is asked about again after that', () => {
    expect(judgeRefusal(refused, { ...ALONE, ...LASTING })).toEqual({ kind: 'park', isProbed: true })
    const wait = { kind: 'wait', isBraked: false, isWave: false }
    expect(judgeRefusal(refused, { ...ALONE, ...LASTING, freshTokens: 2 })).toEqual(wait)
    expect(judgeRefusal(refused, { ...ALONE, ...LASTING, refusedMs: REFUSED_MS_MIN - 1 })).toEqual(wait)
  })

  test('of three connections together parks nobody; a team that left waits a day', () => {
    const wave = { ...ALONE, ...LASTING, peers: WAVE_MIN - 1 }
    expect(judgeRefusal(refused, wave)).toEqual({ kind: 'wait', isBraked: true, isWave: true })
    expect(judgeRefusal(refused, { ...wave, refusedMs: WAVE_MS_MAX }).kind).toBe('park')
    expect(judgeRefusal(refused, { ...wave, refusedMs: WAVE_MS_MAX, connections: 20 }).kind).toBe('wait')
    expect(judgeRefusal(refused, { ...wave, peers: WAVE_MIN - 2 }).kind).toBe('park')
  })
})

describe('over any sequence of answers', () => {
  const answer = fc.record({
    failure: fc.constantFrom(...judged),
    afterMs: fc.integer({ min: 0, max: 7_200_000 }),
  })

  test('without documented words nobody is parked by one answer, nor within half an hour, nor by fewer than three', () => {
    fc.assert(
      fc.property(fc.array(answer, { minLength: 1, maxLength: 30 }), fc.nat(50), (answers, connections) => {
        let at = 0
        let since: number | null = null
        let freshTokens = 0
        for (const { failure, afterMs } of answers) {
          at += afterMs
          since ??= at
          freshTokens += 1
          const facts = { ...ALONE, refusedMs: at - since, freshTokens, connections }
          if (judgeRefusal(failure, facts).kind !== 'park') continue
          expect(at - since).toBeGreaterThanOrEqual(30 * 60_000)
          expect(freshTokens).toBeGreaterThanOrEqual(3)
        }
      }),
    )
  })

  test('of a whole fleet nobody is parked in ten minutes, whatever the words but a documented one', () => {
    const facts = fc.record({
      refusedMs: fc.integer({ min: 0, max: 600_000 }),
      freshTokens: fc.nat(1000),
      peers: fc.nat(10_000),
      parkedLately: fc.nat(10_000),
      connections: fc.nat(10_000),
    })
    fc.assert(
      fc.property(fc.constantFrom(...judged), facts, (failure, known) => {
        expect(judgeRefusal(failure, known).kind).toBe('wait')
      }),
    )
  })

  test('whoever is parked without a documented word is asked about again', () => {
    const facts = fc.record({
      refusedMs: fc.nat(10 * WAVE_MS_MAX),
      freshTokens: fc.nat(100),
      peers: fc.nat(100),
      parkedLately: fc.nat(100),
      connections: fc.nat(1000),
    })
    fc.assert(
      fc.property(fc.constantFrom(...judged), facts, (failure, known) => {
        const verdict = judgeRefusal(failure, known)
        if (verdict.kind === 'park') expect(verdict.isProbed).toBe(true)
      }),
    )
  })
})
