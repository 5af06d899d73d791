// The socket that KafkaJS reads from, against a server that cuts its answers where it likes.
import { createServer, type AddressInfo, Socket } from 'node:net'
import { once } from 'node:events'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { expect, test } from 'vitest'
import { wholeResponses } from '#shared/kafka/socket.ts'
import { newAuthority } from '../../../../infra/stack/certificates.ts'

function response(text: string): Buffer {
  const size = Buffer.alloc(4)
  size.writeInt32BE(Buffer.byteLength(text))
  return Buffer.concat([size, Buffer.from(text)])
}

const identity = newAuthority().then(async (authority) => ({
  ...(await authority.issue({ commonName: 'broker', names: ['127.0.0.1'] })),
  ca: authority.ca,
}))

/**
 * What a reader gets of these pieces, each sent on its own,
 * until the server is done with the connection.
 */
async function read(
  pieces: readonly Buffer[],
  end: (socket: Socket) => void = (socket) => socket.end(),
  over: 'tcp' | 'tls' = 'tcp',
) {
  const serve = async (socket: Socket): Promise<void> => {
    socket.on('error', () => {})
    for (const piece of pieces) {
      socket.write(piece)
      // The reader says that it has seen the piece.
      await once(socket, 'data')
    }
    end(socket)
  }
  const answer = (socket: Socket): void => void serve(socket).catch(() => {})
  const { certificate: cert, key, ca } = await identity
  const server =
    over === 'tcp'
      ? createServer({ noDelay: true }, answer)
      : createTlsServer({ cert, key, noDelay: true }, answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const got: string[] = []
  const errors: string[] = []
  const { port } = server.address() as AddressInfo
  const socket =
    over === 'tcp'
      ? wholeResponses(new Socket()).connect(port, '127.0.0.1')
      : wholeResponses(connectTls({ port, host: '127.0.0.1', ca }))
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

test.each(['tcp', 'tls'] as const)('responses come whole over %s, however their bytes come', async (over) => {
  const end = (socket: Socket) => void socket.end()
  const all = Buffer.concat([response('one'), response(''), response('three')])
  const bytes = Array.from(all, (byte) => Buffer.from([byte]))
  const { got } = await read(bytes, end, over)
  expect(got).toEqual(['one', '', 'three'].map((text) => response(text).toString('latin1')))
  expect((await read([all], end, over)).got).toEqual([all.toString('latin1')])
})

test.each(['tcp', 'tls'] as const)(
  'half a response is never given on over %s: not before it is whole, and not when the connection breaks',
  async (over) => {
    const half = response('not all of it').subarray(0, 9)
    const { got } = await read(
      [response('whole'), half],
      (socket) => (over === 'tcp' ? socket.resetAndDestroy() : socket.destroy()),
      over,
    )
    expect(got).toEqual([response('whole').toString('latin1')])
  },
)

test('a size that is none ends the connection with an error', async () => {
  const { got, errors } = await read([response('whole'), Buffer.from([0xff, 0xff, 0xff, 0xff])])
  expect(got).toEqual([response('whole').toString('latin1')])
  expect(errors).toEqual(['This is no answer of a Kafka broker.'])
})
