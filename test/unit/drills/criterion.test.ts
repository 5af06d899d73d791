// Criteria: what a claim tells is what judges it, and no number of a claim is judged by nothing.
import { describe, expect, test } from 'vitest'
import { chosenDrills, allDrills } from '../../drills/catalogue/all.ts'
import {
  allOf,
  atLeast,
  atMost,
  below,
  type Bound,
  criterion,
  each,
  exactly,
  type Finding,
  met,
  moreThan,
  named,
  noted,
  percentile,
  setUp,
  toldOf,
  within,
} from '../../drills/criterion.ts'
import { judgeAll, mismatches } from '../../drills/run-drill.ts'
import { goodLedgers } from './hand-made.ts'

describe('the words of a criterion', () => {
  test.each([
    ['a digit', () => criterion`An ill calendar costs at most 10 calls`],
    ['a digit in a word', () => criterion`Webhooks get a 503`],
    ['a number as a word', () => criterion`Three looks are enough`],
    ['a part', () => criterion`A fifth of all connections comes back`],
    ['another part', () => criterion`It is half as fast`],
    ['a multiple', () => criterion`The peak is twice what it was`],
    ['a length', () => criterion`A look takes one second`],
    ['a length with an article', () => criterion`All are well within a minute`],
    ['a limit of one', () => criterion`Each runs on at most one process`],
    ['a limit that is no bound', () => criterion`It costs at most ${setUp(10)} calls`],
    ['a sign of a limit', () => criterion`It is answered with p of ≤ ${setUp(3_000, 'ms')}`],
    ['a number after what is judged', () => criterion`It takes ${within(1_000)}, and 3 calls`],
  ])('hold no number: %s', (_what, make) => {
    expect(make).toThrow(RangeError)
  })

  test.each([
    ['a rate', () => criterion`A storm of ${setUp(1_000)} a second`, 'A storm of 1000 a second'],
    [
      'a window',
      () => criterion`It costs ${atMost(10)} calls in any hour`,
      'It costs at most 10 calls in any hour',
    ],
    ['one of a kind', () => criterion`No one writes, and one line tells of it`, null],
    ['a turn', () => criterion`The second look finds it, once`, null],
    [
      'a name',
      () => criterion`Webhooks get ${named(503)}, never ${named('4xx')}`,
      'Webhooks get 503, never 4xx',
    ],
    ['code', () => criterion`\`error_count\` is reset to ${exactly(0)}`, '`error_count` is reset to 0'],
  ])('may hold %s', (_what, make, text) => {
    expect(make().bounds.every(({ limit }) => Number.isFinite(limit))).toBe(true)
    if (text !== null) expect(make().text).toBe(text)
  })

  test('name the bound that they hold, and only that', () => {
    const calls = atMost(6)
    expect(criterion`${setUp(12)} series cost ${calls} calls, ${named(429)} or not`.bounds).toEqual([calls])
  })
})

describe('a bound', () => {
  test.each<readonly [Bound, string, number, number]>([
    [atMost(10), 'at most 10', 10, 11],
    [atMost(3_000, 'ms', '≤'), '≤ 3 s', 3_000, 3_000.1],
    [atMost(1.2, 'times'), 'at most 1.2 times', 1.2, 1.21],
    [atMost(2, 'times'), 'at most twice', 2, 2.01],
    [atMost(1 / 5, 'share'), 'at most a fifth', 6 / 30, 7 / 30],
    [moreThan(0.3, 'share'), 'more than 30 %', 0.31, 0.3],
    [moreThan(0, undefined, '>'), '> 0', 1, 0],
    [within(4_500), 'within 4.5 s', 4_500, 4_501],
    [within(65 * 60_000), 'within 65 min', 65 * 60_000, 65 * 60_000 + 1],
    [within(4 * 3_600_000), 'within 4 h', 0, Infinity],
    [below(256, 'MB'), 'below 256 MB', 255.9, 256],
    [below(60, undefined, 'fewer than'), 'fewer than 60', 59, 60],
    [atLeast(10), 'at least 10', 10, 9],
    [exactly(0), '0', 0, 1],
  ])('%#: tells the limit that it judges by', (bound, text, good, bad) => {
    expect(bound.text).toBe(text)
    expect(bound.judge(good, 'seen')).toMatchObject({ ok: true, evidence: 'seen', judged: [bound] })
    expect(bound.judge(bad, 'seen').ok).toBe(false)
    expect(bound.judge(Number.NaN, 'nothing').ok).toBe(false)
  })

  test('has a limit', () => {
    expect(() => atMost(Number.NaN)).toThrow(RangeError)
    expect(() => within(Infinity)).toThrow(RangeError)
  })
})

test('what could be a limit names nothing', () => {
  for (const name of [5, 99, 600, 404.5, '10', 'at most 10', 'a fifth', ''])
    expect(() => named(name), String(name)).toThrow(RangeError)
  expect([named(204), named('P2'), percentile(0.99), setUp(3_600_000, 'ms')].map(({ text }) => text)).toEqual(
    ['204', 'P2', 'p99', '60 min'],
  )
})

describe('a finding', () => {
  test('of several is met when all are, and was judged by what each was judged by', () => {
    const calls = atMost(10)
    const all = allOf(met(true, 'a'), calls.judge(3, 'b'), calls.judge(11, 'c'))
    expect(all).toMatchObject({ ok: false, evidence: 'a; b; c', judged: [calls] })
  })

  test('of nothing is not met', () => {
    expect(each([], () => met(true, 'fine')).ok).toBe(false)
    expect(each([1, 2], (n) => met(n > 0, String(n)))).toMatchObject({ ok: true, evidence: '1; 2' })
  })

  test('is no better for a note, which is told beside the evidence', () => {
    const found = allOf(noted(met(false, 'a'), 'rest 3 ms'), met(true, 'b'))
    expect(found.ok).toBe(false)
    expect(toldOf(found)).toBe('a; b; rest 3 ms')
  })
})

describe('a drill', () => {
  const CALLS = atMost(10)
  const claims = { 'X.1': criterion`It costs ${CALLS} calls`, 'X.2': criterion`Nothing is lost` }
  const [some] = chosenDrills(['LISTS'], 'ci')
  const judged = (criteria: Readonly<Record<string, Finding>>) =>
    judgeAll(
      { ...some!, criteria: claims, without: { I4: 'this history has no outbox' } },
      {
        judge: () => ({ criteria, witnesses: [] }),
        failure: null,
        after: null,
        ledgers: goodLedgers(),
      },
    )

  test('passes when each bound was judged', () => {
    const { verdict, reasons } = judged({ 'X.1': CALLS.judge(10, 'ten'), 'X.2': met(true, 'none') })
    expect(reasons).toEqual([])
    expect(verdict).toBe('PASS')
  })

  test('is INVALID when nobody judged a bound of its text', () => {
    const { verdict, reasons, criteria } = judged({ 'X.1': met(true, 'few'), 'X.2': met(true, 'none') })
    expect(verdict).toBe('INVALID')
    expect(reasons).toEqual(['X.1 "It costs at most 10 calls": nothing judged "at most 10"'])
    expect(criteria.get('X.1')).toEqual({ verdict: 'INVALID', evidence: 'few' })
  })

  test('is INVALID when it was judged by a limit of which its text tells nothing, also an equal one', () => {
    const other = atMost(10)
    const findings = { 'X.1': allOf(CALLS.judge(1, 'one'), other.judge(1, 'one')), 'X.2': met(true, 'none') }
    expect(judged(findings).verdict).toBe('INVALID')
    expect(mismatches({ criteria: claims }, { criteria: findings })).toEqual([
      'X.1 "It costs at most 10 calls": it was judged by "at most 10", which its text does not tell',
    ])
  })

  test('is a FAIL all the same when what was found is wrong', () => {
    expect(judged({ 'X.1': met(false, 'many'), 'X.2': met(true, 'none') }).verdict).toBe('FAIL')
  })
})

describe('the catalogue', () => {
  const all = allDrills().flatMap(({ criteria }) => Object.entries(criteria))
  const texts = new Map(all.map(([id, { text }]) => [id, text]))

  test('has each criterion once', () => {
    expect(all.length).toBeGreaterThan(150)
    expect(texts.size).toBe(all.length)
  })

  test('keeps the words of the seeds where they tell numbers', () => {
    const seeds = ['GD-2.b', 'GD-2.c', 'GD-3.a', 'GD-4.c', 'OUT-1.r3'].map((id) => texts.get(id))
    expect(seeds).toEqual([
      'New sync operations rejected (403)',
      'Webhooks for connection rejected (403)',
      'All calendar endpoints return 403',
      'Backoff activated: `error_count` > 0, `last_error` contains error details, `backoff_until` set',
      'Recovery: `error_count` reset to 0',
    ])
  })
})
