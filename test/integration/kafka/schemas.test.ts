// Our schemas against the real registry: registered once, held to BACKWARD_TRANSITIVE, refused when
// they would not read what is on the topics; and the real broker's topics likewise.
import { Kafka, logLevel } from 'kafkajs'
import { beforeAll, describe, expect, test } from 'vitest'
import { TOPIC_SCHEMAS, TOPICS } from '#schemas/topics.ts'
import { openCodec, schemaOf } from '#shared/kafka/codec.ts'
import { applySchemas, applySubject, verifySchemas } from '#shared/kafka/schemas.ts'
import { applyTopics, verifyTopics } from '#shared/kafka/topics.ts'
import { eventually } from '../../support/eventually.ts'
import { silent } from '../../support/recording-consumer.ts'
import { freshPrefix, testStack } from '../../support/stack.ts'

const TOPIC = 'calendar.sync.requested.google.v1'
const signal = (): AbortSignal => AbortSignal.timeout(60_000)

interface RecordSchema {
  fields: { name: string; type: unknown; default?: unknown }[]
}

/** SyncRequested after an edit. */
function edited(edit: (schema: RecordSchema) => void): string {
  const schema: RecordSchema = JSON.parse(JSON.stringify(schemaOf(TOPIC)))
  edit(schema)
  return JSON.stringify(schema)
}

describe('schemas', () => {
  const prefix = freshPrefix()
  let config: { registryUrl: string; prefix: string }
  beforeAll(() => {
    config = { registryUrl: testStack().registryUrl, prefix }
  })

  test('are missing at first, then registered, then unchanged', async () => {
    const before = await verifySchemas(config, signal())
    expect(before.problems).toHaveLength(Object.keys(TOPIC_SCHEMAS).length)
    expect(before.problems[0]).toContain('calstream schemas apply')

    const first = await applySchemas(config, signal())
    expect(first.problems).toEqual([])
    expect(new Set(first.subjects.map(({ state }) => state))).toEqual(new Set(['registered']))

    const second = await applySchemas(config, signal())
    expect(new Set(second.subjects.map(({ state }) => state))).toEqual(new Set(['unchanged']))
    expect(second.subjects.map(({ id }) => id)).toEqual(first.subjects.map(({ id }) => id))
    expect(await verifySchemas(config, signal())).toMatchObject({ problems: [] })
  })

  test('give a codec its ids, and none without them', async () => {
    const topics = [TOPIC] as const
    const codec = await openCodec({ ...config, topics }, signal())
    const report = await verifySchemas(config, signal())
    const id = report.subjects.find(({ subject }) => subject === `${prefix}${TOPIC}-value`)?.id
    const message = {
      connectionId: 'c',
      providerId: 'p',
      vendor: 'google',
      reason: 'api',
      calendarId: null,
      deliveryKey: null,
      asOf: null,
      requestedAt: 1,
    } as const
    const value = codec.encode(TOPIC, message)
    expect(value.readUInt32BE(1)).toBe(id)
    expect(await codec.decode(TOPIC, value)).toEqual({ kind: 'message', message })
    await expect(openCodec({ ...config, prefix: `${prefix}other-`, topics }, signal())).rejects.toMatchObject(
      {
        code: 'registry/unavailable',
        message: expect.stringContaining('calstream schemas apply'),
      },
    )
    // An id that the real registry does not know is poison, not trouble.
    const unknown = Buffer.from(value)
    unknown.writeUInt32BE(2_000_000_000, 1)
    expect(await codec.decode(TOPIC, unknown)).toMatchObject({ kind: 'unreadable' })
  })

  test('a level that somebody lowered is found, and set again', async () => {
    const subject = `${prefix}${TOPIC}-value`
    const answer = await fetch(`${config.registryUrl}/config/${subject}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
      body: JSON.stringify({ compatibility: 'NONE' }),
    })
    expect(answer.ok).toBe(true)
    const { problems } = await verifySchemas(config, signal())
    expect(problems).toEqual([expect.stringContaining(`${subject}: its compatibility level is NONE`)])
    expect((await applySchemas(config, signal())).problems).toEqual([])
    expect((await verifySchemas(config, signal())).problems).toEqual([])
  })

  test('a further field with a default is accepted; one without, another type, and one that only the newest version has are refused', async () => {
    const subject = `${prefix}${TOPIC}-value`
    const apply = (schema: string) =>
      applySubject({ url: config.registryUrl, signal: signal() }, { subject, schema })
    const accepted = await apply(
      edited((schema) => schema.fields.push({ name: 'added', type: ['null', 'string'], default: null })),
    )
    expect(accepted).toMatchObject({ subject: { state: 'registered' }, problem: null })

    const refusals: readonly (readonly [string, string])[] = [
      ['no default', edited((schema) => schema.fields.push({ name: 'must', type: 'string' }))],
      [
        'another type',
        edited((schema) => {
          const field = schema.fields.find(({ name }) => name === 'requestedAt')
          if (field) field.type = 'string'
        }),
      ],
      // Reads the newest version, which has `added`, but not our first, which lacks it.
      ['transitive', edited((schema) => schema.fields.push({ name: 'added', type: ['null', 'string'] }))],
    ]
    for (const [what, schema] of refusals) {
      const refused = await apply(schema)
      expect(refused.subject, what).toEqual({ subject, state: 'refused', id: null })
      expect(refused.problem, what).toMatch(/cannot read all records.*schemas\/README\.md/s)
    }
    // The subject is as it was: ours is still there.
    expect((await verifySchemas(config, signal())).problems).toEqual([])
  })
})

describe('topics', () => {
  const prefix = freshPrefix()

  test('are missing at first, then created, then unchanged, with the settings of the file', async () => {
    const config = { brokers: [testStack().brokers], prefix, clientId: 'test', partitions: 4 }
    const before = await verifyTopics(config, silent())
    expect(before.problems).toHaveLength(Object.keys(TOPICS).length)

    const first = await applyTopics(config, silent())
    expect(first.problems).toEqual([])
    expect(new Set(first.topics.map(({ state }) => state))).toEqual(new Set(['created']))
    const second = await applyTopics(config, silent())
    expect(second.problems).toEqual([])
    expect(new Set(second.topics.map(({ state }) => state))).toEqual(new Set(['unchanged']))

    // The installation's own counts are not what is there: said, and not changed.
    const { problems } = await applyTopics({ ...config, partitions: undefined }, silent())
    expect(problems).toHaveLength(Object.keys(TOPICS).length)
    expect(problems[0]).toMatch(/4 partitions instead of 24/)
  })

  test('a policy that somebody changed is found', async () => {
    const config = { brokers: [testStack().brokers], prefix, clientId: 'test', partitions: 4 }
    const admin = new Kafka({ brokers: config.brokers, logLevel: logLevel.NOTHING }).admin()
    await admin.connect()
    await admin.alterConfigs({
      validateOnly: false,
      resources: [
        {
          type: 2,
          name: `${prefix}${TOPICS.eventState}`,
          configEntries: [{ name: 'cleanup.policy', value: 'delete' }],
        },
      ],
    })
    await admin.disconnect()
    // The broker answers with the new policy a moment after the controller took it.
    await eventually('the changed policy is reported', async () => {
      const { problems } = await verifyTopics(config, silent())
      return problems.some((problem) => problem.includes('cleanup.policy=delete instead of compact'))
    })
  })

  test('two that apply at once do not disturb each other', async () => {
    const config = { brokers: [testStack().brokers], prefix: freshPrefix(), clientId: 'test', partitions: 4 }
    const reports = await Promise.all([applyTopics(config, silent()), applyTopics(config, silent())])
    for (const { problems } of reports) expect(problems).toEqual([])
  })
})
