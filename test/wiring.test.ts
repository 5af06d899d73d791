// What a service.ts is: its own wiring and no more. Every process is opened by shared/boot. What a
// step of a unit is: neither counted nor logged in the middle, but by one call.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { importsOf } from './support/imports.ts'

const SERVICES = path.resolve(import.meta.dirname, '../services')
const IMPORTS_MAX = 20
const LINES_MAX = 110

const names = readdirSync(SERVICES, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'shared' && entry.name !== 'cli')
  .map((entry) => entry.name)

describe.each(names)('the wiring of %s', (name) => {
  test('is short, since shared/boot opens what every process has', () => {
    const source = readFileSync(path.join(SERVICES, name, 'service.ts'), 'utf8')
    const imports = importsOf(source).map(({ specifier }) => specifier)
    expect(imports).toContain('#shared/boot/open-service.ts')
    expect(imports.length).toBeLessThanOrEqual(IMPORTS_MAX)
    expect(source.split('\n').length - 1).toBeLessThanOrEqual(LINES_MAX)
  })

  test('makes no log, no telemetry and no admin port of its own', () => {
    const files = readdirSync(path.join(SERVICES, name), { recursive: true, encoding: 'utf8' })
    const found = files
      .filter((file) => file.endsWith('.ts'))
      .filter((file) =>
        /\b(?:createLogger|startTelemetry|startAdmin)\(/.test(
          readFileSync(path.join(SERVICES, name, file), 'utf8'),
        ),
      )
    expect(found).toEqual([])
  })
})

test('the steps of a unit tell what happens through moments.ts alone', () => {
  const folder = path.join(SERVICES, 'sync/unit')
  const telling = readdirSync(folder).filter((file) =>
    /\bmetrics\.|\blogger\.(?:debug|info|warn|error)\(/.test(readFileSync(path.join(folder, file), 'utf8')),
  )
  expect(telling).toEqual(['moments.ts'])
})
