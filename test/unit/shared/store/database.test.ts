// The pool against servers that are not Postgres: one that never answers and one that hangs up. The
// real one is in the integration tests.
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { Secret } from '#shared/process/secret.ts'
import { createLogger } from '#shared/process/log.ts'
import { openDatabase } from '#shared/store/database.ts'

async function startServer(onConnection: (socket: Socket) => void) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    onConnection(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `postgres://calstream_sync:not-a-real-one@127.0.0.1:${(server.address() as AddressInfo).port}/calstream`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function open(url: string) {
  const logger = createLogger({ service: 'test', level: 'silent' })
  return openDatabase({ url: new Secret(url), applicationName: 'test', poolMax: 1 }, logger)
}

const outcome = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error)

describe('a server', () => {
  test('that accepts and never answers is given up, by all who wait, and closing the pool ends', async () => {
    await using server = await startServer(() => undefined)
    const db = open(server.url)
    const outcomes = await Promise.all([
      outcome(db.query('select 1')),
      outcome(db.transaction((tx) => tx.query('select 1'))),
    ])
    for (const error of outcomes) {
      expect(error).toBeInstanceOf(Failure)
      expect(error).toMatchObject({ code: 'store/unavailable', scope: 'process' })
    }
    await db[Symbol.asyncDispose]()
  })

  test('that hangs up is unavailable at once', async () => {
    await using server = await startServer((socket) => void socket.destroy())
    await using db = open(server.url)
    expect(await outcome(db.query('select 1'))).toMatchObject({ code: 'store/unavailable' })
  })
})

describe('a closed pool', () => {
  test('refuses as unavailable', async () => {
    const db = open('postgres://x:y@127.0.0.1:9/z')
    await db[Symbol.asyncDispose]()
    expect(await outcome(db.query('select 1'))).toMatchObject({ code: 'store/unavailable' })
  })
})
