// The opening of a process: what is closed when, what readiness says, what is loaded.
import { execFile } from 'node:child_process'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import path from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { openService, type WithKafka } from '#shared/boot/open-service.ts'
import type { Gates } from '#shared/domain/gates.ts'
import { Secret } from '#shared/process/secret.ts'
import { COMPILED } from '../../../support/compiled.ts'
import { VERSION } from '#shared/process/version.ts'

const ROOT = path.resolve(import.meta.dirname, '../../../..')
const CONFIG: WithKafka = {
  KAFKA_BROKERS: ['127.0.0.1:1'],
  KAFKA_PREFIX: '',
  POSTGRES_URL: new Secret('postgres://role:x@127.0.0.1:1/none'),
  ADMIN_PORT: 0,
  ADMIN_HOST: '127.0.0.1',
  LOG_LEVEL: 'silent',
}
const WITH_GATES = { ...CONFIG, UNLEASH_URL: 'http://127.0.0.1:1/api', UNLEASH_TOKEN: new Secret('token') }

/** A part that notes when it is closed. */
function part(name: string, closed: string[]): AsyncDisposable {
  return { [Symbol.asyncDispose]: async () => void closed.push(name) }
}

const readyz = async (port: number) => (await fetch(`http://127.0.0.1:${port}/readyz`)).json()

describe('the opening of a service', () => {
  test('a start that fails closes what it had opened, the last first', async () => {
    const closed: string[] = []
    const start = async () => {
      await using service = openService('test', CONFIG, new AbortController().signal)
      service.use(part('database', closed))
      service.defer(() => void closed.push('queue'))
      service.use(part('consumer', closed))
      throw new Error('the port is taken')
    }
    await expect(start()).rejects.toThrow('the port is taken')
    expect(closed).toEqual(['consumer', 'queue', 'database'])
  })

  test('a service that runs keeps its parts until it is disposed of, its admin port too', async () => {
    const closed: string[] = []
    const start = async () => {
      await using service = openService('test', CONFIG, new AbortController().signal)
      service.use(part('database', closed))
      const beat = service.loop('the beat of a test', async () => 1000)
      const adminPort = await service.admin({
        work: async () => beat.problem(),
        gates: service.checks.gates,
      })
      service.use(part('consumer', closed))
      return service.running({ adminPort })
    }
    const running = await start()
    expect(closed).toEqual([])
    expect(await readyz(running.adminPort)).toEqual({
      status: 'ready',
      version: VERSION,
      dependencies: { work: 'ok', gates: 'ok' },
    })

    await running[Symbol.asyncDispose]()
    expect(closed).toEqual(['consumer', 'database'])
    await expect(readyz(running.adminPort)).rejects.toThrow()
  })

  test('gates that are given are taken, and no flag server is asked', async () => {
    await using service = openService('test', WITH_GATES, new AbortController().signal)
    const given = {} as Gates
    expect(await service.gates(given)).toBe(given)
    expect(await service.checks.gates()).toBeNull()
  })

  test('gates of a flag server that does not answer make the service not ready', async () => {
    await using service = openService('test', WITH_GATES, new AbortController().signal)
    const gates = await service.gates()
    expect(gates.jobs().state).toBe('unknown')
    expect(await service.checks.gates()).not.toBeNull()
  })

  test('a Postgres that is away or silent says nothing about its tables', async () => {
    await using silent = await silentServer()
    for (const host of ['127.0.0.1:1', silent.host]) {
      const config = { ...CONFIG, POSTGRES_URL: new Secret(`postgres://role:x@${host}/none`) }
      await using service = openService('test', config, new AbortController().signal)
      await service.database(1)
      expect(await service.checks.tables()).toBeNull()
    }
  })

  test.each([
    { name: 'relay', without: ['unleash-client', 'avsc', 'openid-client'] },
    { name: 'retry', without: ['pg', 'openid-client'] },
  ])('$name is loaded without $without', async ({ name, without }) => {
    const packages = await packagesOf(`services/${name}/service.ts`)
    expect(packages).toContain('kafkajs')
    for (const one of without) expect(packages).not.toContain(one)
  })
})

/** It takes connections and answers nothing. */
async function silentServer(): Promise<AsyncDisposable & { readonly host: string }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => void sockets.add(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** The packages that Node loads to import a file, in a process of its own. */
async function packagesOf(file: string): Promise<readonly string[]> {
  const script = `
    import { registerHooks } from 'node:module'
    const urls = []
    registerHooks({ load: (url, context, next) => { urls.push(url); return next(url, context) } })
    await import(${JSON.stringify(path.join(ROOT, file))})
    process.stdout.write(JSON.stringify(urls), () => process.exit())
  `
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], {
    maxBuffer: 16 * 1024 * 1024,
    env: { ...COMPILED },
  })
  const urls: string[] = JSON.parse(stdout)
  return urls.flatMap((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? [])
}
