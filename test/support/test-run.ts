// The folder of one vitest run: its stack's data, gone at the end. A run that was killed cannot
// clean up, so each run first ends the processes and removes the folders of those that are no more.
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import path from 'node:path'
import { removePostgresHome } from '../../infra/stack/postgres-home.ts'
import { signalProcess } from '../../infra/stack/signals.ts'
import { processIdentity } from '#shared/process/identity.ts'
import { removeBehind } from './remove-behind.ts'
import { stopOrphans, writeWhole } from '../../infra/stack/processes.ts'

const RUNS = path.resolve(import.meta.dirname, '../../.calstream')
const OWNER = 'owner.json'
/** Of a folder that is being deleted. */
const GONE = 'gone-'

interface Owner {
  readonly pid: number
  readonly identity: string | null
}

/** Makes this process's folder, after the leftovers of dead runs are gone. */
export async function openRunFolder(): Promise<string> {
  mkdirSync(RUNS, { recursive: true })
  await removeDeadRuns()
  const folder = path.join(RUNS, `test-${process.pid}`)
  mkdirSync(folder, { recursive: true })
  const owner: Owner = { pid: process.pid, identity: processIdentity(process.pid) }
  writeWhole(path.join(folder, OWNER), JSON.stringify(owner))
  return folder
}

/** Ends everything that was recorded under the folder; the folder is gone a moment later. */
export async function removeRunFolder(folder: string): Promise<void> {
  for (const stack of stackFolders(folder)) {
    await stopOrphans(stack)
    removePostgresHome(path.join(stack, 'postgres'))
  }
  // Another name: the next run with this number must not lose its folder.
  const gone = path.join(RUNS, `${GONE}${randomBytes(4).toString('hex')}`)
  try {
    renameSync(folder, gone)
  } catch (error) {
    // Another run that starts now was first.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  removeBehind(gone)
}

/** For a process that has to end now: no waiting, no removing; the next run does that. */
export function killRun(folder: string): void {
  for (const stack of stackFolders(folder))
    for (const pid of recordedPids(stack)) signalProcess(-pid, 'SIGKILL')
}

async function removeDeadRuns(): Promise<void> {
  for (const name of readdirSync(RUNS)) {
    const folder = path.join(RUNS, name)
    if (name.startsWith(GONE)) removeBehind(folder)
    if (!name.startsWith('test-')) continue
    const owner = readJson(path.join(folder, OWNER)) as Owner | null
    if (owner !== null && owner.identity !== null && processIdentity(owner.pid) === owner.identity) continue
    await removeRunFolder(folder)
  }
}

/**
 * The shared stack's folder and those of stacks that test files have for themselves;
 * a fresh clone has its stack inside.
 */
function stackFolders(folder: string): readonly string[] {
  const own = listFolders(folder).filter((name) => name.startsWith('own-'))
  return [folder, ...own.flatMap((name) => [path.join(folder, name), path.join(folder, name, '.calstream')])]
}

function recordedPids(stack: string): readonly number[] {
  const processes = (readJson(path.join(stack, 'processes.json')) ?? []) as readonly { pid: number }[]
  return processes.map(({ pid }) => pid)
}

function listFolders(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return null
  }
}
