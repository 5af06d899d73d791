import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { freePorts, isFree, keptPorts } from '../../../../infra/stack/ports.ts'

let folder: string
let file: string

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-ports-'))
  file = path.join(folder, 'ports.json')
})

afterEach(() => {
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

test('a port comes again only after all others of its process, so a part that stopped keeps its own', async () => {
  const given: number[] = []
  for (let call = 0; call < 60; call += 1) given.push((await freePorts(['part'])).part)
  expect(new Set(given).size).toBe(given.length)
})

test('more ports than a block holds come from two', async () => {
  const ports = Object.values(await freePorts(names(150)))
  expect(new Set(ports).size).toBe(150)
  expect(await Promise.all(ports.map(isFree))).not.toContain(false)
})

test('processes side by side never choose the same port, of whatever run they are', async () => {
  await using processes = new AsyncDisposableStack()
  const chosen = await Promise.all(Array.from({ length: 6 }, () => portsOf(processes.use(startChooser()))))
  expect(chosen.map((ports) => ports.length)).toEqual(Array(6).fill(80))
  expect(new Set(chosen.flat()).size).toBe(6 * 80)
}, 60_000)

test('what a process claimed is free again when it is killed', async () => {
  const first = startChooser()
  const [port = 0] = await portsOf(first)
  const claim = port - 1
  expect(await isFree(claim)).toBe(false)
  await first[Symbol.asyncDispose]()
  expect(await isFree(claim)).toBe(true)
}, 60_000)

const CHOOSER = `
  import { freePorts } from ${JSON.stringify(path.resolve(import.meta.dirname, '../../../../infra/stack/ports.ts'))}
  const names = Array.from({ length: 80 }, (_, index) => 'part' + index)
  console.log(JSON.stringify(Object.values(await freePorts(names))))
  setInterval(() => {}, 60_000)`

type Chooser = ChildProcess & AsyncDisposable

/** A process that chooses, says what, and lives until it is killed. */
function startChooser(): Chooser {
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', CHOOSER], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, VITEST_POOL_ID: '1' },
  })
  const ended = once(child, 'exit')
  return Object.assign(child, {
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  })
}

async function portsOf({ stdout }: Chooser): Promise<readonly number[]> {
  for await (const line of createInterface({ input: stdout ?? expect.unreachable('it has an output') }))
    return JSON.parse(line) as number[]
  return expect.unreachable('it said nothing')
}

function names(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `part${index}`)
}

async function listenOn(port: number): Promise<Server & AsyncDisposable> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return server
}
