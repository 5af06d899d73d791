// The folder of the local stack, `.calstream` in the repository: who holds it, what is in it, and
// stack.json, which tells other tools where everything is while the stack runs.
import { mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { takeLock } from './lock.ts'
import { removePostgresHome } from './postgres-home.ts'
import { stopOrphans, writeWhole } from './processes.ts'
import { REPOSITORY, type StackEnv } from './services.ts'

export const STACK_FOLDER = path.join(REPOSITORY, '.calstream')
/**
 * The secured stack keeps its data apart: the topics of one would be missing in the other. Lock,
 * stack.json and the list of processes are of both, since one runs at a time.
 */
export const SECURE_FOLDER = path.join(STACK_FOLDER, 'secure')

export interface StackFile {
  /** For a person's browser. */
  readonly urls: Readonly<Record<string, string>>
  readonly pids: Readonly<Record<string, number>>
  readonly env: StackEnv
}

export interface HeldFolder extends Disposable {
  /** Processes of a run that was killed; they have been ended. */
  readonly orphans: readonly string[]
}

/** Takes the folder for this process. Throws a UserError when a stack runs in it. */
export async function holdFolder(folder: string): Promise<HeldFolder> {
  mkdirSync(folder, { recursive: true })
  const lock = takeLock(folder)
  try {
    const orphans = await stopOrphans(folder)
    removeStackFile(folder)
    return { orphans, [Symbol.dispose]: () => lock[Symbol.dispose]() }
  } catch (error) {
    lock[Symbol.dispose]()
    throw error
  }
}

/** Readable by its owner only: it holds the local tokens. */
export function writeStackFile(folder: string, file: StackFile): void {
  const text = JSON.stringify({ supervisor: process.pid, ...file }, null, 2)
  writeWhole(path.join(folder, 'stack.json'), `${text}\n`)
}

export function removeStackFile(folder: string): void {
  rmSync(path.join(folder, 'stack.json'), { force: true })
}

/**
 * Deletes all data, secrets, ports and logs. The folder must be held.
 * Folders of test runs beside them stay.
 */
export function clearFolder(folder: string): void {
  const secure = path.join(folder, path.basename(SECURE_FOLDER))
  removePostgresHome(path.join(secure, 'postgres'))
  rmSync(secure, { recursive: true, force: true })
  removePostgresHome(path.join(folder, 'postgres'))
  for (const name of ['kafka', 'registry', 'simulator', 'logs'])
    rmSync(path.join(folder, name), { recursive: true, force: true })
  for (const name of ['ports.json', 'secrets.json', 'role-passwords.json', 'processes.json'])
    rmSync(path.join(folder, name), { force: true })
  removeStackFile(folder)
}
