import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Child, untilReady } from '../../../../infra/stack/child.ts'
import { Component, StoppedMeanwhile } from '../../../../infra/stack/component.ts'
import { processIdentity } from '#shared/process/identity.ts'
import { freePorts } from '../../../../infra/stack/ports.ts'
import { ProcessLedger, stopOrphans } from '../../../../infra/stack/processes.ts'
import { keepRunning } from '../../../../infra/stack/supervise.ts'

const WAITS = 'setInterval(() => {}, 1000)'
const IGNORES_STOP = `process.on('SIGTERM', () => {}); ${WAITS}; console.log('up')`

let folder: string
const started: Child[] = []

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'calstream-processes-'))
})

afterEach(async () => {
  for (const child of started.splice(0)) await child.kill()
  rmSync(folder, { recursive: true })
})

describe('a child', () => {
  test('ends by its stop signal when it listens to it', async () => {
    const child = await start(WAITS)
    await child.stop()
    expect(await child.exited).toEqual({ code: null, signal: 'SIGTERM' })
  })

  test('is killed when it ignores its stop signal for too long', async () => {
    const child = await start(IGNORES_STOP, { stopWithinMs: 100 })
    await until(() => logOf(child).includes('up'))
    await child.stop()
    expect(await child.exited).toEqual({ code: null, signal: 'SIGKILL' })
  })

  test('ends by its stop signal even while frozen', async () => {
    const child = await start(`process.on('SIGTERM', () => process.exit(7)); ${WAITS}; console.log('up')`)
    await until(() => logOf(child).includes('up'))
    child.signal('SIGSTOP')
    await child.stop()
    expect(await child.exited).toEqual({ code: 7, signal: null })
  })

  test('takes its own children with it when it is killed, those of another group included', async () => {
    const child = await start(
      `const c = require('child_process').spawn(process.execPath, ['-e', '${WAITS}'], { detached: true, stdio: 'ignore' }); console.log('child', c.pid); ${WAITS}`,
    )
    await until(() => /child \d+/.test(logOf(child)))
    const grandchild = Number(/child (\d+)/.exec(logOf(child))?.[1])
    expect(processIdentity(grandchild)).not.toBeNull()
    await child.kill()
    await until(() => processIdentity(grandchild) === null)
  })

  test('that ends while it should get ready is reported with the end of its log', async () => {
    const child = await start(`console.log('no disk'); process.exitCode = 3`)
    const ready = untilReady(
      child,
      { probe: () => Promise.reject(new Error('refused')), port: 1 },
      10_000,
      new AbortController().signal,
    )
    await expect(ready).rejects.toThrow(/test ended while starting \(code 3\)\. End of its log:\nno disk/)
  })

  test('that never gets ready is reported with what the last try said', async () => {
    const child = await start(WAITS)
    const ready = untilReady(
      child,
      { probe: () => Promise.reject(new Error('refused')), port: 1 },
      100,
      new AbortController().signal,
    )
    await expect(ready).rejects.toThrow(/test was not ready after 0 s \(refused\)/)
  })
})

const SERVES = (address: string) =>
  `require('net').createServer(s => s.end()).listen({ port: +process.argv[1], host: '${address}' }, () => console.log('up')); ${WAITS}`

describe.runIf(process.platform === 'linux')('a child at a port', () => {
  test.each(['127.0.0.1', '0.0.0.0', '::', '::ffff:127.0.0.1'])(
    'is ready once it answers there itself, by the address %s',
    async (address) => {
      const { port } = await freePorts(['port'])
      const child = await start(SERVES(address), { args: [String(port)] })
      await untilReady(child, { probe: connects(port), port }, 10_000, new AbortController().signal)
    },
  )

  test('is ready once a process of its own answers there', async () => {
    const { port } = await freePorts(['port'])
    const child = await start(
      `require('child_process').spawn(process.execPath, ['-e', process.argv[2], process.argv[1]]); ${WAITS}`,
      { args: [String(port), SERVES('127.0.0.1')] },
    )
    await untilReady(child, { probe: connects(port), port }, 10_000, new AbortController().signal)
  })

  test.each(['127.0.0.1', '0.0.0.0', '::'])(
    'is not ready while a stranger answers there, by the address %s',
    async (address) => {
      await using stranger = await listen(address)
      const { port } = stranger
      const child = await start(WAITS)
      const ready = untilReady(child, { probe: connects(port), port }, 300, new AbortController().signal)
      await expect(ready).rejects.toThrow(
        `test was not ready after 0 s (another process answers at port ${port}). Another process answers at its port ${port}. Stop that process, then start again. End of its log:`,
      )
    },
  )

  test('that finds its port taken and ends is not ready, though a stranger answers', async () => {
    await using stranger = await listen('127.0.0.1')
    const { port } = stranger
    const child = await start(SERVES('127.0.0.1'), { args: [String(port)] })
    const ready = untilReady(child, { probe: connects(port), port }, 10_000, new AbortController().signal)
    await expect(ready).rejects.toThrow('test ended while starting (code 1).')
  })

  test('that ends while its probe is on its way is not ready', async () => {
    const child = await start(WAITS)
    const probe = async () => child.kill()
    const ready = untilReady(child, { probe, port: 1 }, 10_000, new AbortController().signal)
    await expect(ready).rejects.toThrow('test ended while starting (SIGKILL).')
  })
})

describe('orphans', () => {
  test('of a killed supervisor are ended by what it recorded', async () => {
    const asked = await start(WAITS)
    const deaf = await start(IGNORES_STOP)
    await until(() => logOf(deaf).includes('up'))
    expect(await stopOrphans(folder, 200)).toEqual(['test', 'test'])
    expect([(await asked.exited).signal, (await deaf.exited).signal]).toEqual(['SIGTERM', 'SIGKILL'])
  })

  test('are not those who merely have the same pid today', async () => {
    const stranger = await start(WAITS)
    const recorded = [
      { name: 'kafka', pid: stranger.pid, stopSignal: 'SIGTERM', identity: 'another-boot 1 1' },
    ]
    writeFileSync(path.join(folder, 'processes.json'), JSON.stringify(recorded))
    expect(await stopOrphans(folder)).toEqual([])
    expect(stranger.running).toBe(true)
  })

  test('are none when everything was stopped in order', async () => {
    const child = await start(WAITS)
    expect(recordedPids()).toEqual([child.pid])
    await child.stop()
    expect(recordedPids()).toEqual([])
  })
})

describe('a component', () => {
  test('that ended by itself is started again, and one that was stopped on purpose is not', async () => {
    const [first, second] = await Promise.all([component(WAITS), component(WAITS)])
    const stop = new AbortController()
    const told: string[] = []
    const events = { ended: (_: Component, how: string) => told.push(how), back: () => told.push('back') }
    const kept = keepRunning([first, second], events, stop.signal)

    await second.stop()
    const pid = first.pid
    process.kill(pid, 'SIGKILL')
    await until(() => told.includes('back'))

    expect(first.pid).not.toBe(pid)
    expect(first.running).toBe(true)
    expect(second.running).toBe(false)
    expect(told).toEqual(['SIGKILL', 'back'])
    stop.abort()
    await kept
  })

  test('runs once, also when it is stopped and started while a supervisor starts it', async () => {
    const launched: Child[] = []
    const isReady = (child: Child) => logOf(child).includes('up')
    const one = await Component.start(async (signal) => {
      const child = await start(`console.log('up'); ${WAITS}`)
      launched.push(child)
      try {
        // The second start is never ready by itself.
        while (launched.length === 2 || !isReady(child)) await delay(5, undefined, { signal })
      } catch (error) {
        await child.kill()
        throw error
      }
      return child
    }, new AbortController().signal)
    process.kill(one.pid, 'SIGKILL')
    await one.endedByItself()

    const second = expect(one.restart(new AbortController().signal)).rejects.toThrow(StoppedMeanwhile)
    await until(() => launched.length === 2)
    await one.stop()
    expect(launched.filter(({ running }) => running)).toEqual([])
    await second
    await one.restart(new AbortController().signal)

    expect(launched.map(({ running }) => running)).toEqual([false, false, true])
    expect(one.pid).toBe(launched[2]?.pid)
  })

  test('that cannot stay up ends the stack with its name', async () => {
    const broken = await component('process.exitCode = 1')
    const events = { ended: () => {}, back: () => {} }
    await expect(keepRunning([broken], events, new AbortController().signal)).rejects.toThrow(
      /^test ended 6 times/,
    )
  })
})

async function start(
  script: string,
  options: { stopWithinMs?: number; ledger?: ProcessLedger; args?: readonly string[] } = {},
): Promise<Child> {
  ledger ??= new ProcessLedger(folder)
  const child = await Child.start(
    {
      name: 'test',
      command: process.execPath,
      args: ['-e', script, ...(options.args ?? [])],
      env: {},
      cwd: folder,
      logFile: path.join(folder, `${started.length}.log`),
      stopWithinMs: options.stopWithinMs ?? 5_000,
    },
    ledger,
  )
  logs.set(child, path.join(folder, `${started.length}.log`))
  started.push(child)
  return child
}

let ledger: ProcessLedger | undefined
const logs = new Map<Child, string>()

beforeEach(() => {
  ledger = undefined
})

function component(script: string): Promise<Component> {
  return Component.start(() => start(script), new AbortController().signal)
}

function connects(port: number): () => Promise<void> {
  return async () => {
    const socket = connect({ port, host: '127.0.0.1' })
    await once(socket, 'connect')
    socket.destroy()
  }
}

async function listen(host: string): Promise<AsyncDisposable & { readonly port: number }> {
  const { port } = await freePorts(['port'])
  const server = createServer((socket) => socket.destroy())
  server.listen({ port, host })
  await once(server, 'listening')
  return { port, [Symbol.asyncDispose]: async () => void server.close() }
}

function logOf(child: Child): string {
  return readFileSync(logs.get(child) ?? '', 'utf8')
}

function recordedPids(): number[] {
  const processes = JSON.parse(readFileSync(path.join(folder, 'processes.json'), 'utf8')) as { pid: number }[]
  return processes.map(({ pid }) => pid)
}

async function until(condition: () => boolean): Promise<void> {
  await expect.poll(condition, { timeout: 10_000, interval: 10 }).toBe(true)
}
