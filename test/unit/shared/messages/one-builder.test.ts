// One builder per message: the type of a message stands in its own file alone, the sources stand in
// one table, and a service sends as itself.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'

const ROOT = path.resolve(import.meta.dirname, '../../../..')
const MESSAGES = 'services/shared/messages/'
const TYPE = /(['"`])calendar(?:\.[\w-]+)+\.v\d+\1/g
const SOURCE = /(['"`])\/calstream\/[\w-]+\1/g
/** As whom a service sends, where that is not its own name. */
const SENDERS: Readonly<Record<string, readonly string[]>> = { ingress: ['api', 'connect', 'ingress'] }

const withoutComments = (source: string) => source.replaceAll(/\/\*[\s\S]*?\*\/|(?<![:'"`])\/\/.*$/gm, '')

/** What one file outside the room says that only a builder may say, or says as somebody else. */
function violations(file: string, source: string): string[] {
  const code = withoutComments(source)
  const room = file.split('/')[1] ?? ''
  const literals = [...code.matchAll(TYPE), ...code.matchAll(SOURCE)].map(([text]) => `${file} has ${text}`)
  const strangers = [...code.matchAll(/\b(?:sentBy\(|sender: )'(\w+)'/g)]
    .map(([, sender = '']) => sender)
    .filter((sender) => !(SENDERS[room] ?? [room]).includes(sender))
  return [...literals, ...strangers.map((sender) => `${file} sends as ${sender}`)]
}

const files = readdirSync(path.join(ROOT, 'services'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => path.posix.join('services', name))
const read = (file: string) => readFileSync(path.join(ROOT, file), 'utf8')

describe('outside the room of messages', () => {
  test('nobody has the type or the source of a message, and each service sends as itself', () => {
    const outside = files.filter((file) => !file.startsWith(MESSAGES))
    expect(outside.length).toBeGreaterThan(100)
    expect(outside.flatMap((file) => violations(file, read(file)))).toEqual([])
  })

  test.each([
    ['services/sync/x.ts', `const type = 'calendar.sync.requested.v1'`],
    ['services/shared/store/x.ts', `const type = "calendar.sync.retry-scheduled.v2"`],
    ['services/retry/x.ts', 'const source = `/calstream/retry`'],
    ['services/scheduler/x.ts', `const origin = sentBy('sync', codec)`],
    ['services/retry/x.ts', `const origin = { codec, sender: 'scheduler', traceparent }`],
  ])('is caught, in %s: %s', (file, source) => {
    expect(violations(file, source)).toHaveLength(1)
  })

  test.each([
    ['services/sync/x.ts', `// e.g. 'calendar.sync.requested.v1'\nconst origin = sentBy('sync', codec)`],
    ['services/ingress/x.ts', `const origin = sentBy('api', codec)`],
    ['services/scheduler/x.ts', `const NAME = 'calstream-scheduler'`],
  ])('is allowed, in %s: %s', (file, source) => {
    expect(violations(file, source)).toEqual([])
  })
})

describe('in the room of messages', () => {
  const room = files.filter((file) => file.startsWith(MESSAGES))
  const found = (pattern: RegExp) =>
    room.flatMap((file) =>
      [...withoutComments(read(file)).matchAll(pattern)].map(([text]) => [file.slice(MESSAGES.length), text]),
    )

  test('each file has one type of its own', () => {
    const types = found(TYPE)
    expect(types).toContainEqual(['sync-requested.ts', `'calendar.sync.requested.v1'`])
    expect(types.map(([file]) => `${MESSAGES}${file}`)).toEqual(
      room.filter((file) => !/\/(?:message|envelope)\.ts$/.test(file)),
    )
    expect(new Set(types.map(([, type]) => type)).size).toBe(types.length)
  })

  test('each source stands once, in one table', () => {
    const sources = found(SOURCE)
    expect(sources).toContainEqual(['message.ts', `'/calstream/ingress'`])
    expect(new Set(sources.map(([file]) => file))).toEqual(new Set(['message.ts']))
    expect(new Set(sources.map(([, source]) => source)).size).toBe(sources.length)
  })
})
