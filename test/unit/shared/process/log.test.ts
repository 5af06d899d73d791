// Logs: one line of JSON per event, no secret in any field, spelling or nesting,
// and the trace that an event belongs to.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { Secret } from '#shared/process/secret.ts'
import { createLogger, registerSecret } from '#shared/process/log.ts'
import { inSpan, startTelemetry } from '#shared/process/telemetry.ts'
import { VERSION } from '#shared/process/version.ts'

function collect(level = 'info') {
  const lines: string[] = []
  const logger = createLogger({
    service: 'test',
    level,
    destination: { write: (line) => void lines.push(line) },
  })
  return { logger, lines, last: () => JSON.parse(lines.at(-1) ?? 'null') as Record<string, unknown> }
}

describe('a log line', () => {
  test('is one line of JSON with time, level, service, version and message, whatever control characters it holds', () => {
    const { logger, lines, last } = collect()
    logger.info({ title: 'a\nb\u001b[31m\u2028' }, 'first\r\nsecond')
    expect(lines).toHaveLength(1)
    for (const control of ['\n', '\r', '\u001b']) expect(lines[0]?.trimEnd()).not.toContain(control)
    expect(last()).toMatchObject({
      level: 'info',
      service: 'test',
      version: VERSION,
      msg: 'first\r\nsecond',
    })
    expect(Date.parse(String(last()['time']))).toBeGreaterThan(0)
  })

  test('carries the ids of the active span, and none outside of one', async () => {
    await using _telemetry = startTelemetry({ service: 'test' })
    const { logger, last } = collect()
    logger.info('outside')
    expect(last()).not.toHaveProperty('trace_id')
    await inSpan('work', {}, async () => logger.info('inside'))
    expect(last()['trace_id']).toMatch(/^[0-9a-f]{32}$/)
    expect(last()['span_id']).toMatch(/^[0-9a-f]{16}$/)
  })
})

describe('redaction', () => {
  test.each([
    ['an access token of Google', 'ya29.a0AfB_byC-123'],
    ['a refresh token of Google', '1//0gABCdefGHIjkl-mn_o'],
    ['a client secret of Google', 'GOCSPX-abcDEF123_456'],
    ['a JSON web token', 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl'],
    ['a bearer header', 'Bearer abcdefghij.klmnop'],
    ['a channel token', `v1.k1.${'a'.repeat(22)}.${'b'.repeat(22)}.${'c'.repeat(22)}.${'d'.repeat(22)}`],
    ['a sealed credential', `v1.k1.${'n'.repeat(16)}.${'x'.repeat(40)}`],
  ])('hides %s by its shape, in message, field, nested field and error', (_what, secret) => {
    const { logger, lines } = collect()
    logger.info(
      { field: secret, deep: { list: [secret], json: JSON.stringify({ token: secret }) } },
      `got ${secret} here`,
    )
    logger.error({ err: new Error(`failed with ${secret}`, { cause: new Error(secret) }) }, 'failed')
    const text = lines.join('')
    expect(text).not.toContain(secret)
    expect(text.match(/\[secret\]/g)?.length).toBeGreaterThanOrEqual(6)
    for (const line of lines) expect(() => JSON.parse(line) as unknown).not.toThrow()
  })

  test.each([
    ['form', 'grant_type=refresh_token&refresh_token=abc/def&client_id=me', 'abc/def'],
    ['JSON', '{"access_token":"opaque-value","expires_in":3599}', 'opaque-value'],
    ['JSON with spaces', '{"client_secret" : "opaque-value"}', 'opaque-value'],
    ['url', 'postgres://calstream_sync:opaque-value@db:5432/calstream', 'opaque-value'],
  ])('hides the value of a known name in a %s', (_what, text, secret) => {
    const { logger, lines, last } = collect()
    logger.info({ body: text }, text)
    expect(lines.join('')).not.toContain(secret)
    expect(last()['msg']).toContain('[secret]')
  })

  test('hides registered values in every spelling that JSON and urls give them, and keeps the line JSON', () => {
    const { logger, lines } = collect()
    fc.assert(
      fc.property(
        fc.string({ minLength: 8, maxLength: 40 }),
        fc.string({ maxLength: 10 }),
        (secret, around) => {
          registerSecret(secret)
          lines.length = 0
          logger.info(
            { plain: secret, inside: `${around}${secret}${around}`, json: JSON.stringify([secret]) },
            'x',
          )
          const line = JSON.parse(lines[0] ?? '') as Record<string, string>
          // What is hidden is the secret itself;
          // a part of it may also be part of the text around it.
          expect(line['plain']).not.toBe(secret)
          expect(line['inside']).not.toBe(`${around}${secret}${around}`)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('leaves ordinary text alone (control)', () => {
    const { logger, last } = collect()
    const fields = {
      topic: 'calendar.sync.requested.google.v1',
      connection: '6f9619ff-8b86-d011-b42d-00c04fc964ff',
      url: 'https://www.googleapis.com/calendar/v3/calendars/primary/events?pageToken=2',
      version: 'v1.2.3',
    }
    logger.info(fields, 'a unit of 3 pages, 1/2 done')
    expect(last()).toMatchObject({ ...fields, msg: 'a unit of 3 pages, 1/2 done' })
  })

  test('prints a Secret as [secret]', () => {
    const { logger, last } = collect()
    logger.info({ token: new Secret('short') }, 'x')
    expect(last()['token']).toBe('[secret]')
  })
})

describe('an error in a log line', () => {
  test('keeps name, message, code, stack and causes, and leaves behind what a library hung on it', () => {
    const { logger, last } = collect()
    const inner = Object.assign(new Error('socket hang up'), {
      code: 'ECONNRESET',
      config: { headers: 'row value' },
    })
    logger.error({ err: new Failure('vendor/unavailable', undefined, { cause: inner }) }, 'failed')
    const err = last()['err'] as Record<string, unknown>
    expect(err).toMatchObject({ name: 'Failure', code: 'vendor/unavailable', cause: { code: 'ECONNRESET' } })
    expect(err['stack']).toContain('log.test.ts')
    expect(JSON.stringify(err)).not.toContain('row value')
  })

  test('survives a cause that leads back to itself, and things that are no errors', () => {
    const { logger, last } = collect()
    const loop = new Error('loop')
    loop.cause = loop
    logger.error({ err: loop }, 'loop')
    expect(last()['msg']).toBe('loop')
    logger.error({ err: 'a text' }, 'text')
    expect(last()['err']).toBe('a text')
  })
})
