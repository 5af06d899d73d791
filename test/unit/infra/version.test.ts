// One version: images, pages and the command tell the same number.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { VERSION } from '#shared/process/version.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')

test('every place that names a version names that of package.json', () => {
  const dockerfile = readFileSync(path.join(ROOT, 'infra/Dockerfile'), 'utf8')
  expect(/^ARG VERSION=(.*)$/m.exec(dockerfile)?.[1]).toBe(VERSION)
  const compose: unknown = parse(readFileSync(path.join(ROOT, 'docker-compose.yml'), 'utf8'), {
    merge: true,
  })
  const images = [...JSON.stringify(compose).matchAll(/"image":"(calstream[^"]*)"/g)].map((match) => match[1])
  expect(images.length).toBeGreaterThan(5)
  expect(images.filter((image) => !image?.endsWith(`:${VERSION}`))).toEqual([])
  for (const page of ['openapi.yaml', 'asyncapi.yaml']) {
    const { info }: { info: { version: string } } = parse(
      readFileSync(path.join(ROOT, 'schemas', page), 'utf8'),
    )
    expect(info.version, page).toBe(VERSION)
  }
})
