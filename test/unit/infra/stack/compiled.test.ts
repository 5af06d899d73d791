import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { pruneCompiled, pruneDaily } from '../../../../infra/stack/compiled.ts'

const HOUR_MS = 3_600_000
const BLOCK = 4_096
const LIMITS = { bytesMax: 10 * BLOCK, unusedMs: 24 * HOUR_MS, youngMs: HOUR_MS }
const { signal } = new AbortController()

let folder: string

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-compiled-'))
  mkdirSync(path.join(folder, 'v24-x64'))
})

afterEach(() => rmSync(folder, { recursive: true }))

/** As Node leaves it: in a folder of its version, written and read so long ago. */
function keep(name: string, age: { readonly writtenMs: number; readonly readMs: number }, bytes = 100): void {
  const file = path.join(folder, 'v24-x64', name)
  writeFileSync(file, Buffer.alloc(bytes))
  utimesSync(file, (Date.now() - age.readMs) / 1000, (Date.now() - age.writtenMs) / 1000)
}

const left = () => readdirSync(path.join(folder, 'v24-x64')).toSorted()

test('code that nobody read for long goes, code that was read stays however old it is', async () => {
  keep('gone', { writtenMs: 90 * HOUR_MS, readMs: 80 * HOUR_MS })
  keep('read', { writtenMs: 90 * HOUR_MS, readMs: 5 * HOUR_MS })
  keep('written', { writtenMs: 5 * HOUR_MS, readMs: 90 * HOUR_MS })
  expect(await pruneCompiled(folder, signal, LIMITS)).toEqual({ deleted: 1, bytesLeft: 2 * BLOCK })
  expect(left()).toEqual(['read', 'written'])
})

test('beyond the size what was read longest ago goes, until the rest fits', async () => {
  for (let hours = 2; hours < 16; hours += 1)
    keep(`read-${String(hours).padStart(2, '0')}`, { writtenMs: 90 * HOUR_MS, readMs: hours * HOUR_MS })
  expect(await pruneCompiled(folder, signal, LIMITS)).toEqual({ deleted: 4, bytesLeft: LIMITS.bytesMax })
  expect(left().at(-1)).toBe('read-11')
})

test('a file counts with the blocks that it takes', async () => {
  for (const hours of [2, 3, 4])
    keep(`large-${hours}`, { writtenMs: 9 * HOUR_MS, readMs: hours * HOUR_MS }, 3 * BLOCK + 1)
  expect(await pruneCompiled(folder, signal, LIMITS)).toEqual({ deleted: 1, bytesLeft: 8 * BLOCK })
  expect(left()).toEqual(['large-2', 'large-3'])
})

test('what was written just now stays, also where all is too large', async () => {
  for (let index = 0; index < 20; index += 1) keep(`new-${index}`, { writtenMs: 0, readMs: 0 })
  expect(await pruneCompiled(folder, signal, LIMITS)).toEqual({ deleted: 0, bytesLeft: 20 * BLOCK })
})

test('a folder that is not there is nothing to prune', async () => {
  const absent = path.join(folder, 'absent')
  expect(await pruneCompiled(absent, signal, LIMITS)).toEqual({ deleted: 0, bytesLeft: 0 })
})

test('a run prunes once a day', async () => {
  const cache = mkdtempSync(path.join(folder, 'cache-'))
  const compiled = path.join(cache, 'compiled')
  const old = path.join(compiled, 'old')
  const leaveOld = () => {
    mkdirSync(compiled, { recursive: true })
    writeFileSync(old, 'code')
    utimesSync(old, 0, 0)
  }
  leaveOld()
  await pruneDaily(cache, signal)
  expect(existsSync(old)).toBe(false)
  leaveOld()
  await pruneDaily(cache, signal)
  expect(existsSync(old)).toBe(true)
  utimesSync(`${compiled}.pruned`, 0, Date.now() / 1000 - 25 * 3_600)
  await pruneDaily(cache, signal)
  expect(existsSync(old)).toBe(false)
})

test('one that was cut off is done by the next run', async () => {
  const cache = mkdtempSync(path.join(folder, 'cache-'))
  mkdirSync(path.join(cache, 'compiled'))
  const old = path.join(cache, 'compiled', 'old')
  writeFileSync(old, 'code')
  utimesSync(old, 0, 0)
  await pruneDaily(cache, AbortSignal.abort(new Error('Ctrl-C')))
  expect(existsSync(old)).toBe(true)
  await pruneDaily(cache, signal)
  expect(existsSync(old)).toBe(false)
})

test('it ends when it is told to', async () => {
  keep('one', { writtenMs: 90 * HOUR_MS, readMs: 80 * HOUR_MS })
  await expect(pruneCompiled(folder, AbortSignal.abort(new Error('Ctrl-C')), LIMITS)).rejects.toThrow(
    'Ctrl-C',
  )
  expect(left()).toEqual(['one'])
})
