// The ports of a stack: chosen free the first time, kept in a file and reused afterwards, because
// addresses live on in channels, bookmarks and stack.json.
import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { UserError } from '#shared/process/user-error.ts'
import { writeWhole } from './processes.ts'

/**
 * Below the range that operating systems hand out for outgoing connections (Linux from 32768, macOS
 * from 49152), which might take a port between two runs. Ports of throw-away stacks come from a
 * range of their own, so that a test run never sits on a port that a stopped stack has kept.
 */
const KEPT = { lowest: 20_000, highest: 25_000 }
const THROW_AWAY = { lowest: 25_000, highest: 32_000 }
const ATTEMPTS = 200
/**
 * Throw-away ports come in blocks, each of one process of this machine: what a process has stopped
 * for a while, or is about to start, must not lose its port to another, of this run or of one
 * beside it. A process listens on the first port of its block as long as it lives. So the kernel
 * keeps the claim, and gives it back whatever the process ends by.
 */
const BLOCK_PORTS = 100

interface Block {
  readonly lowest: number
  /** Where the search goes on: a port comes again only after all the others. */
  next: number
}

/**
 * A port for each name: those of the file, then new ones for the names that it lacks; the file then
 * holds them all. Throws a UserError that names the port and its part when a kept one is taken.
 */
export async function keptPorts<Name extends string>(
  names: readonly Name[],
  file: string,
): Promise<Record<Name, number>> {
  const kept = read(file)
  for (const name of names) {
    const port = kept[name]
    if (port !== undefined && !(await isFree(port)))
      throw new UserError(
        `Port ${port} (${name}) is taken by another process. Stop that process, or give ${name} another port in ${file}.`,
      )
  }
  const missing = names.filter((name) => kept[name] === undefined)
  const ports = { ...kept, ...(await chooseBy(missing, Object.values(kept), keptPort)) }
  if (missing.length > 0) writeWhole(file, `${JSON.stringify(ports, null, 2)}\n`)
  return ports as Record<Name, number>
}

const blocks: Block[] = []
let chosen: Promise<unknown> = Promise.resolve()

/**
 * A free port for each name, for a stack that keeps none. No other process is given one of them as
 * long as this one lives. Throws a UserError when all blocks are claimed.
 */
export function freePorts<Name extends string>(names: readonly Name[]): Promise<Record<Name, number>> {
  // One after the other: two at a time would claim two blocks.
  const ports = chosen.then(() => chooseBy(names, [], portOfBlocks))
  chosen = ports.catch(() => {})
  return ports
}

async function portOfBlocks(used: ReadonlySet<number>): Promise<number> {
  for (;;) {
    for (const block of blocks) {
      const port = await portOf(block, used)
      if (port !== null) return port
    }
    blocks.push(await claimBlock())
  }
}

async function portOf(block: Block, used: ReadonlySet<number>): Promise<number | null> {
  for (let left = BLOCK_PORTS - 1; left > 0; left -= 1) {
    const port = block.lowest + 1 + block.next
    block.next = (block.next + 1) % (BLOCK_PORTS - 1)
    if (!used.has(port) && (await isFree(port))) return port
  }
  return null
}

/** From a drawn one on, so that processes that start together seldom meet. */
async function claimBlock(): Promise<Block> {
  const count = (THROW_AWAY.highest - THROW_AWAY.lowest) / BLOCK_PORTS
  const first = randomInt(count)
  for (let index = 0; index < count; index += 1) {
    const lowest = THROW_AWAY.lowest + ((first + index) % count) * BLOCK_PORTS
    const claim = await listenOn(lowest)
    if (claim === null) continue
    // Nobody has business there, and it must not keep the process alive.
    claim.on('connection', (socket) => socket.destroy()).unref()
    return { lowest, next: 0 }
  }
  throw new UserError(
    `All ${count} blocks of ports between ${THROW_AWAY.lowest} and ${THROW_AWAY.highest} belong to processes that run. End a test run or a drill that runs beside this one.`,
  )
}

async function chooseBy<Name extends string>(
  names: readonly Name[],
  avoid: readonly number[],
  choose: (used: ReadonlySet<number>) => Promise<number>,
): Promise<Record<Name, number>> {
  const used = new Set(avoid)
  const ports: Partial<Record<Name, number>> = {}
  for (const name of names) {
    const port = await choose(used)
    used.add(port)
    ports[name] = port
  }
  return ports as Record<Name, number>
}

async function keptPort(used: ReadonlySet<number>): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(KEPT.lowest, KEPT.highest)
    if (!used.has(port) && (await isFree(port))) return port
  }
  throw new UserError(`No free port was found between ${KEPT.lowest} and ${KEPT.highest}.`)
}

/** Whether a server could listen there now. */
export async function isFree(port: number): Promise<boolean> {
  const server = await listenOn(port)
  if (server === null) return false
  await new Promise((resolve) => server.close(resolve))
  return true
}

/** @returns null when the port is taken. */
function listenOn(port: number): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(null))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => resolve(server))
  })
}

function read(file: string): Readonly<Record<string, number>> {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return {}
  }
  try {
    return JSON.parse(text) as Record<string, number>
  } catch {
    throw new UserError(`${file} is not readable as JSON. Correct it, or delete it to have new ports chosen.`)
  }
}
