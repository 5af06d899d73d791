// The ports of a stack: chosen free the first time, kept in a file and reused afterwards, because
// addresses live on in channels, bookmarks and stack.json.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { randomInt } from 'node:crypto'
import { UserError } from '#shared/process/user-error.ts'
import { writeWhole } from './processes.ts'

/**
 * Below the range that operating systems hand out for outgoing connections (Linux from 32768, macOS
 * from 49152), which might take a port between two runs. Ports of throw-away stacks come from a
 * range of their own, so that a test run never sits on a port that a stopped stack has kept.
 */
const KEPT = { lowest: 20_000, highest: 25_000 }
const THROW_AWAY = { lowest: 25_000, highest: 30_000 }
const ATTEMPTS = 200
/**
 * Each worker of a test run, and each lane of drills, chooses among ports of its own: what one has
 * stopped for a while, or is about to start, must not lose its port to another. They share the
 * lower half; the upper half is for a process without a number.
 */
const SHARES = 8

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
  const ports = { ...kept, ...(await choose(missing, KEPT, Object.values(kept))) }
  if (missing.length > 0) writeWhole(file, `${JSON.stringify(ports, null, 2)}\n`)
  return ports as Record<Name, number>
}

/** A free port for each name, for a stack that keeps none. */
export function freePorts<Name extends string>(names: readonly Name[]): Promise<Record<Name, number>> {
  return choose(names, shareOf(process.env['PORT_SHARE'] ?? process.env['VITEST_POOL_ID']), [])
}

/** `share`: a number from 1 on, if any. */
function shareOf(share: string | undefined): typeof KEPT {
  const middle = (THROW_AWAY.lowest + THROW_AWAY.highest) / 2
  if (share === undefined) return { lowest: middle, highest: THROW_AWAY.highest }
  const size = Math.floor((middle - THROW_AWAY.lowest) / SHARES)
  const lowest = THROW_AWAY.lowest + ((Number(share) - 1) % SHARES) * size
  return { lowest, highest: lowest + size }
}

async function choose<Name extends string>(
  names: readonly Name[],
  range: typeof KEPT,
  avoid: readonly number[],
): Promise<Record<Name, number>> {
  const used = new Set(avoid)
  const ports: Partial<Record<Name, number>> = {}
  for (const name of names) {
    const port = await freePort(range, used)
    used.add(port)
    ports[name] = port
  }
  return ports as Record<Name, number>
}

async function freePort({ lowest, highest }: typeof KEPT, used: ReadonlySet<number>): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(lowest, highest)
    if (!used.has(port) && (await isFree(port))) return port
  }
  throw new UserError(`No free port was found between ${lowest} and ${highest}.`)
}

/** Whether a server could listen there now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)))
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
