// A service's codec while the registry is away: it opens all the same, encodes nothing before it
// has ids, and takes those that the deployment noted where they are of the same schemas.
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SyncRequested } from '#schemas/messages.gen.ts'
import { createLogger } from '#shared/process/log.ts'
import { openLiveCodec } from '#shared/kafka/live-codec.ts'
import { readSchemaIds, writeSchemaIds } from '#shared/kafka/schema-ids.ts'
import { freePorts } from '../../../../infra/stack/ports.ts'
import { eventually } from '../../../support/eventually.ts'

const TOPIC = 'calendar.sync.requested.google.v1'
const OTHER = 'calendar.event.changed.v1'
const PREFIX = 'unit-'
const NEVER = new AbortController().signal
const logger = createLogger({ service: 'test', level: 'silent' })

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

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-ids-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** A registry that knows every schema under one id. */
async function startRegistry(port: number, id: number): Promise<Server> {
  const server = createServer((_request, response) =>
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ id })),
  )
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return server
}

const configAt = (port: number, idsPath?: string) => ({
  registryUrl: `http://127.0.0.1:${port}`,
  prefix: PREFIX,
  topics: [TOPIC] as const,
  idsPath,
})
const idIn = (value: Buffer) => value.readUInt32BE(1)

function noted(name: string, ids: ReadonlyMap<typeof TOPIC | typeof OTHER, number>): string {
  const file = path.join(folder, name)
  writeSchemaIds(file, PREFIX, ids)
  return file
}

describe('without the registry', () => {
  test('a codec opens, says what it lacks, neither encodes nor reads, and works once it is there', async () => {
    const { port } = await freePorts(['port'])
    await using codec = await openLiveCodec(configAt(port), logger, NEVER)
    expect(codec.problem()).toMatch(/schema registry/)
    expect(() => codec.encode(TOPIC, REQUEST)).toThrow(
      expect.objectContaining({ code: 'registry/unavailable' }) as Error,
    )
    // Not poison either: that would be buried.
    await expect(codec.decode(TOPIC, Buffer.from([0, 0, 0, 0, 7, 1]))).rejects.toMatchObject({
      code: 'registry/unavailable',
    })
    const registry = await startRegistry(port, 7)
    await eventually('the ids are found', () => codec.problem() === null)
    const value = codec.encode(TOPIC, REQUEST)
    expect(idIn(value)).toBe(7)
    expect(await codec.decode(TOPIC, value)).toEqual({ kind: 'message', message: REQUEST })
    registry.close()
  })

  test('it takes the ids that the deployment noted, and reads what was written with them', async () => {
    const { port } = await freePorts(['port'])
    const file = noted('noted.json', new Map([[TOPIC, 41] as const, [OTHER, 42] as const]))
    await using codec = await openLiveCodec(configAt(port, file), logger, NEVER)
    expect(codec.problem()).toBeNull()
    const value = codec.encode(TOPIC, REQUEST)
    expect(idIn(value)).toBe(41)
    expect(await codec.decode(TOPIC, value)).toEqual({ kind: 'message', message: REQUEST })
  })

  test('a registry that answers goes before what was noted', async () => {
    const { port } = await freePorts(['port'])
    const registry = await startRegistry(port, 9)
    await using codec = await openLiveCodec(
      configAt(port, noted('older.json', new Map([[TOPIC, 8] as const]))),
      logger,
      NEVER,
    )
    expect(idIn(codec.encode(TOPIC, REQUEST))).toBe(9)
    registry.close()
  })

  test('a start that is told to stop ends', async () => {
    const { port } = await freePorts(['port'])
    const stopped = AbortSignal.abort()
    await expect(openLiveCodec(configAt(port), logger, stopped)).rejects.toMatchObject({ name: 'AbortError' })
  })
})

describe('noted ids', () => {
  const read = (idsPath: string, topics: readonly (typeof TOPIC | typeof OTHER)[] = [TOPIC]) =>
    readSchemaIds({ idsPath, prefix: PREFIX, topics })

  test('are those of every topic that a service needs, or none', () => {
    const file = noted('one.json', new Map([[TOPIC, 1] as const]))
    expect(read(file)).toEqual(new Map([[TOPIC, 1]]))
    expect(read(file, [TOPIC, OTHER])).toBeNull()
  })

  test('of another schema or prefix are none', () => {
    const file = noted('another.json', new Map([[TOPIC, 1] as const]))
    expect(readSchemaIds({ idsPath: file, prefix: 'other-', topics: [TOPIC] })).toBeNull()
    const text = readFileSync(file, 'utf8')
    writeFileSync(file, text.replace(/"schema": "[0-9a-f]{8}/, '"schema": "00000000'))
    expect(readFileSync(file, 'utf8')).not.toBe(text)
    expect(read(file)).toBeNull()
  })

  test.each(['', '{', '[]', '{"unit-x": {"id": "1"}}'])('that cannot be read are none: %s', (text) => {
    const file = path.join(folder, 'broken.json')
    writeFileSync(file, text)
    expect(read(file)).toBeNull()
    expect(read(path.join(folder, 'missing.json'))).toBeNull()
  })
})
