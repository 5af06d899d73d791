// What one toggle and one cap mean: a plain list lets in who is on it, anything else nobody.
import { describe, expect, test } from 'vitest'
import { describeToggle, isCapped, letsIn, readAllowlist, type Toggle } from '#shared/gates/gate-rules.ts'

const ID = '11111111-1111-4111-8111-111111111111'
const OTHER = '22222222-2222-4222-8222-222222222222'
const GATE = 'CALENDAR_ALLOWLIST_PROVIDER_IDS'
const IN = { contextName: 'providerId', operator: 'IN', inverted: false, values: [ID] }
const STRATEGY = { name: 'default', constraints: [IN], segments: [] }
const PLAIN: Toggle = { name: GATE, enabled: true, strategies: [STRATEGY], dependencies: [] }

describe('an allowlist toggle', () => {
  test('lets in exactly the ids of its one constraint (control)', () => {
    const { ids, problem } = readAllowlist(GATE, PLAIN)
    expect([...ids]).toEqual([ID])
    expect(problem).toBeNull()
  })

  test.each([
    ['absent', undefined],
    ['off', { ...PLAIN, enabled: false }],
    ['off and misshapen', { ...PLAIN, enabled: false, strategies: [] }],
  ])('that is %s is an empty list, and no reason for an alert', (_what, toggle) => {
    expect(readAllowlist(GATE, toggle)).toEqual({ ids: new Set(), everybody: false, problem: null })
  })

  test('with one strategy that has no constraint lets everybody in, and only while it is on', () => {
    const open = { ...PLAIN, strategies: [{ ...STRATEGY, constraints: [] }] }
    expect(letsIn(readAllowlist(GATE, open), OTHER)).toBe(true)
    expect(describeToggle(GATE, open)).toBe('on for everybody')
    expect(letsIn(readAllowlist(GATE, { ...open, enabled: false }), OTHER)).toBe(false)
  })

  test.each([
    ['no strategy', { strategies: [] }],
    ['two strategies', { strategies: [STRATEGY, { name: 'default', constraints: [] }] }],
    ['the same strategy twice', { strategies: [STRATEGY, STRATEGY] }],
    ['a gradual rollout', { strategies: [{ ...STRATEGY, name: 'flexibleRollout' }] }],
    [
      'two constraints',
      { strategies: [{ ...STRATEGY, constraints: [IN, { ...IN, contextName: 'appName' }] }] },
    ],
    [
      'a constraint on another field',
      { strategies: [{ ...STRATEGY, constraints: [{ ...IN, contextName: 'userId' }] }] },
    ],
    [
      'NOT_IN',
      { strategies: [{ ...STRATEGY, constraints: [{ ...IN, operator: 'NOT_IN', values: [OTHER] }] }] },
    ],
    [
      'an inverted IN',
      { strategies: [{ ...STRATEGY, constraints: [{ ...IN, inverted: true, values: [OTHER] }] }] },
    ],
    ['a rollout without a constraint', { strategies: [{ name: 'flexibleRollout', constraints: [] }] }],
    ['no constraint, but a segment', { strategies: [{ ...STRATEGY, constraints: [], segments: [1] }] }],
    ['a segment', { strategies: [{ ...STRATEGY, segments: [1] }] }],
    ['a parent toggle', { dependencies: [{ feature: 'x' }] }],
  ])('with %s lets nobody in and says why', (_what, change: Partial<Toggle>) => {
    const list = readAllowlist(GATE, { ...PLAIN, ...change })
    const { problem } = list
    expect(letsIn(list, ID)).toBe(false)
    expect(problem).toMatch(/^its? /)
    expect(describeToggle(GATE, { ...PLAIN, ...change })).toBe(`closed: ${problem}`)
  })
})

describe('a cap', () => {
  test.each([
    ['none', {}, 'CALENDAR_SYNC_ENABLED', undefined, false],
    ['true', { CALENDAR_SYNC_ENABLED: true }, 'CALENDAR_SYNC_ENABLED', undefined, false],
    ['false', { CALENDAR_SYNC_ENABLED: false }, 'CALENDAR_SYNC_ENABLED', undefined, true],
    ['a list with the id', { [GATE]: [ID] }, GATE, ID, false],
    ['a list without the id', { [GATE]: [OTHER] }, GATE, ID, true],
    ['an empty list', { [GATE]: [] }, GATE, ID, true],
  ] as const)('of %s is as hard as it reads', (...[, caps, gate, id, capped]) => {
    expect(isCapped(caps, gate, id)).toBe(capped)
  })
})
