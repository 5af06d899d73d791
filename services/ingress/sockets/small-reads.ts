// Sockets that are read 4 kB at a time, unless a route takes what comes at once. Node reads 64 kB
// from each socket that has them, before a server can say no; of 2 000 sockets these are 128 MB.
// Only a socket that reads into a buffer of ours stops at once when it is told to, and what is not
// read stays in the kernel and slows its sender down.
import { Socket, type SocketConstructorOpts } from 'node:net'

/** At a time, of one socket, which may have to keep them. */
export const READ_BYTES_MAX = 4096
/**
 * The same where the socket does not have to keep them:
 * a body of 900 kB in reads of 4 kB costs twice the processor.
 */
const STREAMED_READ_BYTES = 65_536

/** For all sockets: a reader copies its bytes before the next read. */
const small = Buffer.allocUnsafeSlow(READ_BYTES_MAX)
const large = Buffer.allocUnsafeSlow(STREAMED_READ_BYTES)

export interface Reader {
  /**
   * Gets the number of bytes and the buffer, which is good until this returns.
   * @returns whether to read on
   */
  arrived(count: number, bytes: Uint8Array): boolean
  /** Whether what arrives next will be taken at once. */
  isStreaming(): boolean
}

/**
 * A socket in place of one that a server accepted and has not read from. The accepted one stays
 * open, empty, so that its server still counts it; it is closed with the new one.
 *
 * Node takes `onread` only where a socket is made, and makes those of a server itself;
 * so the handle moves, as in node:child_process where a socket changes its process. A
 * test holds that it works.
 */
export function readInSmall(accepted: Socket, reader: Reader): Socket {
  const from = accepted as unknown as { _handle: object | null }
  const options: SocketConstructorOpts = {
    allowHalfOpen: true,
    readable: true,
    writable: true,
    onread: {
      buffer: () => (reader.isStreaming() ? large : small),
      callback: (count, bytes) => reader.arrived(count, bytes),
    },
  }
  const socket = new Socket(Object.assign(options, { handle: from._handle }))
  from._handle = null
  socket.once('close', () => accepted.destroy())
  return socket
}
