// The socket that KafkaJS reads from, against a server that cuts its answers where it likes.
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { WholeResponses } from '#shared/kafka/socket.ts'

function response(text: string): Buffer {
  const size = Buffer.alloc(4)
  size.writeInt32BE(Buffer.byteLength(text))
  return Buffer.concat([size, Buffer.from(text)])
}

/**
 * What a reader gets of these pieces, each sent on its own,
 * until the server is done with the connection.
 */
async function read(pieces: readonly Buffer[], end: (socket: Socket) => void = (socket) => socket.end()) {
  const serve = async (socket: Socket): Promise<void> => {
    socket.on('error', () => {})
    for (const piece of pieces) {
      socket.write(piece)
      // The reader says that it has seen the piece.
      await once(socket, 'data')
    }
    end(socket)
  }
  const server = createServer({ noDelay: true }, (socket) => void serve(socket).catch(() => {}))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const got: string[] = []
  const errors: string[] = []
  const socket = new WholeResponses().connect((server.address() as AddressInfo).port, '127.0.0.1')
  let seen = 0
  const count = setInterval(() => {
    if (socket.bytesRead === seen) return
    seen = socket.bytesRead
    socket.write('.')
  }, 1)
  socket.on('data', (data: Buffer) => got.push(data.toString('latin1')))
  socket.on('error', (error) => errors.push(error.message))
  await new Promise((resolve) => socket.on('close', resolve))
  clearInterval(count)
  server.close()
  return { got, errors }
}

test('responses come whole, however their bytes come', async () => {
  const all = Buffer.concat([response('one'), response(''), response('three')])
  const bytes = Array.from(all, (byte) => Buffer.from([byte]))
  const { got } = await read(bytes)
  expect(got).toEqual(['one', '', 'three'].map((text) => response(text).toString('latin1')))
  expect((await read([all])).got).toEqual([all.toString('latin1')])
})

test('half a response is never given on: not before it is whole, and not when the connection breaks', async () => {
  const half = response('not all of it').subarray(0, 9)
  const { got } = await read([response('whole'), half], (socket) => socket.resetAndDestroy())
  expect(got).toEqual([response('whole').toString('latin1')])
})

test('a size that is none ends the connection with an error', async () => {
  const { got, errors } = await read([response('whole'), Buffer.from([0xff, 0xff, 0xff, 0xff])])
  expect(got).toEqual([response('whole').toString('latin1')])
  expect(errors).toEqual(['This is no answer of a Kafka broker.'])
})
