import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { freePorts, isFree, keptPorts } from '../../../../infra/stack/ports.ts'

let folder: string
let file: string

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-ports-'))
  file = path.join(folder, 'ports.json')
})

afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true })
})

test('ports are chosen once and are the same at the next start', async () => {
  const first = await keptPorts(['kafka', 'postgres'], file)
  expect(first.kafka).not.toBe(first.postgres)
  expect(await keptPorts(['kafka', 'postgres'], file)).toEqual(first)
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(first)
})

test('a name that is new gets a port while the others keep theirs', async () => {
  const first = await keptPorts(['kafka'], file)
  const second = await keptPorts(['kafka', 'registry'], file)
  expect(second.kafka).toBe(first.kafka)
  expect(second.registry).not.toBe(first.kafka)
})

test('a kept port that another process took stops the start with one line that names port, part and file', async () => {
  const { kafka } = await keptPorts(['kafka'], file)
  await using _server = await listenOn(kafka)
  await expect(keptPorts(['kafka'], file)).rejects.toThrow(
    new RegExp(`^Port ${kafka} \\(kafka\\) is taken by another process\\..*${file}\\.$`),
  )
})

test('the same start works once the other process has gone', async () => {
  const { kafka } = await keptPorts(['kafka'], file)
  await (await listenOn(kafka))[Symbol.asyncDispose]()
  expect(await keptPorts(['kafka'], file)).toEqual({ kafka })
})

test('a port that a person wrote into the file is used', async () => {
  const { mine } = await freePorts(['mine'])
  writeFileSync(file, JSON.stringify({ kafka: mine }))
  expect(await keptPorts(['kafka'], file)).toEqual({ kafka: mine })
})

test('a file that is no JSON is named, not overwritten', async () => {
  writeFileSync(file, '{ half')
  await expect(keptPorts(['kafka'], file)).rejects.toThrow(file)
  expect(readFileSync(file, 'utf8')).toBe('{ half')
})

test('throw-away ports are distinct, free and never those that a stopped stack keeps', async () => {
  const names = Array.from({ length: 50 }, (_, index) => `part${index}`)
  const ports = Object.values(await freePorts(names))
  expect(new Set(ports).size).toBe(50)
  const kept = Object.values(await keptPorts(names, file))
  expect(Math.max(...kept)).toBeLessThan(Math.min(...ports))
  await using _server = await listenOn(ports[0] ?? 0)
  expect(await isFree(ports[0] ?? 0)).toBe(false)
  expect(await isFree(ports[1] ?? 0)).toBe(true)
})

test('two workers of a test run never choose the same port', async () => {
  const names = Array.from({ length: 100 }, (_, index) => `part${index}`)
  const chosenBy = async (worker: string | undefined) => {
    vi.stubEnv('VITEST_POOL_ID', worker)
    return Object.values(await freePorts(names))
  }
  const [one, other, none] = [await chosenBy('1'), await chosenBy('2'), await chosenBy(undefined)]
  expect(new Set([...one, ...other, ...none]).size).toBe(3 * names.length)
})

async function listenOn(port: number): Promise<Server & AsyncDisposable> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return server
}
