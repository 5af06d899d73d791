import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { classArchive } from '../../../../infra/stack/class-archive.ts'

let folder: string
let file: string
let recorded: number
const { signal } = new AbortController()

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-classes-'))
  file = path.join(folder, 'kafka.jsa')
  recorded = 0
})

afterEach(() => rmSync(folder, { recursive: true }))

const records = (text: string) => async (draft: string) => {
  recorded += 1
  writeFileSync(draft, text)
}

test('an archive is recorded once and used from then on', async () => {
  expect(await classArchive(file, records('classes'), signal)).toBe(file)
  expect(await classArchive(file, records('others'), signal)).toBe(file)
  expect([recorded, readFileSync(file, 'utf8')]).toEqual([1, 'classes'])
})

test('one that is cut off while it is recorded is never used, leaves nothing, and is tried again', async () => {
  const cutOff = async (draft: string) => {
    writeFileSync(draft, 'cla')
    throw new Error('killed')
  }
  expect(await classArchive(file, cutOff, signal)).toBeNull()
  expect(readdirSync(folder)).toEqual([])
  expect(await classArchive(file, records('classes'), signal)).toBe(file)
})

test('a Java that makes none is asked once', async () => {
  const makesNone = async () => void (recorded += 1)
  expect(await classArchive(file, makesNone, signal)).toBeNull()
  expect(await classArchive(file, makesNone, signal)).toBeNull()
  expect(recorded).toBe(1)
})

test('two that record at the same moment both end with a whole one', async () => {
  const both = await Promise.all([
    classArchive(file, records('one'), signal),
    classArchive(file, records('two'), signal),
  ])
  expect(both).toEqual([file, file])
  expect(readdirSync(folder)).toEqual(['kafka.jsa'])
  expect(['one', 'two']).toContain(readFileSync(file, 'utf8'))
})

test('a start that is stopped meanwhile is stopped, and not told of an archive', async () => {
  const stop = new AbortController()
  const stopped = async () => {
    stop.abort(new Error('Ctrl-C'))
    throw new Error('killed')
  }
  await expect(classArchive(file, stopped, stop.signal)).rejects.toThrow('Ctrl-C')
  expect(readdirSync(folder)).toEqual([])
})
