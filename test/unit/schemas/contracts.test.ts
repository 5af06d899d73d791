// The contracts agree with each other:
// Avro files, generated types, topic table, broker settings and AsyncAPI.
import avro from 'avsc'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { messageTypes } from '#schemas/message-types.ts'
import { TOPIC_SCHEMAS, TOPICS } from '#schemas/topics.ts'

const ROOT = new URL('../../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8')

interface AsyncApi {
  readonly asyncapi: string
  readonly channels: Record<
    string,
    {
      readonly address: string
      readonly messages: Record<string, { readonly $ref: string }>
      readonly bindings: {
        readonly kafka: { readonly partitions: number; readonly topicConfiguration: Record<string, unknown> }
      }
    }
  >
  readonly operations: Record<
    string,
    { readonly action: string; readonly channel: { readonly $ref: string } }
  >
  readonly components: {
    readonly messages: Record<string, { readonly payload?: { readonly schema: { readonly $ref: string } } }>
  }
}

const asyncApi: AsyncApi = parse(read('schemas/asyncapi.yaml'))
const topicsFile: {
  readonly topics: readonly { name: string; partitions: number; config: Record<string, string> }[]
} = JSON.parse(read('schemas/topics.json'))

function avroFiles(): readonly string[] {
  return readdirSync(new URL('schemas/messages/', ROOT))
    .filter((name) => name.endsWith('.avsc'))
    .toSorted()
}

function typesOf(files: readonly string[]): string {
  return messageTypes(files.map((name) => JSON.parse(read(`schemas/messages/${name}`)) as unknown))
}

describe('messages.gen.ts', () => {
  test('is what the Avro files give (else run `npm run gen`)', () => {
    expect(read('schemas/messages.gen.ts')).toBe(typesOf(avroFiles()))
  })

  test('changes with a field of an Avro file', () => {
    const schema = JSON.parse(read('schemas/messages/sync-requested.v1.avsc'))
    schema.fields.push({ name: 'planted', type: ['null', 'long'], default: null })
    expect(messageTypes([schema])).toContain('  planted: number | null\n')
  })

  test('cannot be made of two different types with one name', () => {
    const one = { type: 'enum', name: 'Vendor', symbols: ['unknown', 'google'] }
    expect(() => messageTypes([one, { ...one, symbols: ['unknown'] }])).toThrow('Vendor is defined in two')
    expect(() => messageTypes([one, one])).not.toThrow()
  })
})

describe('the Avro files', () => {
  test.each(avroFiles())('%s gives every enum the default unknown', (name) => {
    const enums: { name: string; default?: string }[] = []
    JSON.parse(read(`schemas/messages/${name}`), (_key, value) => {
      if (value?.type === 'enum') enums.push(value)
      return value
    })
    expect(enums.length).toBeGreaterThan(0)
    expect(enums.filter((item) => item.default !== 'unknown')).toEqual([])
  })

  test('are exactly those that topics name', () => {
    const named = new Set(Object.values(TOPIC_SCHEMAS).map((name) => `${name}.avsc`))
    expect([...named].toSorted()).toEqual(avroFiles())
  })
})

describe('asyncapi.yaml', () => {
  test('is AsyncAPI 3.1 and has a channel for each topic and no other', () => {
    expect(asyncApi.asyncapi).toBe('3.1.0')
    const addresses = Object.entries(asyncApi.channels).map(([name, { address }]) => [name, address])
    expect(Object.fromEntries(addresses)).toEqual(TOPICS)
  })

  test('names for each topic the schema that topics.ts names', () => {
    const schemas = Object.values(asyncApi.channels).flatMap(({ address, messages }) =>
      Object.values(messages).flatMap(({ $ref }) => {
        const message = asyncApi.components.messages[$ref.replace('#/components/messages/', '')]
        expect(message, $ref).toBeDefined()
        const file = message?.payload?.schema.$ref.replace('./messages/', '').replace('.avsc', '')
        return file === undefined ? [] : [[address, file]]
      }),
    )
    expect(Object.fromEntries(schemas)).toEqual(TOPIC_SCHEMAS)
  })

  test('has the partitions and policies of topics.json', () => {
    const documented = Object.values(asyncApi.channels).map(({ address, bindings }) => ({
      name: address,
      partitions: bindings.kafka.partitions,
      policy: bindings.kafka.topicConfiguration['cleanup.policy'],
      retention: bindings.kafka.topicConfiguration['retention.ms'],
    }))
    expect(documented).toEqual(
      topicsFile.topics.map(({ name, partitions, config }) => ({
        name,
        partitions,
        policy: [config['cleanup.policy']],
        retention: config['retention.ms'] === undefined ? undefined : Number(config['retention.ms']),
      })),
    )
  })

  test('has operations on channels that exist only', () => {
    const channels = Object.values(asyncApi.operations).map(({ channel }) =>
      channel.$ref.replace('#/channels/', ''),
    )
    expect([...new Set(channels)].toSorted()).toEqual(Object.keys(asyncApi.channels).toSorted())
  })
})

test('a retry record of a calendar is read by who does not know of calendars, and one of before by us', () => {
  const schema = JSON.parse(read('schemas/messages/sync-retry-scheduled.v1.avsc')) as avro.schema.RecordType
  const before = { ...schema, fields: schema.fields.filter(({ name }) => name !== 'calendarId') }
  expect(before.fields).toHaveLength(schema.fields.length - 1)
  const [ours, theirs] = [avro.Type.forSchema(schema), avro.Type.forSchema(before)]
  const record = {
    connectionId: 'c',
    providerId: 'p',
    vendor: 'google',
    epoch: 1,
    attempt: 2,
    dueAt: 3,
    reason: 'retry',
    code: null,
    requestedAt: 4,
  }
  const told = theirs.fromBuffer(ours.toBuffer({ ...record, calendarId: 'k' }), theirs.createResolver(ours))
  expect(JSON.parse(JSON.stringify(told))).toEqual(record)
  const heard = ours.fromBuffer(theirs.toBuffer(record), ours.createResolver(theirs))
  expect(JSON.parse(JSON.stringify(heard))).toEqual({ ...record, calendarId: null })
})

test('topics.json and topics.ts name the same topics', () => {
  expect(topicsFile.topics.map(({ name }) => name).toSorted()).toEqual(Object.values(TOPICS).toSorted())
})
