import { describe, expect, test } from 'vitest'
import { TOPICS } from '#schemas/topics.ts'
import { messageBytesMax, planTopics, type TopicFound, topicProblems, untold } from '#shared/kafka/topics.ts'

function found(change: Partial<TopicFound> = {}, brokers = 1): TopicFound {
  const [plan] = planTopics({ prefix: '' }, brokers)
  if (!plan) throw new Error('no topics')
  return {
    partitions: plan.partitions,
    replication: plan.replication,
    config: new Map(Object.entries(plan.config)),
    told: new Set(Object.keys(plan.config)),
    ...change,
  }
}

function problems(topic: TopicFound, brokers = 1): readonly string[] {
  const [plan] = planTopics({ prefix: '' }, brokers)
  return plan ? topicProblems(plan, topic) : []
}

describe('planTopics', () => {
  test('plans every topic with its prefix and the partitions of the file', () => {
    const plans = planTopics({ prefix: 'p-' }, 1)
    expect(plans.map(({ name }) => name).toSorted()).toEqual(
      Object.values(TOPICS)
        .map((name) => `p-${name}`)
        .toSorted(),
    )
    expect(plans.find(({ name }) => name === `p-${TOPICS.deadLetter}`)?.partitions).toBe(6)
    expect(plans.find(({ name }) => name === `p-${TOPICS.eventState}`)?.config['cleanup.policy']).toBe(
      'compact',
    )
  })

  test('replaces all partition counts when told so', () => {
    expect(new Set(planTopics({ prefix: '', partitions: 4 }, 1).map(({ partitions }) => partitions))).toEqual(
      new Set([4]),
    )
  })

  test('survives the loss of a broker from three brokers on', () => {
    for (const { replication, config } of planTopics({ prefix: '' }, 3)) {
      expect(replication).toBe(3)
      expect(config).toMatchObject({ 'min.insync.replicas': '2', 'unclean.leader.election.enable': 'false' })
    }
    for (const { replication, config } of planTopics({ prefix: '' }, 2)) {
      expect(replication).toBe(1)
      expect(config).not.toHaveProperty('min.insync.replicas')
    }
  })
})

describe('topicProblems', () => {
  test('finds nothing wrong with a topic as planned', () => {
    expect(problems(found())).toEqual([])
    expect(problems(found({}, 3), 3)).toEqual([])
  })

  test('says what to do about a wrong partition count, too few replicas and a wrong policy', () => {
    expect(problems(found({ partitions: 12 }))).toEqual([
      expect.stringMatching(/12 partitions instead of 24.*delete it/s),
    ])
    expect(problems(found({ replication: 1 }, 3), 3)).toEqual([
      expect.stringContaining('1 replica(s) instead of 3'),
    ])
    const config = new Map([...found().config, ['cleanup.policy', 'compact']])
    expect(problems(found({ config }))).toEqual([
      expect.stringMatching(/cleanup\.policy=compact instead of delete.*kafka-configs\.sh/s),
    ])
  })
})

describe('what a topic is told', () => {
  const [plan] = planTopics({ prefix: '' }, 3)
  const without = (key: string) => new Set([...found({}, 3).told].filter((name) => name !== key))
  const config = new Map([...found({}, 3).config, ['retention.ms', '1'], ['min.insync.replicas', '1']])

  test('is what it was never told and has otherwise by the broker', () => {
    expect(untold(plan!, found({ config, told: without('retention.ms') }, 3))).toEqual({
      'retention.ms': plan!.config['retention.ms'],
    })
  })

  test('is nothing that an operator told it, nor what the broker has as it must be', () => {
    expect(untold(plan!, found({ config }, 3))).toEqual({})
    expect(untold(plan!, found({ told: new Set() }, 3))).toEqual({})
  })

  test('is no number of replicas in step that it does not have', () => {
    const told = without('min.insync.replicas')
    expect(untold(plan!, found({ config, told, replication: 1 }, 3))).toEqual({})
    expect(untold(plan!, found({ config, told, replication: 3 }, 3))).toEqual({ 'min.insync.replicas': '2' })
  })
})

describe('how long a title stays on a topic after its event is removed', () => {
  const configOf = (topic: string) =>
    planTopics({ prefix: '' }, 1).find(({ name }) => name === topic)?.config ?? {}
  const DAY_MS = 86_400_000

  test('is bounded by days: changes are kept for 7 and cut by the day, states are cleaned after one', () => {
    const changed = configOf(TOPICS.eventChanged)
    expect(Number(changed['retention.ms']) + Number(changed['segment.ms'])).toBe(8 * DAY_MS)
    const state = configOf(TOPICS.eventState)
    expect(Number(state['max.compaction.lag.ms'])).toBe(DAY_MS)
    // A reader that was away for a week still sees the tombstone.
    expect(Number(state['delete.retention.ms'])).toBe(7 * DAY_MS)
  })
})

test('messageBytesMax knows the larger limit of the dead letters', () => {
  expect(messageBytesMax(TOPICS.deadLetter)).toBeGreaterThan(messageBytesMax(TOPICS.eventChanged))
  expect(messageBytesMax('unheard.of.v1')).toBe(1_048_588)
})
