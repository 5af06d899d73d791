// What the Dockerfile says of the images beside their files: from what they are made, as whom they
// run, and how they end.
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { REPOSITORY, stageOf } from '../../../support/image.ts'

const dockerfile = readFileSync(path.join(REPOSITORY, 'infra/Dockerfile'), 'utf8')
const HEALTH_FILE = 'services/cli/health-main.ts'
const HEALTH_COMMAND = z.tuple([z.literal('node'), z.string()])
const STAGES = ['service', 'simulator']
/** The operands of one instruction in a stage. */
const operands = (stage: string, word: string) =>
  stageOf(dockerfile, stage)
    .filter((instruction) => instruction.word === word)
    .map(({ rest }) => rest)

describe('each stage', () => {
  test('is made from the one base, or from a stage before it', () => {
    const bases = [...dockerfile.matchAll(/^FROM (\S+) AS (\S+)$/gm)].map((match) => [match[1], match[2]])
    expect(bases).toEqual([
      ['${NODE_IMAGE}', 'packages'],
      ['${NODE_IMAGE}', 'runtime'],
      ['runtime', 'simulator'],
      ['runtime', 'service'],
    ])
  })

  test('runs the Node that a clone is pinned to', () => {
    const pinned = readFileSync(path.join(REPOSITORY, '.node-version'), 'utf8').trim()
    expect(dockerfile).toMatch(new RegExp(`^ARG NODE_IMAGE=node:${RegExp.escape(pinned)}-`, 'm'))
  })
})

describe.each(STAGES)('the image %s', (stage) => {
  test('runs as a user by number who is not root, since Kubernetes cannot judge a name', () => {
    expect(operands(stage, 'USER')).toEqual(['1000:1000'])
    const words = stageOf(dockerfile, stage).map(({ word }) => word)
    expect(words.slice(words.indexOf('USER'))).not.toContain('COPY')
  })

  test('starts Node itself, so that SIGTERM reaches it: no shell in between', () => {
    const [entry = ''] = operands(stage, 'ENTRYPOINT')
    const command: unknown = JSON.parse(entry)
    expect(command).toEqual(['node', expect.stringMatching(/\.ts$/)])
  })
})

test('the product is asked whether it is ready by a program of its own, without a shell', () => {
  const [check = ''] = operands('service', 'HEALTHCHECK')
  expect(HEALTH_COMMAND.parse(JSON.parse(check.slice(check.indexOf('['))))[1]).toBe(HEALTH_FILE)
  expect(existsSync(path.join(REPOSITORY, HEALTH_FILE))).toBe(true)
})

test('the base lacks package managers, and programs that make a user another one', () => {
  const [run = ''] = operands('runtime', 'RUN')
  for (const name of ['npm', 'npx', 'corepack', 'yarn']) expect(run).toContain(name)
  expect(run).toContain('find / -xdev -type f -perm /6000 -exec chmod a-s {} +')
})

test('the product tells what it is, under the names of the Open Container Initiative', () => {
  const labels = operands('service', 'LABEL').join(' ')
  const told = Object.fromEntries(
    [...labels.matchAll(/org\.opencontainers\.image\.([\w.]+)="([^"]*)"/g)].map((match) => [
      match[1],
      match[2],
    ]),
  )
  expect(told).toEqual({
    title: 'calstream',
    description: expect.stringContaining('calendar'),
    licenses: 'Apache-2.0',
    version: '${VERSION}',
    revision: '${REVISION}',
    'base.name': '${NODE_IMAGE}',
  })
  expect(operands('service', 'ARG').map((rest) => rest.split('=')[0])).toEqual([
    'VERSION',
    'REVISION',
    'NODE_IMAGE',
  ])
})
