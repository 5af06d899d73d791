import { createServer, type Server } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import avro from 'avsc'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import type { EventChanged, SyncRequested } from '#schemas/messages.gen.ts'
import type { SchemaTopic } from '#schemas/topics.ts'
import { type Codec, openCodec, schemaOf, subjectOf } from '#shared/kafka/codec.ts'

const TOPIC = 'calendar.sync.requested.google.v1'
const EVENTS = 'calendar.event.changed.v1'
const PREFIX = 'unit-'

/** A registry's two read endpoints over HTTP: ids by content, schemas by id. */
class Registry {
  readonly schemas = new Map<number, unknown>()
  readonly subjects = new Map<string, number>()
  /** What a trouble looks like: an HTTP status, or an answer that never comes. */
  trouble: number | 'hang' | null = null
  lookups = 0
  readonly #server: Server

  constructor() {
    this.#server = createServer((request, response) => {
      if (this.trouble === 'hang') return
      const answer =
        this.trouble === null ? this.#answer(request.url ?? '') : { status: this.trouble, body: {} }
      response.writeHead(answer.status, { 'content-type': 'application/json' })
      response.end(JSON.stringify(answer.body))
    })
  }

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #answer(url: string): { status: number; body: unknown } {
    const id = /^\/schemas\/ids\/(\d+)$/.exec(url)
    if (id) {
      this.lookups += 1
      const schema = this.schemas.get(Number(id[1]))
      if (schema === undefined)
        return { status: 404, body: { error_code: 40403, message: 'Schema not found' } }
      return { status: 200, body: { schema: JSON.stringify(schema) } }
    }
    const subject = this.subjects.get(decodeURIComponent(url.replace('/subjects/', '')))
    if (subject === undefined)
      return { status: 404, body: { error_code: 40401, message: 'Subject not found' } }
    return { status: 200, body: { id: subject } }
  }
}

const opened: Registry[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((registry) => registry.close()))
})

async function open(
  topics: readonly SchemaTopic[] = [TOPIC, EVENTS],
): Promise<{ codec: Codec; registry: Registry }> {
  const registry = new Registry()
  opened.push(registry)
  const registryUrl = await registry.listen()
  topics.forEach((topic, index) => {
    registry.subjects.set(subjectOf(PREFIX, topic), index + 1)
    registry.schemas.set(index + 1, schemaOf(topic))
  })
  const codec = await openCodec({ registryUrl, prefix: PREFIX, topics }, AbortSignal.timeout(10_000))
  return { codec, registry }
}

const REQUEST: SyncRequested = {
  connectionId: '0197a1b2-0000-7000-8000-000000000001',
  providerId: '0197a1b2-0000-7000-8000-000000000002',
  vendor: 'google',
  reason: 'webhook',
  calendarId: null,
  deliveryKey: 'channel:42',
  asOf: null,
  requestedAt: 1_700_000_000_123_456,
}

const UPSERTED: EventChanged = {
  eventId: 'e',
  connectionId: REQUEST.connectionId,
  providerId: REQUEST.providerId,
  calendarId: 'k',
  vendor: 'google',
  vendorEventId: 'v',
  change: 'upserted',
  removalReason: null,
  sequence: 7,
  observedAt: 5,
  vendorUpdatedAt: null,
  event: {
    title: 'Check-up',
    status: 'confirmed',
    busy: false,
    allDay: false,
    start: { at: 1, date: null },
    end: { at: 2, date: null },
    timeZone: null,
    seriesId: null,
    originalStart: null,
    location: null,
    organizer: null,
    updatedAt: null,
    etag: '"1"',
    response: 'declined',
    kind: 'default',
    showAs: 'busy',
    visibility: 'private',
  },
}

/** A later version of SyncRequested, as another release of ours would write it. */
function laterSchema(): { fields: unknown[] } & Record<string, unknown> {
  const schema = JSON.parse(JSON.stringify(schemaOf(TOPIC)).replace('"held"', '"held","tomorrow"'))
  schema.fields.push({ name: 'added', type: ['null', 'string'], default: null })
  return schema
}

function written(id: number, schema: unknown, message: unknown): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(id, 1)
  return Buffer.concat([head, avro.Type.forSchema(schema as avro.Schema).toBuffer(message)])
}

describe('encode', () => {
  test('frames a value as byte 0, the id and the Avro body, to the byte', async () => {
    const { codec } = await open()
    expect(codec.encode(TOPIC, REQUEST).toString('hex')).toBe(
      '0000000001' + // magic byte and id 1
        '48' +
        Buffer.from(REQUEST.connectionId).toString('hex') + // 36 characters, zigzag 72
        '48' +
        Buffer.from(REQUEST.providerId).toString('hex') +
        '02' +
        '02' + // google, webhook
        '00' + // calendarId: the branch null
        '0214' +
        Buffer.from('channel:42').toString('hex') +
        '00' + // asOf
        '8089818283898506', // requestedAt, zigzag varint
    )
  })

  test('refuses a message that does not fit, names the field and keeps the value to itself', async () => {
    const { codec } = await open()
    const wrong = { ...REQUEST, deliveryKey: 17 as unknown as string }
    expect(() => codec.encode(TOPIC, wrong)).toThrow(
      expect.objectContaining({
        code: 'internal/defect',
        message: expect.stringMatching(/deliveryKey(?!.*17)/),
      }),
    )
  })

  test('refuses a topic for which no codec was opened', async () => {
    const { codec } = await open([TOPIC])
    expect(() => codec.encode('calendar.connection.changed.v1', {} as never)).toThrow('no codec')
  })
})

describe('decode', () => {
  test('gives back what was encoded, for any message', async () => {
    const { codec } = await open()
    await fc.assert(
      fc.asyncProperty(anyEventChanged(), async (message) => {
        const decoded = await codec.decode(EVENTS, codec.encode(EVENTS, message))
        expect(decoded).toEqual({ kind: 'message', message })
      }),
      { numRuns: 300 },
    )
  })

  test('never throws on any bytes', async () => {
    const { codec } = await open()
    const body = fc
      .uint8Array({ maxLength: 200 })
      .map((bytes) => Buffer.concat([Buffer.from([0, 0, 0, 0, 1]), bytes]))
    await fc.assert(
      fc.asyncProperty(body, async (value) => {
        expect(['message', 'unreadable']).toContain((await codec.decode(TOPIC, value)).kind)
      }),
      { numRuns: 500 },
    )
  })

  test('reads a later version: what we do not know is left out, unknown symbols become unknown', async () => {
    const { codec, registry } = await open()
    registry.schemas.set(77, laterSchema())
    const value = written(77, laterSchema(), { ...REQUEST, reason: 'tomorrow', added: 'x' })
    expect(await codec.decode(TOPIC, value)).toEqual({
      kind: 'message',
      message: { ...REQUEST, reason: 'unknown' },
    })
  })

  test('reads an unknown symbol inside a union with null', async () => {
    const { codec, registry } = await open()
    const later = JSON.parse(
      JSON.stringify(schemaOf(EVENTS)).replace('"disconnected"', '"disconnected","moved"'),
    )
    registry.schemas.set(78, later)
    const decoded = await codec.decode(EVENTS, written(78, later, { ...removed(), removalReason: 'moved' }))
    expect(decoded).toMatchObject({ kind: 'message', message: { removalReason: 'unknown' } })
  })

  test('reads an earlier version: fields added since have their default', async () => {
    const { codec, registry } = await open()
    const earlier = schemaOf(TOPIC)
    const { fields } = earlier
    registry.schemas.set(5, { ...earlier, fields: fields.filter(({ name }) => name !== 'asOf') })
    const { asOf: _dropped, ...old } = REQUEST
    const value = written(5, registry.schemas.get(5), old)
    expect(await codec.decode(TOPIC, value)).toEqual({ kind: 'message', message: REQUEST })
  })

  test('reads an event of before answers were told; a reader of before reads one of now', async () => {
    const { codec, registry } = await open()
    const added = ['response', 'kind', 'showAs', 'visibility']
    const now = schemaOf(EVENTS)
    const before: unknown = JSON.parse(JSON.stringify(now), (_key, value) =>
      value?.name === 'Event'
        ? { ...value, fields: value.fields.filter((field: { name: string }) => !added.includes(field.name)) }
        : value,
    )
    registry.schemas.set(79, before)
    const decoded = await codec.decode(EVENTS, written(79, before, UPSERTED))
    const unknown = { response: 'unknown', kind: 'unknown', showAs: 'unknown', visibility: 'unknown' }
    expect(decoded).toEqual({
      kind: 'message',
      message: { ...UPSERTED, event: { ...UPSERTED.event, ...unknown } },
    })
    const reader = avro.Type.forSchema(before as avro.Schema)
    const writer = avro.Type.forSchema(now as unknown as avro.Schema)
    const told: EventChanged = reader.fromBuffer(writer.toBuffer(UPSERTED), reader.createResolver(writer))
    expect(told.event).toMatchObject({ title: 'Check-up', busy: false, etag: '"1"' })
    for (const name of added) expect(told.event).not.toHaveProperty(name)
  })

  test('asks the registry once for a schema, however many records it wrote', async () => {
    const { codec, registry } = await open()
    registry.schemas.set(77, laterSchema())
    const value = written(77, laterSchema(), { ...REQUEST, added: null })
    await Promise.all(Array.from({ length: 50 }, () => codec.decode(TOPIC, value)))
    await codec.decode(TOPIC, value)
    expect(registry.lookups).toBe(1)
  })

  test('asks nothing for our own schema', async () => {
    const { codec, registry } = await open()
    expect(await codec.decode(TOPIC, codec.encode(TOPIC, REQUEST))).toMatchObject({ kind: 'message' })
    expect(registry.lookups).toBe(0)
  })

  const poison: readonly (readonly [string, () => Buffer | null, RegExp])[] = [
    ['no value', () => null, /no value/],
    ['an empty value', () => Buffer.alloc(0), /too few/],
    ['four bytes', () => Buffer.from([0, 0, 0, 0]), /too few/],
    ['JSON', () => Buffer.from('{"connectionId":"x"}'), /magic byte/],
    ['an id that the registry does not know', () => Buffer.from([0, 0, 0, 9, 9, 1, 2]), /knows no schema/],
    ['a body that is cut off', () => written(1, schemaOf(TOPIC), REQUEST).subarray(0, 60), /does not fit/],
    [
      'bytes after the body',
      () => Buffer.concat([written(1, schemaOf(TOPIC), REQUEST), Buffer.from([1])]),
      /does not fit/,
    ],
    ['the schema of another message', () => written(2, schemaOf(EVENTS), removed()), /cannot be read as/],
  ]

  test.each(poison)('calls a record with %s unreadable and says why', async (_what, value, problem) => {
    const { codec } = await open()
    const decoded = await codec.decode(TOPIC, value())
    expect(decoded).toEqual({ kind: 'unreadable', problem: expect.stringMatching(problem) })
    // The neighbour is read.
    expect(await codec.decode(TOPIC, written(1, schemaOf(TOPIC), REQUEST))).toMatchObject({ kind: 'message' })
  })

  test.each([500, 503, 429, 'hang'] as const)(
    'calls an unknown schema trouble, not poison, while the registry answers %s, and reads it afterwards',
    async (trouble) => {
      const { codec, registry } = await open()
      registry.schemas.set(77, laterSchema())
      const value = written(77, laterSchema(), { ...REQUEST, added: null })
      registry.trouble = trouble
      await expect(codec.decode(TOPIC, value)).rejects.toMatchObject({ code: 'registry/unavailable' })
      // Known schemas need no registry.
      expect(await codec.decode(TOPIC, codec.encode(TOPIC, REQUEST))).toMatchObject({ kind: 'message' })
      registry.trouble = null
      expect(await codec.decode(TOPIC, value)).toEqual({ kind: 'message', message: REQUEST })
    },
  )

  test('calls a registry that refuses connections trouble', async () => {
    const { codec, registry } = await open()
    opened.splice(opened.indexOf(registry), 1)
    await registry.close()
    const value = Buffer.from([0, 0, 0, 9, 9, 1, 2])
    await expect(codec.decode(TOPIC, value)).rejects.toMatchObject({ code: 'registry/unavailable' })
  })
})

describe('openCodec', () => {
  test('refuses to open when a schema is not registered, and says what to run', async () => {
    const registry = new Registry()
    opened.push(registry)
    const registryUrl = await registry.listen()
    const config = { registryUrl, prefix: PREFIX, topics: [TOPIC] as const }
    await expect(openCodec(config, AbortSignal.timeout(10_000))).rejects.toMatchObject({
      code: 'registry/unavailable',
      message: expect.stringContaining('calstream schemas apply'),
    })
    registry.subjects.set(subjectOf(PREFIX, TOPIC), 1)
    await openCodec(config, AbortSignal.timeout(10_000))
  })
})

function removed(): EventChanged {
  return {
    eventId: 'e',
    connectionId: 'c',
    providerId: 'p',
    calendarId: 'k',
    vendor: 'google',
    vendorEventId: 'v',
    change: 'removed',
    removalReason: 'deleted',
    sequence: 1,
    observedAt: 2,
    vendorUpdatedAt: null,
    event: null,
  }
}

function anyEventChanged(): fc.Arbitrary<EventChanged> {
  const text = fc.string({ unit: 'grapheme', maxLength: 40 })
  const optional = fc.option(text, { nil: null })
  // avsc loses the last bit of integers below −2^52 (the year 1827 in µs);
  // the sync window is far from there.
  const micros = fc.integer({ min: -(2 ** 52), max: Number.MAX_SAFE_INTEGER - 1 })
  const time = fc.oneof(
    micros.map((at) => ({ at, date: null })),
    text.map((date) => ({ at: null, date })),
  )
  const event = fc.record({
    title: optional,
    status: fc.constantFrom('unknown', 'confirmed', 'tentative'),
    busy: fc.boolean(),
    allDay: fc.boolean(),
    start: time,
    end: time,
    timeZone: optional,
    seriesId: optional,
    originalStart: fc.option(time, { nil: null }),
    location: optional,
    organizer: optional,
    updatedAt: fc.option(micros, { nil: null }),
    etag: optional,
    response: fc.constantFrom('unknown', 'none', 'accepted', 'declined', 'needs_action'),
    kind: fc.constantFrom('unknown', 'default', 'focus_time', 'working_location'),
    showAs: fc.constantFrom('unknown', 'free', 'busy', 'out_of_office'),
    visibility: fc.constantFrom('unknown', 'default', 'private'),
  })
  return fc.record({
    eventId: text,
    connectionId: text,
    providerId: text,
    calendarId: text,
    vendor: fc.constantFrom('unknown', 'google', 'microsoft'),
    vendorEventId: text,
    change: fc.constantFrom('unknown', 'upserted', 'removed'),
    removalReason: fc.option(fc.constantFrom('unknown', 'deleted', 'cancelled', 'window'), { nil: null }),
    sequence: micros,
    observedAt: micros,
    vendorUpdatedAt: fc.option(micros, { nil: null }),
    event: fc.option(event, { nil: null }),
  }) as fc.Arbitrary<EventChanged>
}
