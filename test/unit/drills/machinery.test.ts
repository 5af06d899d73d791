// The machinery of the drills where it is pure:
// schedules, slopes, the fault catalogue, mutants, pages.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { STEPS } from '#shared/process/step.ts'
import { crashAtSetting } from '#shared/process/settings.ts'
import { allDrills, chosenDrills } from '../../drills/catalogue/all.ts'
import { FAULT_CATALOGUE } from '../../drills/catalogue/faults.ts'
import { chaosSchedule, NEMESIS, NEMESIS_GROUPS, type NemesisGroup } from '../../drills/chaos/schedule.ts'
import { residentSlope, slopePerHour, soakGrowth } from '../../drills/chaos/slopes.ts'
import { INVARIANTS } from '../../drills/checkers/invariants.ts'
import { mostWithin } from '../../drills/ledgers/calls.ts'
import { parseMetrics } from '../../drills/ledgers/observe.ts'
import { MUTANTS } from '../../drills/mutants/list.ts'
import { indexPage } from '../../drills/report/pages.ts'
import { catalogueLines } from '../../drills/report/write.ts'
import { reasonsOf } from '../../drills/run-drill.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')

describe('the chaos schedule', () => {
  test('is the same for the same seed and another one for another seed', () => {
    expect(chaosSchedule(7, 600_000)).toEqual(chaosSchedule(7, 600_000))
    expect(chaosSchedule(8, 600_000)).not.toEqual(chaosSchedule(7, 600_000))
  })

  test('takes two or three faults of different groups at a time and leaves the end free', () => {
    const faults = chaosSchedule(1, 600_000)
    expect(faults.length).toBeGreaterThan(100)
    expect(Math.max(...faults.map(({ at }) => at))).toBeLessThan(600_000 * 0.9 + 13_500)
    const used = new Set(faults.map(({ action }) => action))
    for (const actions of Object.values(NEMESIS))
      expect(actions.some((action) => used.has(action))).toBe(true)
  })

  test('of a soak kills and freezes no process', () => {
    const processes: readonly string[] = NEMESIS.process
    const hits = (groups?: readonly NemesisGroup[]) =>
      chaosSchedule(1, 600_000, groups).filter(({ action }) => processes.includes(action))
    expect(hits(NEMESIS_GROUPS.filter((group) => group !== 'process'))).toEqual([])
    expect(hits().length).toBeGreaterThan(30)
  })
})

describe('slopes', () => {
  test('say how much something grows per hour', () => {
    expect(
      slopePerHour([
        [0, 10],
        [1_800_000, 11],
        [3_600_000, 12],
      ]),
    ).toBeCloseTo(2)
    expect(
      slopePerHour([
        [0, 10],
        [3_600_000, 10],
      ]),
    ).toBe(0)
    expect(slopePerHour([[0, 10]])).toBe(0)
  })
})

describe('what grows in a soak', () => {
  const MINUTE_MS = 60_000
  const [restedAt, endedAt] = [MINUTE_MS, 41 * MINUTE_MS]
  const live = (mb: number) => [{ instance: 'sync-1', pid: 7, mb }]

  /** A look each second: rest, faults under which everything swings, rest. */
  function soak({
    look = () => ({ rssMb: 150, descriptors: 40 }),
    leftSessions = 0,
    liveAfter = 60,
  }: {
    look?: (share: number, resting: boolean) => { rssMb: number; descriptors: number }
    leftSessions?: number
    liveAfter?: number
  }) {
    const times = Array.from({ length: endedAt / 1_000 }, (_, second) => (second + 1) * 1_000)
    const isResting = (at: number) => at <= restedAt || at > endedAt - MINUTE_MS
    const samples = times.map((at) => ({
      at,
      instance: 'sync-1',
      pid: 7,
      ...look(at / endedAt, isResting(at)),
    }))
    const load = times.map((at) => {
      const sessions = 10 + (at > endedAt - MINUTE_MS ? leftSessions : 0)
      return { at, outbox: 0, held: 0, dirty: 0, sessions }
    })
    return soakGrowth(
      { samples, load },
      { at: restedAt, live: live(58) },
      { at: endedAt, live: live(liveAfter) },
    )
  }
  const leaks = (figures: ReturnType<typeof soakGrowth>) =>
    figures.filter(({ bound, grown, name }) => !bound.judge(grown, name).ok).map(({ name }) => name)

  test('is nothing when descriptors swing with the faults and resident memory goes in steps', () => {
    const figures = soak({
      look: (share, resting) => ({
        rssMb: share < 0.9 ? 200 : 250,
        descriptors: resting ? 40 : 20 + Math.round(60 * Math.abs(Math.sin(share * 300))),
      }),
    })
    expect(figures).toHaveLength(4)
    expect(leaks(figures)).toEqual([])
  })

  test('is found: live memory, descriptors and sessions by what is left at rest', () => {
    expect(leaks(soak({ liveAfter: 74 }))).toEqual(['sync-1 7 live MB'])
    expect(
      leaks(soak({ look: (share) => ({ rssMb: 150, descriptors: 40 + Math.round(8 * share) }) })),
    ).toEqual(['sync-1 7 descriptors'])
    expect(leaks(soak({ leftSessions: 6 }))).toEqual(['database sessions'])
  })

  test('has no figure of live memory for a process that was not asked twice', () => {
    const figures = soakGrowth(
      { samples: [{ at: 1_000, instance: 'sync-1', pid: 8, rssMb: 150, descriptors: 40 }], load: [] },
      { at: 1_000, live: live(58) },
      { at: 1_000, live: live(58) },
    )
    expect(figures.map(({ name }) => name)).toEqual(['sync-1 8 descriptors'])
  })

  test('is told of resident memory as well: the steepest rise of the second half', () => {
    const samples = Array.from({ length: 2_400 }, (_, second) => ({
      at: second * 1_000,
      instance: 'sync-1',
      pid: 7,
      rssMb: 150 + (60 * second) / 3_600,
      descriptors: 40,
    }))
    expect(residentSlope({ samples })).toBeCloseTo(60, 6)
  })
})

describe('the catalogue', () => {
  test('names 118 faults once each; each is executed by a drill or says why not', () => {
    expect(new Set(FAULT_CATALOGUE.map(({ id }) => id)).size).toBe(118)
    expect(
      catalogueLines(allDrills()).filter(({ drills, reason }) => drills.length === 0 && reason === ''),
    ).toEqual([])
  })

  test('has drills with ids of their own that claim known faults and invariants', () => {
    const drills = allDrills()
    const ids = drills.map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
    const faults = new Set(FAULT_CATALOGUE.map(({ id }) => id))
    const invariants = new Set<string>(INVARIANTS.map(({ id }) => id))
    for (const drill of drills) {
      expect(
        drill.faults.filter((id) => !faults.has(id)),
        drill.id,
      ).toEqual([])
      expect(
        drill.invariants.filter((id) => !invariants.has(id)),
        drill.id,
      ).toEqual([])
    }
  })

  test('executes at least 45 faults in the profile ci, all seed criteria among them', () => {
    const ci = chosenDrills([], 'ci')
    expect(new Set(ci.flatMap(({ faults }) => faults)).size).toBeGreaterThanOrEqual(45)
    const criteria = new Set(ci.flatMap((drill) => Object.keys(drill.criteria)))
    const seeds = [
      'GD-1.e',
      'GD-2.e',
      'GD-3.f',
      'GD-4.f',
      'GD-5.d',
      'GD-S.2',
      'OUT-1.f',
      'OUT-1.r3',
      'OUT-2.r',
      'OUT-3.r',
    ]
    expect(seeds.filter((id) => !criteria.has(id))).toEqual([])
  })

  test('refuses a drill that there is not', () => {
    expect(() => chosenDrills(['NOPE'], 'ci')).toThrow(RangeError)
  })
})

describe('mutants', () => {
  test('are at least 40, each with an id of its own and a drill that there is', () => {
    expect(new Set(MUTANTS.map(({ id }) => id)).size).toBe(MUTANTS.length)
    expect(MUTANTS.length).toBeGreaterThanOrEqual(40)
    const drills = new Set(allDrills().map(({ id }) => id))
    expect(MUTANTS.filter(({ drill }) => !drills.has(drill))).toEqual([])
  })

  test('are as many as README says', () => {
    const readme = readFileSync(path.join(ROOT, 'README.md'), 'utf8')
    expect(/--mutants +# (\d+) seeded bugs/.exec(readme)?.[1]).toBe(String(MUTANTS.length))
  })

  test.each(MUTANTS.map((mutant) => [mutant.id, mutant] as const))(
    '%s can be put into the code',
    (_id, mutant) => {
      const source = readFileSync(path.join(ROOT, mutant.file), 'utf8')
      expect(source.split(mutant.find).length - 1).toBe(1)
      expect(source.replace(mutant.find, () => mutant.replace)).not.toBe(source)
    },
  )
})

describe('crash points', () => {
  test('are at least 25 and are named as they are armed', () => {
    expect(STEPS.length).toBeGreaterThanOrEqual(25)
    for (const point of STEPS)
      expect(crashAtSetting({ CALSTREAM_CRASH_AT: point })).toEqual({ point, nth: 1, action: 'kill' })
  })

  test('may name a passage and an action, and nothing else', () => {
    expect(crashAtSetting({ CALSTREAM_CRASH_AT: 'sync.fetched:3:block' })).toEqual({
      point: 'sync.fetched',
      nth: 3,
      action: 'block',
    })
    expect(crashAtSetting({})).toBeNull()
    expect(() => crashAtSetting({ CALSTREAM_CRASH_AT: 'sync' })).toThrow('CALSTREAM_CRASH_AT')
    expect(() => crashAtSetting({ CALSTREAM_CRASH_AT: 'sync.fetched:x' })).toThrow('CALSTREAM_CRASH_AT')
  })
})

describe('pages', () => {
  test('call a verdict stale when it is older than 30 days', () => {
    const one = {
      schema: 'drill-evidence/1',
      drill: 'OUT-1',
      title: 't',
      report: 'outages',
      evidenceClass: 'executed',
      profile: 'ci',
      seed: 1,
      build: { git: 'abc', dirty: false, node: '24' },
      host: { cores: 2, kernel: 'k' },
      start: '2026-11-01T00:00:00Z',
      end: '2026-11-01T00:01:00Z',
      verdict: 'PASS',
      reasons: [],
      criteria: [],
      invariants: [],
      witnesses: [],
      timeline: [],
      numbers: {},
      faults: ['A1'],
      limits: null,
      repro: 'r',
    } as const
    const [out1] = chosenDrills(['OUT-1'], 'ci')
    const page = (day: string) =>
      indexPage({ evidence: [one], drills: [out1!], catalogue: [], now: Date.parse(day) })
    expect(page('2026-11-10T00:00:00Z')).toContain('✅ PASS')
    expect(page('2026-12-20T00:00:00Z')).toContain('STALE (PASS)')
  })

  test('name the drills that were never run', () => {
    const drills = chosenDrills(['OUT-1', 'OUT-2'], 'ci')
    const page = indexPage({ evidence: [], drills, catalogue: [], now: 0 })
    expect(page.match(/OUT-\d .*never run/g)).toHaveLength(2)
  })
})

test('reasons come with the gravest first', () => {
  const reasons = reasonsOf([
    { verdict: 'INVALID', reason: 'nothing happened' },
    { verdict: 'FAIL', reason: 'a change was lost' },
    { verdict: 'ABORTED', reason: 'stopped' },
    { verdict: 'FAIL', reason: 'another was doubled' },
  ])
  expect(reasons).toEqual(['a change was lost', 'another was doubled', 'stopped', 'nothing happened'])
})

test('the most moments within a time are found wherever that time begins', () => {
  expect(mostWithin([], 1_000)).toBe(0)
  expect(mostWithin([5_900, 100, 6_100, 6_899, 6_900], 1_000)).toBe(3)
})

test('metrics are read with their labels', () => {
  const values = parseMetrics('# HELP a b\na_total{x="1",y="2"} 3\nb 4.5\nb_bucket{le="+Inf"} 7\n')
  expect([...values]).toEqual([
    ['a_total{x="1",y="2"}', 3],
    ['b', 4.5],
    ['b_bucket{le="+Inf"}', 7],
  ])
})
