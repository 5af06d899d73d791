// Which process listens at a port. An answer at a port proves little: a stranger may have taken it
// in the moment between its choice and the start of the part that was to listen there.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** Rows of /proc/net/tcp (proc(5)): the state of a socket that listens. */
const LISTEN = '0A'
/**
 * Whom the kernel gives a connection to 127.0.0.1, the nearest first: addresses as /proc writes
 * them, four bytes at a time in the order of the machine (little-endian on all that we run on).
 */
const NEAREST_FIRST = [
  ['0100007F', '0000000000000000FFFF00000100007F'],
  ['00000000', '0000000000000000FFFF000000000000'],
  ['00000000000000000000000000000000'],
] as const

/**
 * Whether the listener that answers at `127.0.0.1:<port>` belongs to one of these processes.
 * null where the machine does not tell: it is no Linux, or the processes are another user's.
 */
export function isListening(pids: readonly number[], port: number): boolean | null {
  const listeners = listenersAt(port)
  const sockets = pids.map(socketsOf)
  if (listeners === null) return null
  if (sockets.some((own) => own !== null && listeners.some((inode) => own.has(inode)))) return true
  return sockets.includes(null) ? null : false
}

/** Inodes of the sockets nearest to 127.0.0.1; null when there is no such table. */
function listenersAt(port: number): readonly string[] | null {
  const rows = [...rowsOf('/proc/net/tcp'), ...rowsOf('/proc/net/tcp6')]
  if (rows.length === 0) return null
  const ending = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const listening = rows.filter(([, local, , state]) => state === LISTEN && local?.endsWith(ending) === true)
  for (const addresses of NEAREST_FIRST) {
    const found = listening.filter(([, local]) => addresses.some((address) => local === address + ending))
    if (found.length > 0) return found.map((row) => row[9] ?? '')
  }
  return []
}

/** The table's lines but its head, by fields; none when it cannot be read. */
function rowsOf(file: string): readonly (readonly string[])[] {
  try {
    const [, ...lines] = readFileSync(file, 'utf8').trimEnd().split('\n')
    return lines.map((line) => line.trim().split(/\s+/))
  } catch {
    return []
  }
}

/** Inodes of its sockets: none of a process that is gone, null of one that we may not look into. */
function socketsOf(pid: number): ReadonlySet<string> | null {
  const inodes = new Set<string>()
  try {
    for (const name of readdirSync(`/proc/${pid}/fd`)) {
      const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${name}`))?.[1]
      if (inode !== undefined) inodes.add(inode)
    }
    return inodes
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? inodes : null
  }
}

/** Empty when the descriptor was closed meanwhile. */
function linkOf(file: string): string {
  try {
    return readlinkSync(file)
  } catch {
    return ''
  }
}
