// How each service is told: every way in which a process can be gone, late or without a part of its
// work, beside the same installation when it is well.
import { describe, expect, test } from 'vitest'
import { SERVICES, type ServiceName, WORKING_SERVICES } from '../../../services/cli/config.ts'
import type { ServiceLook } from '../../../services/cli/look-at-services.ts'
import { type Beats, serviceStates } from '../../../services/cli/service-report.ts'
import { beatsOf, NOW, process } from '../../support/beats.ts'
import { REQUESTED_TOPIC } from '#schemas/topics.ts'

const MINUTE = 60_000_000
const lookAt = (name: ServiceName, state: ServiceLook['state'], problems: string[] = []): ServiceLook => {
  return { name, url: null, state, problems, vendorsLeftAlone: [], keys: [], aheadMs: null }
}
const stateOf = (name: ServiceName, beats: Beats, looks: readonly ServiceLook[] = []) =>
  serviceStates(looks, { seen: beats }).find((one) => one.name === name)
const gone = (service: string, minutesAgo: number, startedMinutesAgo = 600) =>
  process(service, { seenAt: NOW - minutesAgo * MINUTE, startedAt: NOW - startedMinutesAgo * MINUTE })
const begun = (service: string, minutesAgo: number) =>
  process(service, { startedAt: NOW - minutesAgo * MINUTE })

test('an installation whose processes all tell that they live is well, without any address (control)', () => {
  const states = serviceStates([], { seen: beatsOf() })
  expect(states.map(({ name, state }) => [name, state])).toEqual(SERVICES.map((name) => [name, 'ready']))
  expect(states[1]?.found).toBe('ready: 1 process of 1.2.3, last work 2 s ago (2027-01-15T07:59:58.000Z)')
})

describe('a service', () => {
  test('is not missed where it is the console and was never there', () => {
    expect(stateOf('console', beatsOf({ console: [] }))).toBeUndefined()
  })

  test.each(WORKING_SERVICES)('%s of which nothing was ever heard is silent', (name) => {
    const state = stateOf(name, beatsOf({ [name]: [] }))
    expect(state).toMatchObject({ state: 'silent', do: expect.stringContaining(`restart ${name}`) as string })
    expect(state?.found).toMatch(/^no process of it lives: none has said so within a day; /)
  })

  test.each(SERVICES)('%s whose only process froze or was killed is silent since then', (name) => {
    const state = stateOf(name, beatsOf({ [name]: [gone(name, 3)] }))
    expect(state?.state).toBe('silent')
    expect(state?.found).toContain('the last one said so 3 min ago (2027-01-15T07:57:00.000Z)')
  })

  test('that lost a process is short of it until another one has begun', () => {
    const others = [process('sync'), process('sync')]
    const short = stateOf('sync', beatsOf({ sync: [gone('sync', 3), ...others] }))
    expect(short?.state).toBe('short')
    expect(short?.found).toMatch(/^1 process of it froze .*3 min ago .*\(here 7\); 2 others live$/)
    expect(stateOf('sync', beatsOf({ sync: [gone('sync', 3), ...others, begun('sync', 2)] }))?.state).toBe(
      'ready',
    )
    // One successor takes one place.
    expect(
      stateOf('sync', beatsOf({ sync: [gone('sync', 3), gone('sync', 4), begun('sync', 2)] }))?.state,
    ).toBe('short')
  })

  test('whose processes keep ending is told of, also while the latest lives', () => {
    const ends = (...minutes: number[]) => minutes.map((at) => gone('relay', at, at + 1))
    const told = stateOf('relay', beatsOf({ relay: [...ends(9, 5), begun('relay', 1)] }))
    expect(told?.state).toBe('restarting')
    expect(told?.found).toMatch(/^2 processes of it ended/)
    // One that ended alone, or long ago, was healed by its successor.
    for (const minutes of [[5], [40, 20]])
      expect(stateOf('relay', beatsOf({ relay: [...ends(...minutes), begun('relay', 1)] }))?.state).toBe(
        'ready',
      )
  })

  test('that lives and lacks something is not ready, in its own words or in those of its port', () => {
    const lacking = process('retry', { isReady: false, problems: { kafka: 'It is away.' } })
    expect(stateOf('retry', beatsOf({ retry: [lacking] }))?.found).toBe('not ready: kafka: It is away')
    const look = lookAt('retry', 'not ready', ['kafka: no answer'])
    expect(stateOf('retry', beatsOf({ retry: [lacking] }), [look])?.found).toBe('not ready: kafka: no answer')
  })

  test('that answers and does not tell in Postgres that it lives is not called well', () => {
    const state = stateOf('sync', beatsOf({ sync: [] }), [lookAt('sync', 'ready')])
    expect(state?.found).toMatch(/^answers at its admin port, but does not tell/)
  })

  test('of which an address that is named does not answer is silent, though a process lives', () => {
    const look = lookAt('sync', 'silent', ['no answer within 2.8 s at sync:9464'])
    expect(stateOf('sync', beatsOf(), [look])?.found).toMatch(/^does not answer: no answer within/)
  })
})

describe('a part of the work without an owner', () => {
  const topic = REQUESTED_TOPIC.google

  test('is named: partitions that no living process has', () => {
    const own = process('sync')
    const half = { partitions: own.facts.partitions.filter(({ partition }) => partition !== 1) }
    const state = stateOf('sync', beatsOf({ sync: [process('sync', { facts: half })] }))
    expect(state).toMatchObject({ state: 'partly' })
    expect(state?.found).toBe(`no process reads 1 partition of ${topic}: 1`)
    // What a lost process had counts for nothing.
    const sync = [process('sync', { facts: half }), gone('sync', 1), begun('sync', 0.5)]
    sync[2] = { ...sync[2]!, facts: { ...sync[2]!.facts, partitions: [] } }
    expect(stateOf('sync', beatsOf({ sync }))?.state).toBe('partly')
    const rest = { partitions: own.facts.partitions.filter(({ partition }) => partition === 1) }
    const both = [process('sync', { facts: half }), process('sync', { facts: rest })]
    expect(stateOf('sync', beatsOf({ sync: both }))?.state).toBe('ready')
  })

  test('is named: shards that no relay holds', () => {
    const unrelayed = [3, 4, 5, 6, 7, 8].map((shard) => ({ shard, since: NOW - 30_000_000 }))
    const state = stateOf('relay', beatsOf({}, unrelayed))
    expect(state?.found).toMatch(
      /^6 shards of the outbox have no relay since 30 s ago .*: 3, 4, 5, 6, 7 and 1 more$/,
    )
  })

  test('is named: a record before which all others stand, once it is no hiccup', () => {
    const blocked = (since: number) => [
      { topic, partition: 2, offset: '41', since, problem: 'The topic takes no record.' },
    ]
    const at = (since: number) =>
      stateOf('sync', beatsOf({ sync: [process('sync', { facts: { blocked: blocked(since) } })] }))
    expect(at(NOW - 5_000_000)?.state).toBe('ready')
    expect(at(NOW - 60_000_000)?.found).toMatch(
      new RegExp(`^the record ${topic}/2/41 cannot be taken since 60 s ago .*: The topic takes no record$`),
    )
  })
})

test('where Postgres tells nothing, ports are all there is, and one without an address is not well', () => {
  const looks = [lookAt('sync', 'ready'), lookAt('relay', 'unknown', ['its place is not known'])]
  const states = serviceStates(looks, { problem: 'no answer' })
  expect(states.map(({ name, state }) => [name, state])).toEqual([
    ['ingress', 'unknown'],
    ['sync', 'ready'],
    ['retry', 'unknown'],
    ['relay', 'unknown'],
    ['scheduler', 'unknown'],
  ])
})
